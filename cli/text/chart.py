"""Curves in a terminal: coloured braille lines, or full stops if only plain text is possible.

Each curve has its own marker at its points, so that colour is not needed to identify it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.text import Text

from .formats import count, fixed

MARKERS = "ox+*#@%&"
STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille cell, by column and row
BRAILLE = 0x2800
MARKED = 24  # points of a curve that are all marked; of more, every so many-th
LEFT = 8  # cells of the labels of the y axis


class Series(NamedTuple):
    """A curve: its label, and its points in order of x."""

    label: str
    points: Sequence[tuple[float, float]]


class Cell(NamedTuple):
    """One character of the chart."""

    glyph: str
    style: str


def chart(
    series: Sequence[Series], width: int, height: int = 13, *, x_label: str = "",
    braille: bool = True, x_text: Callable[[float], str] = count,
) -> list[Text]:  # fmt: skip
    """Return curves over x with axes and a legend; no lines if no point is finite.

    Where curves cross, the first one is on top.

    Args:
        series: points that are not finite are left out.
        width, height: cells of a line (40 or more) and of the y axis.
        braille: draw lines of braille dots, not of full stops.
        x_text: writes the ends of the x axis.
    """
    curves = [(n, _finite(one.points)) for n, one in enumerate(series)]
    every = [point for _, points in curves for point in points]
    if not every:
        return []
    columns = max(20, width - LEFT - 2)
    low, high = _range([y for _, y in every])
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    cells: dict[tuple[int, int], Cell] = {}
    for n, points in reversed(curves):
        scaled = [
            (_scale(x, first, last, 2 * columns), _scale(y, high, low, 4 * height))
            for x, y in points
        ]
        style = STYLES[n % len(STYLES)]
        for place, dots in _lines(scaled).items():
            cells[place] = Cell(chr(BRAILLE + dots) if braille else ".", style)
        for x, y in scaled[:: -(-len(scaled) // MARKED)]:
            cells[x // 2, y // 4] = Cell(MARKERS[n % len(MARKERS)], style)
    lines = []
    digits = min(6, max(2, 2 - math.floor(math.log10(high - low))))
    for row in range(height):
        at = high - (high - low) * row / (height - 1)
        label = fixed(at, digits) if row % 4 == 0 or row == height - 1 else ""
        line = Text(label.rjust(LEFT) + (" |" if not braille else " │"))
        for column in range(columns):
            cell = cells.get((column, row))
            line.append(cell.glyph if cell else " ", cell.style if cell else "")
        line.rstrip()
        lines.append(line)
    ends = x_text(first), x_text(last)
    return [*lines, _axis(ends, columns, x_label, braille=braille), *_legend(series, width)]


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in points if all(map(math.isfinite, point))]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, which always differ."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scale(value: float, start: float, end: float, size: int) -> int:
    """Return the dot of `value` on an axis of `size` dots from `start` to `end`."""
    share = (value - start) / (end - start) if end != start else 0.5
    return min(size - 1, max(0, round(share * (size - 1))))


def _lines(points: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the braille dots of the lines from point to point, by cell."""
    cells: dict[tuple[int, int], int] = {}
    for start, end in pairwise(points):
        for x, y in _between(start, end):
            place = x // 2, y // 4
            cells[place] = cells.get(place, 0) | DOTS[x % 2][y % 4]
    return cells


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the dots of a straight line."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for n in range(steps + 1):
        yield (
            round(start[0] + (end[0] - start[0]) * n / steps),
            round(start[1] + (end[1] - start[1]) * n / steps),
        )


def _axis(ends: tuple[str, str], columns: int, label: str, *, braille: bool) -> Text:
    left, right = ends
    room = columns - len(left) - len(right)
    corner = " " * LEFT + (" └" if braille else " +")
    return Text(corner + left + label.center(room) + right)


def _legend(series: Sequence[Series], width: int) -> list[Text]:
    """Return lines of markers with their labels, as many on a line as fit; long ones are cut."""
    lines = [Text(" " * (LEFT + 2))]
    for n, one in enumerate(series):
        entry = Text(f"{MARKERS[n % len(MARKERS)]} {one.label}", STYLES[n % len(STYLES)])
        entry.truncate(width - LEFT - 2, overflow="ellipsis")
        if len(lines[-1]) + len(entry) > width and len(lines[-1]) > LEFT + 2:
            lines.append(Text(" " * (LEFT + 2)))
        lines[-1].append_text(entry).append("   ")
    for line in lines:
        line.rstrip()
    return lines
