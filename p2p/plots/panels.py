"""Compose a figure: rows of panels, one legend for all of them, a caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from p2p.plots import lines
from p2p.plots.style import LEGEND, LEGEND_ENTRY, LETTERS, PANEL, RC, add_caption, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BANDS = "Mean over seeds, with 95% intervals by the stratified bootstrap over seeds"


class Panel(NamedTuple):
    """One panel; `draw` draws on its axes and returns the number of seeds by label."""

    title: str
    xlabel: str
    ylabel: str
    draw: Callable[[Any], dict[str, int]]


class Layout(NamedTuple):
    """Rows of panels, the last of which may be shorter than the others.

    Attributes:
        caption: the part that is not about bands and seeds.
        bands: what lines and bands are.
    """

    rows: Sequence[Sequence[Panel]]
    caption: str
    bands: str = BANDS


class Drawn(NamedTuple):
    """A figure in each of its formats, by suffix, and its caption."""

    files: dict[str, bytes]
    caption: str


def compose(layout: Layout) -> Drawn:
    """Draw the panels of a layout, one legend for all and the caption.

    Raises:
        UsageError: matplotlib is missing.
    """
    columns = max(map(len, layout.rows))
    width = PANEL[0] * columns
    caption = ""

    def paint(figure: Figure) -> None:
        nonlocal caption
        from matplotlib import rc_context

        with rc_context(RC):
            counts = _panels(figure, layout)
            seeds = f"; {lines.seeds_text(counts)}" if counts else ""
            caption = f"{layout.bands}{seeds}. {layout.caption}"
            add_caption(figure, caption)

    height = LEGEND + PANEL[1] * len(layout.rows)
    files = {suffix: picture(paint, width, height, suffix) for suffix in ("png", "svg")}
    return Drawn(files, caption)


def _panels(figure: Figure, layout: Layout) -> dict[str, int]:
    """Draw all panels and one legend for all; return the number of seeds by label."""
    shape = len(layout.rows), max(map(len, layout.rows))
    all_axes = figure.subplots(*shape, squeeze=False)
    counts: dict[str, int] = {}
    handles: dict[str, Any] = {}
    for row, panels in zip(all_axes, layout.rows, strict=True):
        for axes in row[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(row, panels, strict=False):
            for label, number in panel.draw(axes).items():
                counts[label] = min(number, counts.get(label, number))
            axes.set(title=panel.title, xlabel=panel.xlabel)
            if axes is row[0] or panel.ylabel != panels[0].ylabel:
                axes.set_ylabel(panel.ylabel)
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
    if handles:
        _legend(figure, handles, PANEL[0] * shape[1])
    return counts


def _legend(figure: Figure, handles: dict[str, Any], width: float) -> None:
    """Draw a legend of handles by label, `width` inches wide, and make room for it."""
    entry = LEGEND_ENTRY * max(1.0, max(map(len, handles)) / LETTERS)
    columns = min(len(handles), max(1, int(width / entry)))
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=columns,
        columnspacing=1.2, handlelength=2.6,
    )  # fmt: skip
    extra = LEGEND * (-(-len(handles) // columns) - 1)
    figure.set_figheight(figure.get_figheight() + extra)
