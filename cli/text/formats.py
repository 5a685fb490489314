"""Numbers as text: short enough for a column, long enough to compare."""

from __future__ import annotations

from math import isfinite

NOTHING = "-"  # a value that is not known yet, or not finite


def compact(value: float | None) -> str:
    """Return three significant digits in at most 8 characters: `0.0012`, `34.5`, `-120400`."""
    if value is None or not isfinite(value):
        return NOTHING
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        return f"{value:.1e}" if size >= 1e6 else f"{value:.0e}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{value:.{digits}f}" if size else "0"


def fixed(value: float | None, digits: int) -> str:
    """Return `digits` decimals, so that a column is aligned; large values as `compact` does."""
    if value is None or not isfinite(value) or abs(value) >= 100:
        return compact(value)
    return f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Return `0:07`, `4:52`, `1:04:52` or `2d 03:04:05`."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def count(number: float | None) -> str:
    """Return a whole number with its thousands separated by commas."""
    return NOTHING if number is None or not isfinite(number) else f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """Return `1 peer`, `4 peers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ago(seconds: float) -> str:
    """Return an age in its largest unit: `40 s`, `12 min`, `5 h`, `3 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
