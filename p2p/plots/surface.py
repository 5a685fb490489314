"""The picture of return surfaces (Fig. 5). Needs the extra `figures` (matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from p2p.analysis.surface.results import Mark, Surface
from p2p.plots.style import RETURN, add_caption, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = 14  # colours, about: as many as give round numbers
TITLES = {"train": "training return", "test": "test return"}
EDGE = 0.6  # of the window's width: beyond it a label goes to the left of its point


def surface_figure(surface: Surface, suffix: str = "png") -> bytes:
    """Draw training and test return as contours on one scale, the three policies marked.

    Args:
        suffix: "png" or "svg".

    Raises:
        UsageError: matplotlib is not installed.
    """
    width, height = (float(np.ptp(axis)) for axis in (surface.x, surface.y))
    around = 1.1  # inches above and below the panels, each 3.6 wide
    return picture(
        lambda figure: _draw(figure, surface), 9.0, around + 3.6 * height / width, suffix
    )


def _draw(figure: Figure, surface: Surface) -> None:
    from matplotlib.ticker import MaxNLocator

    low = min(float(one.mean.min()) for one in surface.landscapes)
    high = max(float(one.mean.max()) for one in surface.landscapes)
    levels = MaxNLocator(LEVELS).tick_values(low, high if high > low else low + 1.0)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, one in zip(panels, surface.landscapes, strict=True):
        filled = axes.contourf(surface.x, surface.y, one.mean, levels, cmap="viridis")
        axes.contour(filled, colors="white", linewidths=0.4, alpha=0.6)
        axes.set(aspect="equal", xlabel="from initial towards final policy (L2 distance)")
        axes.set_title(f"{TITLES[one.scenario]}, eps {one.set.eps:g}", fontsize="medium")
        for mark in surface.marks:
            _label(axes, mark, surface)
    panels[0].set_ylabel("towards middle policy\n(L2 distance)")
    figure.colorbar(filled, ax=panels, label=RETURN, pad=0.01)
    of = f"{surface.task}, {surface.method}, seed {surface.seed}, peer {surface.config.peer}"
    figure.suptitle(f"{of}: mean of {surface.config.domains} domains", fontsize="medium")
    add_caption(
        figure,
        f"Each point: mean action, 1 episode in each of {surface.config.domains} domains (seed "
        f"{surface.config.domain_seed}), the same at all points. One training seed: no interval.",
    )


def _label(axes: Any, mark: Mark, surface: Surface) -> None:
    """Mark a policy, in black on white so that it stands out on any ground."""
    from matplotlib.patheffects import withStroke

    axes.plot(mark.x, mark.y, "o", ms=6, mfc="white", mec="black", mew=1.2)
    left = mark.x > surface.x[0] + EDGE * float(np.ptp(surface.x))
    text = mark.name if not mark.steps else f"{mark.name}, {mark.steps / 1e6:.2g}M steps"
    axes.annotate(
        text, (mark.x, mark.y), (-7 if left else 7, 5), textcoords="offset points",
        ha="right" if left else "left", fontsize="small",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip
