"""Pictures of an evaluation, as PNG or SVG. Needs the extra `figures` (matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from p2p.analysis.evaluation.results import EvaluatedRun, Measured
from p2p.plots.style import RETURN, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat_map(run: EvaluatedRun) -> bytes:
    """Draw the mean return over two factors, averaged over peers; the nominal point is ringed.

    Args:
        run: measured in one set with two axes.

    Raises:
        UsageError: matplotlib is not installed.
    """
    (measured,) = run.measured
    rows, columns = measured.set.axes

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        values = measured.by_domain.reshape(len(rows.values), len(columns.values))
        mesh = axes.pcolormesh(columns.values, rows.values, values, shading="nearest")
        for colour, width in (("black", 4), ("white", 2)):  # stands out on any ground
            at = columns.nominal, rows.nominal
            axes.plot(*at, "o", ms=9, mfc="none", mec=colour, mew=width)
        axes.set(xlabel=columns.label, ylabel=rows.label, title=_title(run))
        figure.colorbar(mesh, label=RETURN)

    return picture(draw, 5.4, 4.2)


def factor_curves(run: EvaluatedRun) -> bytes:
    """Draw the return over each factor: thin lines are peers, the thick one is their mean.

    Args:
        run: measured in sets with one axis each.

    Raises:
        UsageError: matplotlib is not installed.
    """

    def draw(figure: Figure) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(run.measured), sharey=True))
        for axes, measured in zip(panels, run.measured, strict=True):
            _curve(axes, run, measured)
        lowest = min(float(measured.episode_return.min()) for measured in run.measured)
        panels[0].set_ylim(bottom=min(0.0, lowest))  # shared: once all curves are there
        panels[0].set_ylabel(RETURN)
        figure.suptitle(_title(run), fontsize="medium")

    return picture(draw, 2.2 * len(run.measured), 2.8)


def _curve(axes: Any, run: EvaluatedRun, measured: Measured) -> None:
    (axis,) = measured.set.axes
    for peer in measured.episode_return.mean(axis=2):
        axes.plot(axis.values, peer, color="C0", lw=0.8, alpha=0.45)
    axes.plot(axis.values, measured.by_domain, color="C0", lw=2)
    axes.axvline(axis.nominal, color="0.7", lw=0.8, zorder=0)
    axes.set_xlabel(axis.label)
    axes.spines[["top", "right"]].set_visible(False)


def _title(run: EvaluatedRun) -> str:
    peers = f"{len(run.peers)} peers" if len(run.peers) > 1 else "1 peer"
    return f"{run.task}, {run.method}, {peers}, seed {run.seed}"
