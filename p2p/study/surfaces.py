"""Return surfaces of a study's runs, of which its file asks in [surface] (section 4.3, Fig. 5).

`surface.json` in a run folder holds the points (`p2p.study.measured`); where they are of the
study's settings, the surface is not measured again. `p2p.analysis.surface` measures it, and keeps
its episodes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.analysis.surface.config import SurfaceConfig
from p2p.study.measured import damaged, find, keep

if TYPE_CHECKING:
    from p2p.analysis.session import Progress
    from p2p.study.plan import Plan, PlannedRun

FILE = "surface.json"
NUMBERS = ("x", "y", "train", "test")
COLUMNS = ("run", "policy", "steps", *NUMBERS)
Point = Mapping[str, Any]


def run_surface(
    path: Path, config: SurfaceConfig, steps: int, workers: int, report: Callable[[Progress], None]
) -> None:
    """Measure the surface of a trained run; episodes that were saved earlier are not run again.

    Args:
        steps: of the run's training.
        workers: number of processes.
        report: called now and then.

    Raises:
        Interrupted: a signal; the episodes so far are saved.
        P2PError: see `p2p.measure_surface`.
    """
    from p2p.analysis.surface.measure import measure_surface

    found = measure_surface(path, workers=workers, report=report, **config.model_dump())
    train, test = (one.mean for one in found.landscapes)
    grid = [
        {"x": float(x), "y": float(y), "train": float(train[i, j]), "test": float(test[i, j])}
        for i, y in enumerate(found.y)
        for j, x in enumerate(found.x)
    ]
    marks = [
        {"policy": mark.name, "steps": mark.steps, **{n: getattr(mark, n) for n in NUMBERS}}
        for mark in found.marks
    ]
    keep(path / FILE, "points", [*grid, *marks], config, steps)


def read_surface(
    path: Path, config: SurfaceConfig, steps: int, *, any_version: bool = False
) -> list[Point] | None:
    """Return the points of a run's surface, then its three policies; None if it is not this one.

    Args:
        any_version: return those of other versions of p2p or MuJoCo, too.

    Raises:
        BadArtefact: the file is damaged.
    """
    points = find(path / FILE, "points", config, steps, any_version=any_version)
    if points is None:
        return None
    if not isinstance(points, list) or not is_whole(points, config):
        raise damaged(path / FILE, "points")
    return points


def is_whole(points: Sequence[Any], config: SurfaceConfig) -> bool:
    """Say whether these are all points of a surface with their numbers, as JSON or CSV has them."""
    try:
        named = [point for point in points if point.get("policy")]
        for point in points:
            [float(point[name]) for name in NUMBERS]
        [int(point["steps"]) for point in named]
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return (len(points), len(named)) == (config.points, 3)


def _measured(run: PlannedRun) -> Sequence[Point]:
    assert run.surface is not None
    if not run.trained:
        return ()
    return read_surface(run.path, run.surface, run.steps, any_version=True) or ()


def surfaces_csv(plan: Plan) -> str | None:
    """Return the surfaces of the measured runs as CSV, a line a point; None if there is none.

    A run's grid comes first, then its initial, middle and final policy, which are named.

    Raises:
        BadArtefact: a run folder is damaged.
    """
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    size = len(text.getvalue())
    for run in plan.runs:
        if run.surface is None:
            continue
        for point in run.saved_surface or _measured(run):
            numbers = {name: f"{float(point[name]):.6g}" for name in NUMBERS}
            named = {name: point[name] for name in ("policy", "steps") if point.get(name)}
            writer.writerow({"run": run.name, "steps": 0 if "policy" in named else "", **named}
                            | numbers)  # fmt: skip
    return text.getvalue() if len(text.getvalue()) > size else None
