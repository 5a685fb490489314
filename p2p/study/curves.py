"""Training curves of a study: return over steps, from the journals, thinned to be kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from statistics import fmean
from typing import Any

from p2p.store import RunFolder
from p2p.study.plan import Plan

POINTS = 100
COLUMNS = ("run", "steps", "return")


def curves_csv(plan: Plan) -> str:
    """Return the curves of the runs that are trained: run, steps (over all peers), return.

    The settings of a run stand in its row of the results.

    Raises:
        BadArtefact: a run folder is damaged.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in plan.runs:
        if run.trained:
            curve = training_curve(RunFolder.open(run.path).records())
            writer.writerows([run.name, steps, f"{value:.1f}"] for steps, value in curve)
    return text.getvalue()


def training_curve(
    records: Sequence[Mapping[str, Any]], points: int = POINTS
) -> list[tuple[int, float]]:
    """Return (steps, return) of at most `points` stretches of equal length.

    The return is the mean over peers of the mean return of the episodes that ended in the
    stretch, and `steps` its end. Where a peer ended none, there is no point.
    """
    curve = []
    size = max(1, -(-len(records) // points))
    for first in range(0, len(records), size):
        stretch = records[first : first + size]
        by_peer = zip(*(record.get("peers", ()) for record in stretch), strict=True)
        returns = [[total for one in peer for total, _ in one["episodes"]] for peer in by_peer]
        if returns and all(returns):
            curve.append((stretch[-1]["steps"], fmean(map(fmean, returns))))
    return curve
