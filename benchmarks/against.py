"""How fast p2p trains beside other trainers: same task, same batch sizes, in turns.

    python benchmarks/against.py --rivals sb3,cleanrl --rounds 3 -o bench-against.json

Each trainer runs in a process of its own, at the fastest of the setups that are tried first.
What is measured is written as `p2p bench` writes it, and `p2p bench --from` shows it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rivals import INCLUDES, RIVALS, Setup, check_installed, rate, setups

from p2p.bench.measure import Candidate, Measurement, compare
from p2p.bench.settings import TASKS
from p2p.bench.suite import gather
from p2p.bench.training import train_once, trained_for
from p2p.cli.bench_tables import markdown
from p2p.core.errors import P2PError, UsageError

TRIAL = 6  # iterations; two do not tell 32 envs from 64


@dataclass(frozen=True)
class Settings:
    """What is compared, and how often.

    Args:
        iterations: of training, timed; one more before them is not.
    """

    rivals: tuple[str, ...] = RIVALS
    tasks: tuple[str, ...] = ("hopper", "halfcheetah")
    rounds: int = 3
    iterations: int = 98

    def __post_init__(self) -> None:
        for what, given, known in (("rival", self.rivals, RIVALS), ("task", self.tasks, TASKS)):
            for name in given:
                if name not in known:
                    raise UsageError(f"unknown {what} {name!r}; known: {', '.join(known)}")
        if self.rounds < 1 or not self.tasks or not self.rivals:
            raise UsageError("it takes a round, a task and a rival to measure anything")


def measure_against(settings: Settings, task: str, folder: Path) -> list[Measurement]:
    """Return steps/s of ours and the others; their ratio is to ours.

    Args:
        folder: where ours trains.
    """
    seeds = iter(range(settings.rounds))
    ours = "p2p train, K=2"

    def train() -> float:
        return train_once(task, folder, settings.iterations, 2, next(seeds)).steps_per_second

    candidates = [Candidate(ours, train, trained_for(settings.iterations))]
    trials = []
    for rival in settings.rivals:
        best, tried = best_setup(rival, task, settings.iterations)
        trials += tried
        includes = (
            f"{INCLUDES[rival]}; {best}, the fastest of {max(1, len(tried))} setups tried; nominal "
            "domain; rollout and update, the first iteration and start-up not counted; over "
            f"{settings.iterations} iterations"
        )
        run = _training(rival, task, best, settings.iterations)
        candidates.append(Candidate(rival, run, includes, ours))
    return [*compare("against", task, "steps/s", candidates, settings.rounds, tell), *trials]


def _training(rival: str, task: str, setup: Setup, iterations: int) -> Callable[[], float]:
    return lambda: rate(rival, task, setup, iterations)


def best_setup(rival: str, task: str, iterations: int) -> tuple[Setup, list[Measurement]]:
    """Try each setup for `TRIAL` iterations; return the fastest, and all trials.

    A benchmark of one iteration tries none: it is there to see that all works.
    """
    if iterations < 2:
        return setups(rival)[0], []
    found = {}
    for setup in setups(rival):
        tell(f"against {task}: trying {rival} with {setup}")
        found[setup] = rate(rival, task, setup, TRIAL)
    trials = [
        Measurement("trials", task, f"{rival}, {setup}", "steps/s", f"{TRIAL} iterations", (value,))
        for setup, value in found.items()
    ]
    return max(found, key=lambda setup: found[setup]), trials


def tell(text: str) -> None:
    """Say on stderr what is measured now."""
    print(text, file=sys.stderr, flush=True)


def _names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


@click.command()
@click.option("--rivals", default=",".join(RIVALS), show_default=True, callback=_names)
@click.option("--tasks", default=",".join(Settings.tasks), show_default=True, callback=_names)
@click.option("--rounds", default=Settings.rounds, show_default=True, help="Rounds, in turns.")
@click.option(
    "--iterations", default=Settings.iterations, show_default=True,
    help="Iterations of training that are timed; 1: does it work here?",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write what was measured.")
def main(
    rivals: tuple[str, ...], tasks: tuple[str, ...], rounds: int, iterations: int,
    output: Path | None,
) -> None:  # fmt: skip
    """Measure how fast p2p and other trainers train, in turns on this machine."""
    if output and not output.parent.is_dir():  # now rather than after an hour of measuring
        raise click.UsageError(f"cannot write {output}: there is no folder {output.parent}")
    try:
        settings = Settings(rivals, tasks, rounds, iterations)
        check_installed(rivals)

        def measure(folder: Path) -> Iterator[Measurement]:
            for task in tasks:
                yield from measure_against(settings, task, folder)

        results = gather(measure, asdict(settings), tell)
        if output:
            results.save(output)
    except P2PError as error:
        raise click.ClickException(str(error)) from None
    print(markdown(results))


if __name__ == "__main__":
    main()
