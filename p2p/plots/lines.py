"""Curves of means over seeds with confidence bands, and the number of seeds in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from p2p.analysis.statistics import bootstrap_interval, mean
from p2p.plots.method_styles import MethodStyle
from p2p.plots.style import BAND

Points = dict[float, list[float]]  # values of the seeds by x


def _bootstrap(values: Sequence[float]) -> tuple[float, float]:
    return bootstrap_interval(values, mean)


def band(
    axes: Any,
    points: Points,
    look: MethodStyle,
    *,
    markers: bool = True,
    interval: Callable[[Sequence[float]], tuple[float, float] | None] = _bootstrap,
) -> None:
    """Draw the mean over seeds at each x, and its 95% interval.

    A single seed has no interval.

    Args:
        interval: of the values of several seeds [by the bootstrap over seeds].
    """
    xs = sorted(points)
    if not xs:
        return
    middle = [float(mean(points[x])) for x in xs]
    marker = look.marker if markers else ""
    axes.plot(xs, middle, color=look.colour, ls=look.dash, marker=marker, label=look.label)
    if all(len(points[x]) > 1 for x in xs):
        ends = [interval(points[x]) or (middle[n], middle[n]) for n, x in enumerate(xs)]
        low, high = zip(*ends, strict=True)
        axes.fill_between(xs, low, high, color=look.colour, alpha=BAND, lw=0)


def on_common_steps(curves: Sequence[Sequence[tuple[float, float]]], per: float = 1.0) -> Points:
    """Return the curves' values at the steps of the one with the most points.

    Curves are interpolated linearly. Steps that some curve does not cover are left out.

    Args:
        per: what steps are divided by.
    """
    if not curves:
        return {}
    first, last = max(c[0][0] for c in curves), min(c[-1][0] for c in curves)
    grid = [steps for steps, _ in max(curves, key=len) if first <= steps <= last]
    values = [np.interp(grid, [s for s, _ in curve], [v for _, v in curve]) for curve in curves]
    columns = zip(*values, strict=True)
    return {s / per: [float(v) for v in c] for s, c in zip(grid, columns, strict=True)}


def seeds_text(counts: Mapping[str, int]) -> str:
    """Return `n = 4 seeds`, or the numbers of each where they differ."""
    if len(numbers := set(counts.values())) == 1:
        (number,) = numbers
        return f"n = {number} seed{'s' if number > 1 else ''}"
    return "seeds: " + ", ".join(f"{name} n = {number}" for name, number in counts.items())
