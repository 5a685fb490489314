"""What all pictures share: sizes, labels, and how a picture becomes a file.

How methods and tasks are drawn and called is in `p2p.plots.method_styles`. Pictures need the extra
`figures` (matplotlib), which is imported when something is drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from p2p.core.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RETURN = "undiscounted return"
DPI = 160
PANEL = (3.1, 2.5)  # inches
LEGEND = 0.3  # inches, a line of it above the panels
LEGEND_ENTRY = 1.2  # inches, of a label
LETTERS = 15  # of a label that fits in there; the longest name of a method
CAPTION_LINE = 0.14  # inches
CAPTION_LETTERS = 19  # of a caption in an inch
BAND = 0.18  # opacity
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe and Ito's
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


def picture(
    draw: Callable[[Figure], None], width: float, height: float, suffix: str = "png"
) -> bytes:
    """Return the picture that `draw` makes; equal pictures have equal bytes.

    Args:
        width, height: inches.
        suffix: "png" or "svg".

    Raises:
        UsageError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = BytesIO()
    with rc_context({"svg.hashsalt": "p2p"}):  # else the names in an SVG are drawn at random
        figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: no global state
        draw(figure)
        dated = {"Date": None} if suffix == "svg" else None
        figure.savefig(out, format=suffix, dpi=DPI, metadata=dated)
    return out.getvalue()


def add_caption(figure: Figure, caption: str) -> None:
    """Write a caption below a figure, which becomes as much higher."""
    lines = textwrap.wrap(caption, int(figure.get_figwidth() * CAPTION_LETTERS))
    figure.set_figheight(figure.get_figheight() + CAPTION_LINE * len(lines))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="0.35")


def check_matplotlib() -> None:
    """Raise UsageError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "figures need matplotlib; install it with: pip install 'p2pdrl[figures]'"
        ) from None
