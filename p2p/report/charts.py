"""Charts as inline SVG: text and lines take the page's colours, so they suit light and dark.

A curve has the class `c<n>`; the page's style says which colour that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from p2p.report.formats import number, tick

WIDTH, HEIGHT = 360, 236
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 30, 40
EDGE = 6  # left of intervals
ROW = 30  # height of a row of intervals
Points = Sequence[tuple[float, float]]


class Curve(NamedTuple):
    """A line of a chart.

    Attributes:
        label: shown where the pointer rests on it.
        points: in order of x.
        band: (x, low, high) each.
        slot: number of its colour.
        dash: lengths, as `stroke-dasharray` has them.
        faint: a thin line beside the one that counts.
    """

    label: str
    points: Points
    band: Sequence[tuple[float, float, float]] = ()
    slot: int = 0
    dash: str = ""
    faint: bool = False


class Row(NamedTuple):
    """A row of a chart of intervals: a group with its seeds."""

    label: str
    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    slot: int


class _Axis(NamedTuple):
    """A scale from values to places."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        """Return round values between the ends."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def line_chart(
    curves: Sequence[Curve], *, title: str, x_label: str, nominal: float | None = None,
    zero: bool = False, span: tuple[float, float] | None = None,
) -> Markup:  # fmt: skip
    """Return curves over x with axes.

    The y axis spans the curves; bands are cut at its ends, since an interval of few seeds can be
    many times as wide as what it is about.

    Args:
        title: says what y is.
        nominal: an x to mark.
        zero: let the y axis begin at 0, if nothing is below.
        span: the ends of the y axis, where several charts share them.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return Markup()
    xs = [x for x, _ in points]
    low, high = span or y_span(curves, zero=zero)
    x_axis = _Axis(*_apart(min(xs), max(xs)), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_frame(x_axis, y_axis, x_label), _nominal(x_axis, nominal)]
    inner_width, inner_height = WIDTH - RIGHT - LEFT, HEIGHT - BOTTOM - TOP
    box = f"{LEFT} {TOP} {inner_width} {inner_height}"
    # an svg of its own cuts off what lies beyond its ends
    parts.append(Markup(
        '<svg x="{}" y="{}" width="{}" height="{}" viewBox="{}">'
    ).format(LEFT, TOP, inner_width, inner_height, box))  # fmt: skip
    parts += [_band(curve, x_axis, y_axis) for curve in curves if curve.band]
    ordered = sorted(curves, key=lambda curve: not curve.faint)
    parts += [_line(curve, x_axis, y_axis) for curve in ordered]
    parts.append(Markup("</svg>"))
    return _svg(title, HEIGHT, parts)


def y_span(curves: Sequence[Curve], *, zero: bool = False) -> tuple[float, float]:
    """Return the ends of a y axis that shows all curves, with some room."""
    ys = [y for curve in curves for _, y in curve.points]
    low, high = _apart(min(ys), max(ys))
    room = 0.06 * (high - low)
    bottom = 0.0 if zero and low >= 0 else low - room
    return bottom, high + room


def interval_chart(rows: Sequence[Row], *, title: str, x_label: str) -> Markup:
    """Return a row a group: a ring a seed, the mean, and its interval."""
    seen = [v for row in rows for v in (*row.values, row.mean)]
    wide = [v for row in rows for v in row.interval or ()]
    low, high = _apart(min(seen), max(seen))
    room = high - low
    low = max(min([low, *wide]), low - room) - 0.04 * room
    high = min(max([high, *wide]), high + room) + 0.04 * room
    height = TOP + ROW * len(rows) + BOTTOM
    axis = _Axis(low, high, EDGE, WIDTH - RIGHT)
    parts: list[Markup] = []
    for value in axis.ticks(4):
        x = axis.at(value)
        parts.append(_rule(x, TOP, x, height - BOTTOM, "grid"))
        parts.append(_text(x, height - BOTTOM + 15, tick(value), "tick", "middle"))
    parts.append(_text((axis.start + axis.end) / 2, height - 8, x_label, "label", "middle"))
    for n, row in enumerate(rows):
        y = TOP + ROW * n + 20
        parts.append(_text(axis.start, y - 8, row.label, "group"))
        parts.append(Markup('<g class="c{}">').format(row.slot))
        if row.interval is not None:
            ends = [min(max(axis.at(v), axis.start), axis.end) for v in row.interval]
            parts.append(_rule(ends[0], y, ends[1], y, "interval"))
        parts += [_circle(axis.at(v), y, 3.2, "seed") for v in row.values]
        parts.append(_circle(axis.at(row.mean), y, 3.8, "mean"))
        parts.append(Markup("<title>{}: {}</title></g>").format(row.label, number(row.mean)))
    return _svg(title, height, parts)


def swatch(slot: int, dash: str) -> Markup:
    """Return a short line for a legend."""
    return Markup(
        '<svg class="swatch c{}" viewBox="0 0 26 10" width="26" height="10" aria-hidden="true">'
        '<path class="line" d="M1 5H25"{}/></svg>'
    ).format(slot, _dashed(dash))


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    head = Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">'
        '<text class="title" x="6" y="16">{}</text>'
    ).format(WIDTH, number(height), title, title)
    return head + Markup().join(parts) + Markup("</svg>")


def _frame(x_axis: _Axis, y_axis: _Axis, x_label: str) -> Markup:
    parts = []
    for value in y_axis.ticks(4):
        y = y_axis.at(value)
        parts.append(_rule(x_axis.start, y, x_axis.end, y, "grid"))
        parts.append(_text(x_axis.start - 6, y + 4, tick(value), "tick", "end"))
    for value in x_axis.ticks(4):
        x = x_axis.at(value)
        parts.append(_rule(x, y_axis.start, x, y_axis.start + 4, "axis"))
        parts.append(_text(x, y_axis.start + 16, tick(value), "tick", "middle"))
    parts.append(_rule(x_axis.start, y_axis.start, x_axis.end, y_axis.start, "axis"))
    middle = (x_axis.start + x_axis.end) / 2
    parts.append(_text(middle, HEIGHT - 6, x_label, "label", "middle"))
    return Markup().join(parts)


def _nominal(x_axis: _Axis, value: float | None) -> Markup:
    if value is None:
        return Markup()
    x = x_axis.at(value)
    return _rule(x, TOP, x, HEIGHT - BOTTOM, "nominal")


def _band(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> Markup:
    upper = [(x, high) for x, _, high in curve.band]
    lower = [(x, low) for x, low, _ in reversed(curve.band)]
    path = _path([*upper, *lower], x_axis, y_axis) + "Z"
    return Markup('<path class="band c{}" d="{}"/>').format(curve.slot, path)


def _line(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> Markup:
    kind = "line faint" if curve.faint else "line"
    if len(curve.points) == 1:
        (x, y), radius = curve.points[0], 2.5
        dot = _circle(x_axis.at(x), y_axis.at(y), radius, "mean")
        return Markup('<g class="c{}">{}<title>{}</title></g>').format(curve.slot, dot, curve.label)
    return Markup('<path class="{} c{}" d="{}"{}><title>{}</title></path>').format(
        kind, curve.slot, _path(curve.points, x_axis, y_axis), _dashed(curve.dash), curve.label
    )


def _path(points: Points, x_axis: _Axis, y_axis: _Axis) -> str:
    """Return a path; what lies far beyond the chart is brought near it, for short numbers."""
    places = [
        (x_axis.at(x), min(max(y_axis.at(y), -HEIGHT), 2 * HEIGHT))
        for x, y in points
        if math.isfinite(y)
    ]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _dashed(dash: str) -> Markup:
    return Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup()


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<path class="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def _circle(x: float, y: float, radius: float, kind: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(kind, x, y, radius)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(text)
    )


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return ends of an axis that differ."""
    if high > low:
        return low, high
    room = 0.05 * abs(low) or 0.5
    return low - room, high + room
