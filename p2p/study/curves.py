"""Training curves of a study over steps, from the journals, thinned to be kept."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from statistics import fmean
from typing import Any

from p2p.core.returns import training_return
from p2p.runs import RunFolder
from p2p.study.plan import Plan

POINTS = 100
Peer = Mapping[str, Any]  # one peer's part of a journal's record


def _log_variance(peer: Sequence[Peer]) -> float | None:
    measured = [record["grad_variance"] for record in peer if "grad_variance" in record]
    values = [m["log_variance"] for m in measured if m["log_variance"] is not None]
    return fmean(values) if values else None


QUANTITIES: dict[str, Callable[[Sequence[Peer]], float | None]] = {
    "return": training_return,  # undiscounted, estimated from all steps
    "log_grad_variance": _log_variance,  # natural log, where it was measured
}


def curves_csv(plan: Plan) -> str:
    """Return the curves of the runs that are trained: run, steps (over all peers), quantities.

    The settings of a run stand in its row of the results. A quantity that no run has is left
    out.

    Raises:
        BadArtefact: a run folder is damaged.
    """
    trained = [run for run in plan.runs if run.trained]
    curves = {run.name: training_curves(RunFolder.open(run.path).records()) for run in trained}
    known = [name for name in QUANTITIES if any(name in row for c in curves.values() for row in c)]
    text = StringIO()
    writer = csv.DictWriter(text, ["run", "steps", *known], lineterminator="\n")
    writer.writeheader()
    for run, curve in curves.items():
        for row in curve:
            numbers = {name: f"{row[name]:.6g}" for name in known if name in row}
            writer.writerow({"run": run, "steps": row["steps"], **numbers})
    return text.getvalue()


def training_curves(
    records: Sequence[Mapping[str, Any]], points: int = POINTS
) -> list[dict[str, float]]:
    """Return `steps` and the quantities of at most `points` stretches of equal length.

    A quantity is the mean over peers of what each has over the stretch, and `steps` is the
    end of it. What a peer has no value of in a stretch is left out there.
    """
    curve = []
    size = max(1, -(-len(records) // points))
    for first in range(0, len(records), size):
        stretch = records[first : first + size]
        by_peer = list(zip(*(record.get("peers", ()) for record in stretch), strict=True))
        row: dict[str, float] = {"steps": stretch[-1].get("steps", 0)}
        for name, read in QUANTITIES.items():
            values = [value for peer in by_peer if (value := read(peer)) is not None]
            if values and len(values) == len(by_peer):
                row[name] = fmean(values)
        if len(row) > 1:
            curve.append(row)
    return curve
