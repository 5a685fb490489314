"""What to measure, and how much of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from p2p.core.errors import UsageError
from p2p.core.platform import num_cores
from p2p.core.registry import BUILT_IN

PARTS = {  # in this order; name: what it measures
    "physics": "bare mj_step, our envs and Gymnasium's loop, one core",
    "engine": "one minibatch step of each engine",
    "exchange": "one exchange between peers, beyond their own work",
    "train": "p2p train end to end, beside bare mj_step on as many cores",
    "scaling": "p2p train by peers and threads, beside bare mj_step on as many cores",
    "envs": "p2p train by the number of envs that a peer steps",
    "evaluate": "p2p eval on all cores, beside bare mj_step on them",
    "methods": "p2p train by the method and its sync, and what DnC's distillation costs",
}
TASKS = tuple(BUILT_IN["task"])


@dataclass(frozen=True)
class Settings:
    """The settings of one benchmark.

    Args:
        parts, tasks: what.
        rounds: times that each is measured, in turns.
        runs: by task, a policy that acts in parts physics and evaluate; else actions are random,
            and a policy that was trained for a moment.
        physics_steps: env steps of one measurement of physics, per core.
        engine_steps: minibatch steps of one measurement.
        exchange_turns: exchanges of one measurement.
        exchange_work: CPU seconds that each peer works between two.
        iterations: of training, timed; one more before them is not. A run's first are its
            dearest: a policy that falls makes contacts, and of a few each keeps a milestone.
        num_peers: K, in part scaling; powers of two up to the cores, at least to 8.
        envs_per_peer: N, in part envs.
        eval_iterations: that train the policy of part evaluate. What is tested is trained as a
            rule; a policy that falls at once measures how fast domains are set up.
        eval_domains: of one measurement of part evaluate, an episode in each.
    """

    parts: tuple[str, ...] = tuple(part for part in PARTS if part != "methods")
    tasks: tuple[str, ...] = TASKS
    rounds: int = 5
    runs: Mapping[str, Path] = field(default_factory=dict)
    physics_steps: int = 8192
    engine_steps: int = 320
    exchange_turns: int = 2000
    exchange_work: float = 300e-6
    iterations: int = 40
    num_peers: tuple[int, ...] = field(default_factory=lambda: powers_up_to(max(8, cores())))
    envs_per_peer: tuple[int, ...] = (1, 2, 4, 8, 16)
    eval_iterations: int = 98
    eval_domains: int = 192

    def __post_init__(self) -> None:
        _check("part", self.parts, PARTS)
        _check("task", self.tasks, TASKS)
        if self.rounds < 1 or not self.tasks:
            raise UsageError(f"{self.rounds} rounds of {len(self.tasks)} tasks measure nothing")
        if self.runs and not {"physics", "evaluate"} & set(self.parts):
            raise UsageError(
                f"no run's policy acts in {', '.join(self.parts)}; it does in physics and evaluate"
            )
        for task, policy in self.runs.items():
            if task not in self.tasks:
                raise UsageError(f"{policy} acts on {task}; measured are {', '.join(self.tasks)}")

    def quick(self) -> Self:
        """Return a version that only shows that everything works; its numbers say nothing."""
        return replace(
            self, physics_steps=256, engine_steps=8, exchange_turns=50, iterations=1,
            num_peers=self.num_peers[:2], envs_per_peer=self.envs_per_peer[:2],
            eval_iterations=2, eval_domains=4,
        )  # fmt: skip


def powers_up_to(most: int) -> tuple[int, ...]:
    """Return the powers of two up to `most`."""
    return tuple(1 << n for n in range(most.bit_length()))


def cores() -> int:
    """Return how many cores this process may use."""
    return num_cores()


def _check(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"unknown {what} {name!r}; known: {', '.join(known)}")
