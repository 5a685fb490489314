"""What the words on the screen mean, once: for `p2p train --explain`, and for docs/reading.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from p2p.core.returns import RECENT_EPISODES, RECENT_ITERATIONS

if TYPE_CHECKING:
    from rich.text import Text

ALIASES = {  # titles of narrow tables, and the word here
    "len": "length", "entr": "entropy", "clip": "clipped", "critic": "critic loss",
    "KL": "penalty KL", "grav": "gravity", "fric": "friction",
}  # fmt: skip
TRAINING: Mapping[str, str] = {
    "iteration": "One round of Algorithm 1: each peer draws a domain, collects its steps, and "
    "learns from them for some epochs of minibatches.",
    "steps": "Environment steps so far, over all peers.",
    "steps/s, left": f"Speed over the last {RECENT_ITERATIONS} iterations, and the time until the "
    "goal at that speed.",
    "peer": "A process that learns, with a policy, a critic and envs of its own; counted from 0.",
    "wind, gravity, friction, mass, start": "The domain that the peer is in: Table 1's factors, or "
    "those of your domains file. x is a factor on the nominal value; what is added has its unit.",
    "return": f"Sum of rewards of an episode: mean over the last {RECENT_EPISODES} episodes, "
    "with exploration, unscaled. Where iterations cut episodes short it is estimated from the "
    "reward per step and the rate of terminations, and said to be.",
    "length": f"Steps of an episode: mean over the last {RECENT_EPISODES} episodes; - where "
    "iterations cut them short.",
    "penalty KL": "What the method adds to the loss, before its weight, nats. For P2PDRL: how far "
    "the peer's policy is from the others' on its own states; near 0 they agree. - for methods "
    "without one.",
    "entropy": "Of the policy, nats, summed over the actions: how much it explores. It falls as "
    "the policy settles.",
    "clipped": "Clip fraction: share of samples whose probability ratio left 1 +- clip. A large "
    "one means large steps: lower the learning rate, or the number of epochs.",
    "critic loss": "Half the mean squared error of the critic, of scaled returns.",
    "unstable": "Episodes that ended because the physics diverged (MuJoCo's BADQPOS, BADQVEL or "
    "BADQACC). Many mean domains that are too strong, or a time step that is too long.",
    "reward": "Mean a step of each reward term, of tasks that name them.",
    "physics": "Share of the peers' time in stepping envs.",
    "policy": "Share in choosing actions, and in advantages.",
    "update": "Share in minibatches, and in what the method does at the iteration's end.",
    "waiting": "Share in waiting for other peers.",
}
TESTING: Mapping[str, str] = {
    "eps_te": "Randomisation strength of the test domains: 0 is the nominal robot.",
    "return": "Mean over test domains, undiscounted, of the mean action unless --sampled.",
    "spread": "Standard deviation of the return over test domains. It is no confidence interval.",
    "worst 10%": "Mean over the worst tenth of the test domains (CVaR).",
    "length": "Mean steps of an episode.",
    "falls": "Share of episodes that terminated before the time limit: the robot fell, or the "
    "physics diverged.",
}


def lines(width: int) -> list[Text]:
    """Return the glossary for a terminal of `width` cells, or a pipe."""
    from .tables import as_text
    from .text.layout import wrap

    found: list[Text] = []
    for title, words in (("In training", TRAINING), ("In tests (p2p eval)", TESTING)):
        found += [*([as_text()] if found else []), as_text(title, "bold")]
        for word, meaning in words.items():
            found.append(as_text(f"  {word}", "cyan"))
            found += [as_text(part) for part in wrap(f"      {meaning}", width, "      ")]
    return found


def markdown() -> str:
    """Return the glossary as two tables in Markdown."""
    parts = []
    for title, words in (("In training", TRAINING), ("In tests", TESTING)):
        rows = (f"| {word} | {meaning} |" for word, meaning in words.items())
        parts.append("\n".join([f"## {title}", "", "| word | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"
