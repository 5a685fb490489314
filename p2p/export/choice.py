"""Which peers' policies are exported, and how they do in domains that nothing was chosen in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from p2p.analysis.evaluation.results import Evaluation, Performance
from p2p.analysis.evaluation.session import evaluate
from p2p.analysis.evaluation.subjects import Subject, load_subjects
from p2p.analysis.session import Progress
from p2p.core.errors import UsageError
from p2p.policy.acting import ActingPolicy, MeanPolicy
from p2p.policy.policy import Policy
from p2p.runs import RunFolder
from p2p.runs.bundle import is_bundle


class Chosen(NamedTuple):
    """What goes into one bundle.

    Attributes:
        peer: rank, or "mean".
        policies: one, or those whose actions are averaged.
        acts: as they do together.
        score: in the held-out domains.
        way: how it was chosen: "best", "rank" or "mean".
    """

    peer: int | str
    policies: tuple[Policy, ...]
    acts: ActingPolicy
    score: Performance
    way: str


class Held(NamedTuple):
    """The peers of a run, tested in held-out domains.

    Attributes:
        subject: the run or policy file.
        policies: of the peers, [K].
        found: the scores of the peers, and then, for `mean`, that of their averaged action.
    """

    subject: Subject
    policies: tuple[Policy, ...]
    found: Evaluation

    @property
    def scores(self) -> list[Performance]:
        """How each peer does, [K], and behind them the averaged action if it was tested."""
        return self.found.runs[0].measured[0].peers

    @property
    def alike(self) -> bool:
        """Whether all peers have one and the same policy, as methods with a centre do."""
        return len(self.policies) > 1 and len({p.digest() for p in self.policies}) == 1

    def choose(self, peer: str) -> list[Chosen]:
        """Return what `--peer` names: one bundle's content, or with "all" one a peer."""
        if peer == "mean":
            averaged = self.policies[:1] if self.alike else self.policies
            mean = self.subject.policies[-1]
            return [Chosen("mean", averaged, mean, self.scores[-1], "mean")]
        ranks = self.subject.peers[: len(self.policies)]
        means = [score.mean for score in self.scores[: len(self.policies)]]
        wanted, way = range(len(self.policies)), "best" if peer == "best" else "rank"
        if peer == "best":
            wanted = range((best := means.index(max(means))), best + 1)
        elif peer != "all":
            wanted = range((one := ranks.index(int(peer))), one + 1)
        return [
            Chosen(ranks[k], (self.policies[k],), self.policies[k], self.scores[k], way)
            for k in wanted
        ]


def load_peers(run: str | Path | RunFolder, peer: str) -> Subject:
    """Return a run's or a file's policies, with their averaged action behind them for "mean".

    Raises:
        UsageError: there is no peer of that rank, or it is a bundle already.
        BadArtefact: there is no policy, or it is damaged.
    """
    path = Path(run)
    if is_bundle(path):
        raise UsageError(f"{path} is a bundle already; name the run that it was made from")
    (subject,) = load_subjects([path])
    if peer.isdecimal() and int(peer) not in subject.peers:
        raise UsageError(f"--peer {peer}: {path} has {_ranks(subject.peers)}")
    if peer == "mean":
        mean = MeanPolicy(trained(subject))
        subject = replace(subject, policies=(*subject.policies, mean))
    return subject


def _ranks(peers: Sequence[int]) -> str:
    listed = ", ".join(map(str, peers))
    return f"peer {listed}" if len(peers) == 1 else f"peers {listed}"


def trained(subject: Subject) -> tuple[Policy, ...]:
    """Return the policies of a subject that were trained as they are, [K]."""
    return tuple(policy for policy in subject.policies if isinstance(policy, Policy))


def score_peers(
    subject: Subject,
    *,
    eps_te: float,
    domains: int,
    domain_seed: int,
    save: bool,
    workers: int | None,
    report: Callable[[Progress], None] | None,
) -> Held:
    """Score the peers in held-out test domains; arguments as of `evaluate`."""
    settings: dict[str, Any] = {"domains": domains, "domain_seed": domain_seed}
    found = evaluate(subject, eps_te, save=save, workers=workers, report=report, **settings)
    return Held(subject, trained(subject), found)
