"""Tables and coloured maps, as lines of text; without their styles they are plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .text.formats import NOTHING, compact, count, counted

if TYPE_CHECKING:
    from rich.style import StyleType
    from rich.text import Text

    from p2p.analysis.evaluation.results import Evaluation

Row = Sequence[str]
VIRIDIS = (  # matplotlib's, at even distances: as light grows, so does the value, in grey too
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
    (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
)  # fmt: skip


def as_text(plain: str = "", style: StyleType = "") -> Text:
    """Return a line of text; rich is imported with the first one, not for `--help`."""
    from rich.text import Text

    return Text(plain, style)


def assembled(*parts: str | tuple[str, str]) -> Text:
    """Return a line made of parts, some with a style."""
    from rich.text import Text

    return Text.assemble(*parts)


def table(head: Row, rows: Sequence[Row], *, left: int = 1, bold: int | None = None) -> list[Text]:
    """Align the columns: the first `left` of them at their left, the others at their right."""
    sizes = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(row: Row) -> str:
        cells = (
            cell.ljust(size) if n < left else cell.rjust(size)
            for n, (cell, size) in enumerate(zip(row, sizes, strict=True))
        )
        return "  ".join(cells).rstrip()

    styled = [as_text(line(row), "bold" if n == bold else "") for n, row in enumerate(rows)]
    return [as_text(line(head), "bold"), *styled]


def interval_text(ends: tuple[float, float] | None) -> str:
    """Return `low to high`."""
    return NOTHING if ends is None else f"{compact(ends[0])} to {compact(ends[1])}"


def ground_style(share: float) -> str:
    """Return the style of a map's cell: ground by `share` in 0..1, and letters that stand out."""
    position = share * (len(VIRIDIS) - 1)
    n = min(int(position), len(VIRIDIS) - 2)
    red, green, blue = (
        round(a + (b - a) * (position - n)) for a, b in zip(VIRIDIS[n], VIRIDIS[n + 1], strict=True)
    )
    letters = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else "bright_white"
    return f"{letters} on rgb({red},{green},{blue})"


def cost_line(found: Evaluation) -> Text:
    """Say how many episodes were run, how fast, and how many were known."""
    kept = f"{counted(found.reused, 'episode')} from eval.h5" if found.reused else ""
    if not found.episodes:
        return as_text(f"{kept}, none to run", "dim")
    rate = count(found.steps / found.seconds)
    ran = (
        f"{counted(found.episodes, 'episode')}, {count(found.steps)} steps in "
        f"{found.seconds:.1f} s ({rate} steps/s)"
    )
    return as_text("; ".join(filter(None, [ran, kept])), "dim")
