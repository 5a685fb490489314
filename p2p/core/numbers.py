"""Numbers as people write them (`1_000_000`, `1,000,000`, `1e6`, `1M`, `4k`) and times (`90m`)."""

from __future__ import annotations

import re
from decimal import Decimal

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_PLAIN = r"\d+(?:_\d+)*"
NUMBER = re.compile(
    rf"([+-]?)(?:(\d{{1,3}}(?:,\d{{3}})+)|({_PLAIN}(?:\.\d*)?|\.\d+)(e[+-]?\d{{1,2}})?)([kmgb]?)",
    re.IGNORECASE,
)
SHAPES = "write 1000000, 1_000_000, 1e6 or 1M"
DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?|(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)"
)


def whole_number(text: str) -> int:
    """Return the whole number that a text says.

    Units are k, M, and G or B, in either case; commas part thousands.

    Raises:
        ValueError: in one line, why it says none.
    """
    found = NUMBER.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"is not a valid integer; {SHAPES}")
    sign, parted, number, exponent, unit = found.groups()
    digits = (parted or number).replace(",", "").replace("_", "")
    value = Decimal(f"{sign}{digits}{exponent or ''}") * UNITS[unit.lower()]
    if value != value.to_integral_value():
        raise ValueError("is not a valid integer: it has a fractional part")
    return int(value)


def duration_of(text: str) -> int:
    """Return the seconds that a text says: `90m`, `3h30m`, `1d`, `45s`, `3:30:00` or `1-03:30:00`.

    A number without a unit is none: Slurm takes it for minutes, others for seconds.

    Raises:
        ValueError: in one line, why it says none.
    """
    found = DURATION.fullmatch(text.strip().lower())
    parts = [int(part or 0) for part in found.groups()] if found else []
    seconds = sum(size * part for size, part in zip(2 * (86400, 3600, 60, 1), parts, strict=False))
    if not seconds:
        raise ValueError("is not a valid time; write 90m, 3h30m, 1d or 3:30:00")
    return seconds
