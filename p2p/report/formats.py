"""How a page writes numbers: with a minus sign, and as many digits as mean something."""

from __future__ import annotations

import math

MINUS, NOTHING = "\u2212", "\u2013"
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with at least so many significant digits; whole ones from 100 on."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-4:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", MINUS)
    decimals = 0 if size == 0 else max(0, digits - 1 - math.floor(math.log10(size)))
    if size == int(size):
        decimals = 0
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def plus_minus(mean: float, interval: tuple[float, float] | None) -> str:
    """Return the mean and half the width of its interval, which lies symmetrically around it."""
    if interval is None:
        return number(mean)
    half = (interval[1] - interval[0]) / 2
    return f"{number(mean)} \u00b1 {number(half, 2)}"


def from_to(ends: tuple[float, float] | None) -> str:
    """Return `low to high`."""
    return NOTHING if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def tick(value: float) -> str:
    """Return a round number, short: `250k`, `1M`, `0.25`."""
    if abs(value) >= 1e4:
        for unit, letter in UNITS:
            if abs(value) >= unit:
                return f"{value / unit:.4g}{letter}".replace("-", MINUS)
    text = f"{value:.6g}" if abs(value) > 1e-12 else "0"
    return text.replace("-", MINUS)


def counted(count: int, noun: str) -> str:
    """Return `1 peer`, `4 peers`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def share(value: float) -> str:
    """Return a percentage."""
    return f"{value:.0%}"


def duration(seconds: float) -> str:
    """Return `0.4 s`, `12 s`, `4 min 52 s`, `1 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{number(hours)} h {minute} min"
    return f"{minute} min {second} s" if minute else f"{second} s"
