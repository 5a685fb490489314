"""One benchmark: its parts, in their order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from p2p.bench.measure import Measurement, Results, Tell
from p2p.bench.settings import PARTS, Settings
from p2p.core.platform import load_average
from p2p.runs.versions import collect_versions


def run_bench(settings: Settings, tell: Tell) -> Results:
    """Measure what `settings` say.

    Args:
        tell: told what is measured now.

    Raises:
        P2PError: a training run failed.
    """
    described = {**asdict(settings), "runs": {k: str(v) for k, v in settings.runs.items()}}
    return gather(lambda folder: _measure(settings, folder, tell), described, tell)


def gather(
    measure: Callable[[Path], Iterable[Measurement]], settings: dict[str, Any], tell: Tell
) -> Results:
    """Return what `measure` yields, with the machine that it was measured on.

    Args:
        measure: called with a folder that training runs may be made in, one after the other.
        settings: how much is measured, for whoever reads the results.
        tell: told what is measured now.
    """
    from p2p.peer import preload

    machine = {**collect_versions(), "load": load_average()}
    tell("loading the engine")
    preload.compile_all()  # so that no start-up below pays for it
    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as folder:
        found = list(measure(Path(folder) / "run"))
    return Results(found, machine, settings)


def _measure(settings: Settings, folder: Path, tell: Tell) -> Iterator[Measurement]:
    for part in PARTS:
        if part not in settings.parts:
            continue
        if part == "exchange":
            from p2p.bench.exchange import measure_exchange

            yield from measure_exchange(settings, tell)
            continue
        tasks = settings.tasks
        if part in ("scaling", "envs", "methods"):
            tasks = extremes(tasks)
        for task in tasks:
            yield from _measure_task(part, settings, task, folder, tell)


def extremes(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks that observe least and most; they tell enough of those between."""
    from p2p.envs.vector import RandomisedEnvs

    by_size = sorted(tasks, key=lambda task: RandomisedEnvs(task, 1).obs_dim)
    return tuple(dict.fromkeys((by_size[0], by_size[-1])))


def _measure_task(
    part: str, settings: Settings, task: str, folder: Path, tell: Tell
) -> list[Measurement]:
    if part == "physics":
        from p2p.bench.physics import measure_physics

        return measure_physics(settings, task, tell)
    if part == "engine":
        from p2p.bench.engine import measure_engines

        return measure_engines(settings, task, tell)
    if part == "methods":
        from p2p.bench.methods import measure_methods

        return measure_methods(settings, task, folder, tell)
    if part == "evaluate":
        from p2p.bench.evaluation import measure_evaluation

        return measure_evaluation(settings, task, folder, tell)
    from p2p.bench.scaling import measure_scaling
    from p2p.bench.training import measure_envs, measure_training

    measure = {"train": measure_training, "scaling": measure_scaling, "envs": measure_envs}[part]
    return measure(settings, task, folder, tell)
