"""One benchmark: its parts, in their order."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from p2p.bench.measure import Measurement, Report
from p2p.bench.results import Results
from p2p.bench.settings import PARTS, Settings
from p2p.runs.versions import collect_versions


def run_bench(settings: Settings, report: Report) -> Results:
    """Measure what `settings` say.

    Args:
        report: told what is measured now.

    Raises:
        UsageError: a trainer to compare with is not installed.
        P2PError: a training run failed.
    """
    from p2p.bench.rivals import check_installed
    from p2p.peer import preload

    if "against" in settings.parts:
        check_installed(settings.against)
    machine = {**collect_versions(), "load": os.getloadavg()[0]}
    report("loading the engine")
    preload.compile_all()  # so that no start-up below pays for it
    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as folder:
        found = list(_measure(settings, Path(folder) / "run", report))
    described = {**asdict(settings), "runs": {k: str(v) for k, v in settings.runs.items()}}
    return Results(found, machine, described)


def _measure(settings: Settings, folder: Path, report: Report) -> Iterator[Measurement]:
    for part in PARTS:
        if part not in settings.parts:
            continue
        if part == "exchange":
            from p2p.bench.exchanges import measure_exchange

            yield from measure_exchange(settings, report)
            continue
        tasks = settings.tasks
        if part in ("scaling", "envs", "methods"):  # the smallest and the largest tell enough
            tasks = tuple(dict.fromkeys((tasks[0], tasks[-1])))
        for task in tasks:
            yield from _measure_task(part, settings, task, folder, report)


def _measure_task(
    part: str, settings: Settings, task: str, folder: Path, report: Report
) -> list[Measurement]:
    if part == "physics":
        from p2p.bench.physics import measure_physics

        return measure_physics(settings, task, report)
    if part == "engine":
        from p2p.bench.engines import measure_engines

        return measure_engines(settings, task, report)
    if part == "against":
        from p2p.bench.rivals import measure_against

        return measure_against(settings, task, folder, report)
    if part == "methods":
        from p2p.bench.methods import measure_methods

        return measure_methods(settings, task, folder, report)
    if part == "evaluate":
        from p2p.bench.evaluating import measure_evaluation

        return measure_evaluation(settings, task, folder, report)
    from p2p.bench.training import measure_envs, measure_scaling, measure_training

    measure = {"train": measure_training, "scaling": measure_scaling, "envs": measure_envs}[part]
    return measure(settings, task, folder, report)
