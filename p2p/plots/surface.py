"""Pictures of return surfaces (Fig. 5): of one run, and of all runs of a study.

Needs the extra `figures` (matplotlib).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.surface.config import SurfaceConfig
from p2p.analysis.surface.results import Mark, Surface
from p2p.core.errors import BadArtefact
from p2p.plots.captions import how_trained
from p2p.plots.data import Data, SurfacePoint, command
from p2p.plots.lines import seeds_text
from p2p.plots.method_styles import TASKS
from p2p.plots.panels import Drawn
from p2p.plots.selection import need, task_groups
from p2p.plots.style import RC, RETURN, add_caption, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = 14  # colours, about: as many as give round numbers
TITLES = {"train": "training return", "test": "test return"}
EDGE = 0.6  # of the window's width: beyond it a label goes to the left of its point
SMALL = 1.9  # inches, the width of a panel of many
AROUND = 0.45  # inches above and below it


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
    levels = _levels([one.mean for one in surface.landscapes])
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, one in zip(panels, surface.landscapes, strict=True):
        filled = _contours(axes, surface.x, surface.y, one.mean, levels)
        axes.set_xlabel("from initial towards final policy (L2 distance)")
        axes.set_title(f"{TITLES[one.scenario]}, eps {one.set.eps:g}", fontsize="medium")
        for mark in surface.marks:
            text = mark.name if not mark.steps else f"{mark.name}, {mark.steps / 1e6:.2g}M steps"
            _label(axes, mark, text, surface.x)
    panels[0].set_ylabel("towards middle policy\n(L2 distance)")
    figure.colorbar(filled, ax=panels, label=RETURN, pad=0.01)
    of = f"{surface.task}, {surface.method}, seed {surface.seed}, peer {surface.config.peer}"
    figure.suptitle(f"{of}: mean of {_domains(surface.config)}", fontsize="medium")
    add_caption(
        figure,
        f"Each point: mean action, 1 episode in each of {_domains(surface.config)} (seed "
        f"{surface.config.domain_seed}), the same at all points. One training seed: no interval.",
    )


def _domains(config: SurfaceConfig) -> str:
    return f"{config.domains} domain{'s' if config.domains > 1 else ''}"


class _Map(NamedTuple):
    """A run's surface as arrays: x [N], y [N], returns [N, N] by y and x, and its policies."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    returns: dict[str, NDArray[np.float64]]
    marks: list[SurfacePoint]


def return_surfaces(data: Data) -> Drawn:
    """Fig. 5: each run's training and test return on the plane of its policies, on one scale.

    A row a method and return, a column a seed.
    """
    asked = data.study.surface or SurfaceConfig()  # the figure is refused then
    rows: list[tuple[str, str, dict[int, _Map]]] = []  # task and label, return, map by seed
    for task in data.tasks:
        for look, runs in task_groups(data, task):
            found = {
                run.seed: _map(data.surfaces[run.run], run.run, data)
                for run in sorted(runs, key=lambda run: run.seed) if run.run in data.surfaces
            }  # fmt: skip
            rows += [(f"{TASKS[task]}, {look.label}", kind, found) for kind in TITLES if found]
    add = "" if data.study.surface else "a table [surface]"
    need(data, rows, "return surfaces", add)
    caption = (
        f"Each panel is one run, each point the mean action in {_domains(asked)} (seed "
        f"{asked.domain_seed}), one episode each, the same at all points; test domains at strength "
        f"{asked.eps_te:g}. {how_trained(data)} x: L2 distance from the initial (I) towards the "
        f"final policy (F) of peer {asked.peer}, y: towards the middle one (M). One scale of "
        f"returns for all; {seeds_text({label: len(found) for label, _, found in rows})}."
    )
    seeds = sorted({seed for *_, found in rows for seed in found})
    shape = max(np.ptp(one.y) / np.ptp(one.x) for *_, found in rows for one in found.values())
    width, height = SMALL * len(seeds) + 1.6, (SMALL * float(shape) + AROUND) * len(rows)

    def paint(figure: Figure) -> None:
        from matplotlib import rc_context

        with rc_context({**RC, "axes.grid": False}):
            _draw_all(figure, rows, seeds)
            add_caption(figure, caption)

    files = {suffix: picture(paint, width, height, suffix) for suffix in ("png", "svg")}
    return Drawn(files, caption)


def _draw_all(
    figure: Figure, rows: Sequence[tuple[str, str, dict[int, _Map]]], seeds: Sequence[int]
) -> None:
    all_axes = figure.subplots(len(rows), len(seeds), squeeze=False)
    levels = _levels([one.returns[kind] for _, kind, found in rows for one in found.values()])
    for line, (label, kind, found) in zip(all_axes, rows, strict=True):
        for axes, seed in zip(line, seeds, strict=True):
            if kind == "train":
                axes.set_title(f"seed {seed}")
            if seed not in found:
                axes.set(xticks=[], yticks=[])
                continue
            one = found[seed]
            filled = _contours(axes, one.x, one.y, one.returns[kind], levels)
            for mark in one.marks:
                _label(axes, mark, mark.policy[0].upper(), one.x)
        line[0].set_ylabel(f"{label}\n{TITLES[kind]}")
    figure.colorbar(filled, ax=all_axes, label=RETURN, pad=0.01, aspect=60)


def _map(points: Sequence[SurfacePoint], run: str, data: Data) -> _Map:
    """Return a run's points as arrays.

    Raises:
        BadArtefact: they are no grid, or lack a policy.
    """
    grid = [point for point in points if not point.policy]
    x, y = (np.array(sorted({getattr(p, axis) for p in grid})) for axis in "xy")
    marks = [point for point in points if point.policy]
    by_place = {(point.y, point.x): point for point in grid}
    if len(by_place) != len(x) * len(y) or len(marks) != 3 or min(len(x), len(y)) < 2:
        raise BadArtefact(
            f"{data.source}: the surface of {run} is no grid and three policies; make it with: "
            f"{command(data.study)}"
        )
    returns = {
        kind: np.array([[getattr(by_place[at_y, at_x], kind) for at_x in x] for at_y in y])
        for kind in TITLES
    }
    return _Map(x, y, returns, marks)


def _levels(returns: Sequence[NDArray[np.float64]]) -> Any:
    """Return the limits between colours, round numbers that all finite returns lie between."""
    from matplotlib.ticker import MaxNLocator

    finite = [one[np.isfinite(one)] for one in returns]
    low = min((float(one.min()) for one in finite if one.size), default=0.0)
    high = max((float(one.max()) for one in finite if one.size), default=0.0)
    return MaxNLocator(LEVELS).tick_values(low, high if high > low else low + 1.0)


def _contours(
    axes: Any, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], levels: Any
) -> Any:
    filled = axes.contourf(x, y, np.ma.masked_invalid(z), levels, cmap="viridis")
    axes.contour(filled, colors="white", linewidths=0.4, alpha=0.6)
    axes.set_aspect("equal")
    return filled


def _label(axes: Any, mark: Mark | SurfacePoint, text: str, x: NDArray[np.float64]) -> None:
    """Mark a policy, in black on white so that it stands out on any ground."""
    from matplotlib.patheffects import withStroke

    axes.plot(mark.x, mark.y, "o", ms=6, mfc="white", mec="black", mew=1.2)
    left = mark.x > x[0] + EDGE * float(np.ptp(x))
    axes.annotate(
        text, (mark.x, mark.y), (-7 if left else 7, 5), textcoords="offset points",
        ha="right" if left else "left", fontsize="small",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip
