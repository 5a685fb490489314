"""Tables and coloured maps, as lines of text; without their styles they are plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from .text.formats import NOTHING, compact, count, counted
from .text.layout import blocks, shortened, wrap
from .text.terminal import UNLIMITED, can_redraw, columns

if TYPE_CHECKING:
    from rich.style import StyleType
    from rich.text import Text

    from p2p.analysis.evaluation.results import Evaluation

Row = Sequence[str]
GAP = "  "  # between columns
LEAST = 8  # cells of a label that is shortened
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


def table(
    head: Row,
    rows: Sequence[Row],
    *,
    left: int = 1,
    bold: int | None = None,
    width: int = UNLIMITED,
    keep: int | None = None,
    group: int = 1,
) -> list[Text]:
    """Align the columns: the first `left` of them at their left, the others at their right.

    Args:
        bold: number of a row.
        width: cells in a line. A wider table goes on below, an empty line between.
        keep: how many first columns are repeated there [`left`].
        group: how many of the others are not parted.
    """
    keep = left if keep is None else keep
    every = [list(column) for column in zip(head, *rows, strict=True)]
    sizes = [max(map(len, column)) for column in every]
    if sum(sizes) + len(GAP) * (len(sizes) - 1) > width:
        every[:keep] = _fit_labels(every[:keep], width, max(sizes[keep:], default=0))
        sizes = [max(map(len, column)) for column in every]
    lines: list[Text] = []
    for part in blocks(sizes, width, keep, group):
        cells = [
            [cell.ljust(sizes[n]) if n < left else cell.rjust(sizes[n]) for cell in every[n]]
            for n in part
        ]
        first, *others = (GAP.join(row).rstrip() for row in zip(*cells, strict=True))
        styled = [as_text(line, "bold" if n == bold else "") for n, line in enumerate(others)]
        lines += [*([as_text()] if lines else []), as_text(first, "bold"), *styled]
    return lines


def prose_table(head: Row, rows: Sequence[Row], width: int) -> list[Text]:
    """Align columns of words at their left; where a line has no room, cells are wrapped.

    Args:
        width: cells in a line. No word is broken as long as one of each column fits.
    """
    every = [list(column) for column in zip(head, *rows, strict=True)]
    sizes = [max(map(len, column)) for column in every]
    least = [max(len(word) for cell in column for word in [*cell.split(), ""]) for column in every]
    while sum(sizes) + len(GAP) * (len(sizes) - 1) > width:
        n = max(range(len(sizes)), key=lambda n: sizes[n] - least[n])
        if sizes[n] <= least[n]:
            break
        sizes[n] -= 1
    lines = []
    for number, row in enumerate((head, *rows)):
        cells = [wrap(cell, size) for cell, size in zip(row, sizes, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(size) for part, size in zip(parts, sizes, strict=True))
            lines.append(as_text(GAP.join(padded).rstrip(), "" if number else "bold"))
    return lines


def _fit_labels(labels: list[list[str]], width: int, widest: int) -> list[list[str]]:
    """Shorten labels, the longest first, such that the widest other column has room."""
    sizes = [max(map(len, column)) for column in labels]
    room = max(LEAST * len(labels), width - widest - len(GAP) * len(labels))
    while sum(sizes) > room:
        longest = sizes.index(max(sizes))
        if sizes[longest] <= LEAST:
            break
        sizes[longest] -= 1
    return [
        [shortened(cell, size) for cell in column]
        for column, size in zip(labels, sizes, strict=True)
    ]


def folded(line: Text, width: int) -> list[Text]:
    """Return a sentence over as many lines as it needs; a table's row stays one."""
    if len(line) <= width or "  " in line.plain.strip():
        return [line]
    found, start = [], 0
    for part in wrap(line.plain, width):
        start = line.plain.index(part, start)
        found.append(line[start : start + len(part)])
        start += len(part)
    return found


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


def print_lines(lines: Iterable[Text], *, styled: bool | None = None) -> None:
    """Print lines on stdout; on a terminal sentences are wrapped.

    Args:
        styled: with their styles; None: if stdout can show them.
    """
    width = columns()
    lines = [part for line in lines for part in folded(line, width)]
    if not (can_redraw(sys.stdout) if styled is None else styled):
        print("\n".join(line.plain.rstrip() for line in lines), flush=True)
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)
