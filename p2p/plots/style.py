"""The sizes of a page; how methods and tasks are drawn and called is in `p2p.plots.looks`."""

from __future__ import annotations

from typing import Any

PANEL = (3.1, 2.5)  # inches
LEGEND = 0.3  # inches, a line of it above the panels
LEGEND_ENTRY = 1.2  # inches, of a label
LETTERS = 15  # of a label that fits in there; the longest name of a method
CAPTION_LINE = 0.14  # inches
BAND = 0.18  # opacity
RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "path",  # looks the same where the font is missing
}
