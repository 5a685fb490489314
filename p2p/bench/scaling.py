"""Part scaling: `p2p train` by the numbers of peers and threads, beside as many bare loops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from p2p.bench.measure import Measurement, Tell, alternate
from p2p.bench.settings import Settings, cores, powers_up_to
from p2p.bench.training import Trained, bare_on_cores, columns, train_once
from p2p.core.config import build_config

BARE = (
    "mj_step(model, data, frame_skip) and writing ctrl, nothing else, in one process a thread of "
    "the peers, at most one a core; of the policy trained last; resets included"
)


class Setup(NamedTuple):
    """How a cohort is laid out.

    Attributes:
        num_peers, threads: K, and T of each of them.
        each: whether an iteration's steps are counted for each peer (weak scaling) or for all
            together (strong).
    """

    num_peers: int
    threads: int
    each: bool

    @property
    def name(self) -> str:
        """What tables call it, and `parse` reads."""
        per = f"{self.steps // self.num_peers} each" if self.each else f"{self.steps} in all"
        return f"K={self.num_peers}, T={self.threads}, {per}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the layout of this name; None if it is no layout's."""
        found = re.fullmatch(r"K=(\d+), T=(\d+), \d+ (each|in all)", name)
        return cls(int(found[1]), int(found[2]), found[3] == "each") if found else None

    @property
    def steps(self) -> int:
        """Steps of an iteration, all peers together: 4096, or 2048 of each."""
        config = build_config()
        return config.steps_per_peer * self.num_peers if self.each else config.steps_per_iteration

    @property
    def cores(self) -> int:
        """How many it can use of this machine's."""
        return min(self.num_peers * self.threads, cores())

    @property
    def flags(self) -> tuple[str, ...]:
        """What `p2p train` is given."""
        envs = max(build_config().envs_per_peer, self.threads)
        return (
            "--method", "p2pdrl", "--envs-per-peer", str(envs),
            "--steps-per-iteration", str(self.steps),
        )  # fmt: skip


def setups(num_peers: Sequence[int], num_cores: int) -> Iterator[Setup]:
    """Yield the layouts to measure: each K with one thread and with its share of the cores.

    The share is rounded down to a power of two, so that envs are shared out evenly.
    """
    for each in (False, True):
        for K in num_peers:
            share = powers_up_to(max(1, num_cores // K))[-1]
            for threads in dict.fromkeys((1, share)):
                found = Setup(K, threads, each)
                if not each or found.steps != Setup(K, threads, False).steps:
                    yield found


def measure_scaling(settings: Settings, task: str, folder: Path, tell: Tell) -> list[Measurement]:
    """Return speed, waiting, memory and start-up by layout; ratios are to the bare loops."""
    layouts = list(setups(settings.num_peers, cores()))
    trained: dict[str, list[Trained]] = {layout.name: [] for layout in layouts}
    bare: dict[int, list[float]] = {n: [] for n in sorted({s.cores for s in layouts})}

    def train(layout: Setup) -> Callable[[], float]:
        def run() -> float:
            own = trained[layout.name]
            # As many steps for all: a layout with long iterations gets fewer of them.
            usual = settings.iterations * build_config().steps_per_iteration
            iterations = max(1, usual // layout.steps)
            threads, steps = layout.threads, layout.steps
            found = train_once(
                task, folder, iterations, layout.num_peers, len(own), layout.flags,
                threads=threads, steps=steps,
            )  # fmt: skip
            own.append(found)
            return found.steps_per_second

        return run

    def loop(num: int) -> Callable[[], float]:
        def run() -> float:
            policy = folder / "policies" / "peer-0.safetensors"
            bare[num].append(
                bare_on_cores(num, task, settings.physics_steps, len(bare[num]), policy)
            )
            return bare[num][-1]

        return run

    alternate(
        [*map(train, layouts), *map(loop, bare)], settings.rounds,
        lambda turn: tell(f"scaling {task}: round {turn + 1} of {settings.rounds}"),
    )  # fmt: skip
    loops = {
        num: Measurement("scaling", task, _bare_name(num), "steps/s", BARE, tuple(rates))
        for num, rates in bare.items()
    }
    baselines = {layout.name: loops[layout.cores] for layout in layouts}
    return [*columns("scaling", task, trained, baselines), *loops.values()]


def _bare_name(num: int) -> str:
    return f"bare mj_step, {num} process{'es' * (num > 1)}"
