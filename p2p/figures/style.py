"""How everything looks: one table of methods, and the sizes of a page."""

from __future__ import annotations

from typing import Any, NamedTuple


class Look(NamedTuple):
    """How a method is drawn wherever it appears.

    Attributes:
        colour: from Okabe and Ito's palette, which colour-blind people tell apart.
        dash, marker: matplotlib's; they tell methods apart without any colour.
    """

    label: str
    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


METHODS = {
    "p2pdrl": Look("P2PDRL", "#0072B2", "-", "o"),
    "ppo": Look("PPO", "#D55E00", (0, (5, 1.5)), "s"),
    "dppo": Look("Distributed PPO", "#009E73", (0, (3, 1, 1, 1)), "^"),
    "distral": Look("Distral", "#CC79A7", (0, (1, 1)), "D"),
    "dnc": Look("DnC", "#E69F00", (0, (6, 1, 1, 1, 1, 1)), "v"),
    "self-kl": Look("PPO, self-KL", "#56B4E9", (0, (4, 2)), "P"),
    "entropy": Look("PPO, entropy", "#000000", (0, (2, 2)), "X"),
}
TASKS = {
    "walker2d": "Walker2d",
    "ant": "Ant",
    "humanoid": "Humanoid",
    "hopper": "Hopper",
    "halfcheetah": "HalfCheetah",
}
PANEL = (3.1, 2.5)  # inches
LEGEND = 0.3  # inches, a line of it above the panels
LEGEND_ENTRY = 1.2  # inches, the longest but one
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
