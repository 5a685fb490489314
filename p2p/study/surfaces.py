"""Return surfaces of a study's runs, of which its file asks in [surface] (section 4.3, Fig. 5).

`surface.json` in a run folder holds the points of the last one; while it is that of the study's
settings, the surface is not measured again. `p2p.analysis.surface` measures it, and keeps its
episodes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.analysis.conditions import simulated_by
from p2p.analysis.surface.config import SurfaceConfig
from p2p.core.errors import BadArtefact
from p2p.runs.files import read_json, write_json

if TYPE_CHECKING:
    from p2p.analysis.session import Progress
    from p2p.study.plan import Plan

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
    asked = {"steps": steps, "config": config.model_dump(mode="json")}
    write_json(path / FILE, {**asked, "versions": simulated_by(), "points": [*grid, *marks]})


def read_surface(path: Path, config: SurfaceConfig, steps: int) -> list[Point] | None:
    """Return the points of a run's surface, then its three policies; None if it is not this one.

    Raises:
        BadArtefact: the file is damaged.
    """
    file = path / FILE
    if not file.exists():
        return None
    kept = read_json(file)
    asked = {"steps": steps, "config": config.model_dump(mode="json"), "versions": simulated_by()}
    if any(kept.get(name) != value for name, value in asked.items()):
        return None
    points = kept.get("points")
    if not isinstance(points, list) or not all(map(_is_point, points)):
        raise BadArtefact(
            f"{file} is damaged: it holds no surface; delete it to have it measured again"
        )
    return points


def _is_point(point: Any) -> bool:
    return isinstance(point, dict) and all(isinstance(point.get(n), int | float) for n in NUMBERS)


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
        measured = None if run.saved else read_surface(run.path, run.surface, run.steps)
        for point in measured or run.saved_surface:
            numbers = {name: f"{float(point[name]):.6g}" for name in NUMBERS}
            named = {name: point[name] for name in ("policy", "steps") if point.get(name)}
            writer.writerow({"run": run.name, "steps": 0 if "policy" in named else "", **named}
                            | numbers)  # fmt: skip
    return text.getvalue() if len(text.getvalue()) > size else None
