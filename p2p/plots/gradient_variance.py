"""The variance of the gradient through training as a picture (Fig. 8b-c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from p2p.plots.method_styles import group_colours
from p2p.plots.style import add_caption, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from p2p.analysis.gradient_variance.results import Curve, GradVariance


def gradient_curves(found: GradVariance) -> bytes:
    """Draw the log variance of the gradient over steps: a panel a task, a colour a group.

    Bands are Student's 95% intervals over seeds; dashed is the PPO part of a loss that has
    another.

    Raises:
        UsageError: matplotlib is not installed.
    """
    curves = found.curves
    tasks = list(dict.fromkeys(curve.task for curve in curves))

    def draw(figure: Figure) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(tasks)))
        for axes, task in zip(panels, tasks, strict=True):
            here = [curve for curve in curves if curve.task == task]
            colours = group_colours([curve.label for curve in here])
            for curve, colour in zip(here, colours, strict=True):
                _gradient_curve(axes, curve, colour)
            axes.set(xlabel="environment steps (millions)", title=task)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize="small")
        panels[0].set_ylabel("ln Var of the actor's gradient\n(mean over parameters)")
        add_caption(figure, _how_measured(found))

    return picture(draw, 4.8 * len(tasks), 3.6)


def _how_measured(found: GradVariance) -> str:
    """Say on what it was measured, and over how many seeds."""
    config = found.config
    numbers = sorted({len(point.seeds) for curve in found.curves for point in curve.points})
    seeds = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
    strengths = sorted({f"{run.settings['eps_tr']:g}" for run in found.runs})
    bands = " Bands: Student's 95% interval over seeds." if numbers[-1] > 1 else ""
    return (
        f"{config.minibatches} minibatches of {config.steps // config.minibatches} fresh steps a "
        f"peer, at strength {', '.join(strengths)}; mean over peers; seeds: {seeds}.{bands}"
    )


def _gradient_curve(axes: Any, curve: Curve, colour: str) -> None:
    steps = np.array([point.steps for point in curve.points]) / 1e6
    mean = [point.mean["log_variance"] for point in curve.points]
    axes.plot(steps, mean, "o-", ms=3, lw=1.8, color=colour, label=curve.label)
    ends = [point.ci["log_variance"] or (np.nan, np.nan) for point in curve.points]
    if not np.isnan(ends).all():
        axes.fill_between(steps, *zip(*ends, strict=True), color=colour, alpha=0.2, lw=0)
    if curve.penalised:
        ppo = [point.mean["ppo_log_variance"] for point in curve.points]
        axes.plot(steps, ppo, "--", lw=1, color="0.2", label=f"{curve.label}: PPO part")
