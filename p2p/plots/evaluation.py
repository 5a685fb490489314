"""Pictures of an evaluation, as PNG or SVG. Needs the extra `figures` (matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from p2p.analysis.evaluation.config import EvalConfig
from p2p.analysis.evaluation.results import EvaluatedRun, Measured
from p2p.analysis.statistics import mean_interval
from p2p.plots.captions import action_text
from p2p.plots.method_styles import group_colours
from p2p.plots.style import BAND, RC, RETURN, add_caption, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LEGEND_COLUMN = 2.1  # inches


def heat_map(run: EvaluatedRun, config: EvalConfig) -> bytes:
    """Draw the mean return over two factors, averaged over peers; the nominal point is ringed.

    Args:
        run: measured in one set with two axes.
        config: in what it was measured.

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
        add_caption(figure, f"{_how_measured(run, config)} Ringed: the nominal domain.")

    return picture(draw, 5.4, 4.2)


def factor_curves(run: EvaluatedRun, config: EvalConfig) -> bytes:
    """Draw the return over each factor: thin lines are peers, the thick one is their mean.

    The band is Student's 95% interval over starts, of the mean over peers.

    Args:
        run: measured in sets with one axis each.
        config: in what it was measured.

    Raises:
        UsageError: matplotlib is not installed.
    """
    several = config.episodes > 1
    end = "" if several else " One episode a point has no interval: see --episodes."

    def draw(figure: Figure) -> None:
        from matplotlib import rc_context

        with rc_context(RC):
            panels = figure.subplots(1, len(run.measured), sharey=True, squeeze=False)[0]
            for axes, measured in zip(panels, run.measured, strict=True):
                _curve(axes, run, measured)
            lowest = min(float(measured.episode_return.min()) for measured in run.measured)
            panels[0].set_ylim(bottom=min(0.0, lowest))  # shared: once all curves are there
            panels[0].set_ylabel(RETURN)
            handles, labels = panels[0].get_legend_handles_labels()
            columns = max(1, min(len(labels), int(figure.get_figwidth() / LEGEND_COLUMN)))
            figure.legend(
                handles, labels, title=_title(run), loc="outside upper center", ncols=columns
            )  # fmt: skip
            add_caption(figure, _how_measured(run, config) + end)

    return picture(draw, max(4.4, 2.2 * len(run.measured)), 2.9)


def _curve(axes: Any, run: EvaluatedRun, measured: Measured) -> None:
    (axis,) = measured.set.axes
    (colour,) = group_colours([run.method])
    returns, several = measured.episode_return, len(run.peers) > 1  # [K, D, E]
    for n, peer in enumerate(returns.mean(axis=2) if several else ()):
        label = "a peer" if n == 0 else None
        axes.plot(axis.values, peer, color=colour, lw=0.8, alpha=0.45, label=label)
    mean = f"mean of {len(run.peers)} peers" if several else "return"
    axes.plot(axis.values, measured.by_domain, color=colour, lw=2, label=mean)
    if returns.shape[2] > 1:
        by_start = returns.mean(axis=0)  # [D, E]
        ends = np.array([mean_interval(row.tolist()) for row in by_start], np.float64)
        label = f"95% interval over {returns.shape[2]} starts"
        axes.fill_between(axis.values, *ends.T, color=colour, alpha=BAND, lw=0, label=label)
    axes.axvline(axis.nominal, color="0.5", lw=0.8, ls=":", zorder=1, label="nominal")
    axes.set_xlabel(axis.label)


def _title(run: EvaluatedRun) -> str:
    peers = f"{len(run.peers)} peers" if len(run.peers) > 1 else "1 peer"
    return f"{run.task}, {run.method}, {peers}, seed {run.seed}"


def _how_measured(run: EvaluatedRun, config: EvalConfig) -> str:
    """Say at what strength, in how many episodes, and of which seeds."""
    episodes = f"{config.episodes} episodes" if config.episodes > 1 else "1 episode"
    trained = (
        f" Trained at strength {run.settings['eps_tr']:g}." if "eps_tr" in run.settings else ""
    )
    return (
        f"Strength {config.eps_te[0]:g}, other factors nominal; {episodes} a point and peer, "
        f"{action_text(config.sampled)}, the same starts at all points (seed "
        f"{config.domain_seed}).{trained} One training seed: no interval is over seeds."
    )
