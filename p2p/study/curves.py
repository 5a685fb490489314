"""Training curves of a study over steps: the journals, averaged over stretches."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from statistics import fmean
from typing import Any

from p2p.analysis.learning import POINTS, Peer, Read, stretches
from p2p.core.returns import MAX_EPISODE_STEPS, training_return
from p2p.runs import RunFolder
from p2p.study.plan import Plan, PlannedRun
from p2p.study.saved import number_of


def _of_gradient(name: str) -> Read:
    def read(peer: Sequence[Peer], limit: int) -> float | None:
        measured = [record["grad_variance"] for record in peer if "grad_variance" in record]
        values = [m[name] for m in measured if m[name] is not None]
        return fmean(values) if values else None

    return read


GRADIENT: dict[str, Read] = {  # of the iterations that measured it (`p2p.peer.gradient_variance`)
    "log_grad_variance": _of_gradient("log_variance"),  # natural log
    "grad_snr": _of_gradient("snr"),  # signal to noise
    "ppo_log_grad_variance": _of_gradient("ppo_log_variance"),  # of the loss's PPO part alone
    "ppo_grad_snr": _of_gradient("ppo_snr"),
}
QUANTITIES: dict[str, Read] = {
    "return": training_return,  # undiscounted, estimated from all steps
    **GRADIENT,
}


def curves_csv(plan: Plan) -> str:
    """Return the curves of the trained runs as CSV: run, steps (over all peers), quantities.

    The settings of a run stand in its row of the results. A quantity that no run has measured
    has no column; nor has one that the study does not ask for, as a run of another study may have.

    Raises:
        BadArtefact: a run folder is damaged.
    """
    curves = {
        run.name: _saved_curve(run)
        if run.saved
        else training_curves(RunFolder.open(run.path).records(), limit=run.config.max_episode_steps)
        for run in plan.runs
        if run.trained or run.saved
    }
    asked = any(run.config.grad_variance_every for run in plan.runs)
    there = {name for curve in curves.values() for row in curve for name in row}
    known = [name for name in QUANTITIES if name in there and (asked or name not in GRADIENT)]
    text = StringIO()
    writer = csv.DictWriter(text, ["run", "steps", *known], lineterminator="\n")
    writer.writeheader()
    for run, curve in curves.items():
        for row in curve:
            numbers = {name: f"{row[name]:.6g}" for name in known if name in row}
            writer.writerow({"run": run, "steps": int(row["steps"]), **numbers})
    return text.getvalue()


def _saved_curve(run: PlannedRun) -> list[dict[str, float]]:
    """Return the curve of a run that counts as done by its row in the saved tables."""
    return [
        {name: number_of(point, name) for name, cell in point.items() if name != "run" and cell}
        for point in run.saved_curve
    ]


def training_curves(
    records: Sequence[Mapping[str, Any]], points: int = POINTS, limit: int = MAX_EPISODE_STEPS
) -> list[dict[str, float]]:
    """Divide a run into at most `points` stretches; return the steps and quantities of each.

    `steps` is the end of the stretch, and a quantity the mean over peers. A stretch lacks a
    quantity that a peer has no value of.

    Args:
        limit: the task's time limit, steps.
    """
    size = max(1, -(-len(records) // points))
    found = stretches(records, size, QUANTITIES, limit)
    return [
        {"steps": point["steps"], **values}
        for point in found
        if (values := {name: point[name] for name in QUANTITIES if name in point})
    ]
