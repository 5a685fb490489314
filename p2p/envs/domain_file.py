"""Domains files: TOML in which each table is a factor; read, checked, and written back.

[payload]                 # the factor's name
vary = "mass"             # a term of the catalogue; left out: the name is the term
of = "trunk"              # full-match regular expression, or a list of names; left out: all
add = [-1, 3]             # or scale = 0.2; one number is a half-width
each = true               # a value of its own for each; left out: one for all
draw = "log-uniform"      # or uniform, normal
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from p2p.core.errors import P2PError, UsageError
from p2p.core.names import did_you_mean
from p2p.core.reading import parse_toml, read_bytes
from p2p.envs.randomisation import DRAWS, RESERVED, Factor, Randomisation
from p2p.envs.terms import Term, find_term

KEYS = ("vary", "of", "scale", "add", "each", "draw")
MAX_FACTORS = 100
MAX_BYTES = 1_000_000


def read_domains(path: Path) -> Randomisation:
    """Read a domains file, or the shipped one of that name.

    Raises:
        UsageError: it cannot be read, is no TOML, or a table of it is wrong; the file is named.
    """
    try:
        if path.suffix != ".toml" and not path.exists() and str(path) in shipped():
            return load_shipped(str(path))
        if not path.is_file():
            reason = "no such file" if not path.exists() else "not a file"
            raise UsageError(f"cannot read domains file {path}: {reason}; shipped: table1")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"domains file {path} is larger than {MAX_BYTES:,} bytes")
        text = read_bytes(path).decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read domains file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    return parse_domains(text, str(path))


def parse_domains(text: str, source: str) -> Randomisation:
    """Read the text of a domains file.

    Args:
        source: what messages call it.

    Raises:
        UsageError: it is no TOML, or a table of it is wrong.
    """
    try:
        tables = parse_toml(text)
    except ValueError as error:
        raise UsageError(f"{source}: not TOML: {error}") from None
    return from_tables(tables, source)


def shipped() -> list[str]:
    """Return the names of the domains files that come with p2p."""
    folder = resources.files("p2p.data") / "domains"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


@cache
def load_shipped(name: str) -> Randomisation:
    """Read a domains file that comes with p2p."""
    file = resources.files("p2p.data") / "domains" / f"{name}.toml"
    return parse_domains(file.read_text("utf-8"), f"{name}.toml")


def from_tables(tables: Mapping[str, Any], source: str) -> Randomisation:
    """Return the randomisation that tables describe, as TOML or `to_tables` has them.

    Raises:
        UsageError: one of them is wrong.
    """
    if len(tables) > MAX_FACTORS:
        raise UsageError(f"{source}: {len(tables)} factors are more than {MAX_FACTORS}")
    named = ((n, n if n.isprintable() else repr(n), table) for n, table in tables.items())
    return Randomisation(tuple(_factor(n, t, f"{source}: [{said}]") for n, said, t in named))


def to_tables(randomisation: Randomisation) -> dict[str, dict[str, Any]]:
    """Return the tables that `from_tables` reads, exactly."""
    found = {}
    for factor in randomisation:
        table = {k: v for k, v in asdict(factor).items() if k in ("vary", "of", "each", "draw")}
        table["scale" if factor.scales else "add"] = {"low": factor.low, "high": factor.high}
        found[factor.name] = {**table, **dict(factor.options)}
    return found


def _factor(name: str, table: Any, where: str) -> Factor:
    """Return the factor of a table, called `where` in messages."""
    if name in ("", ".") or any(c in name for c in RESERVED) or not name.isprintable():
        raise UsageError(f"{where}: a factor's name has no comma, equals sign, slash or space")
    if not isinstance(table, dict):
        raise UsageError(f"{where}={table!r} is no table: write [{name}], then its keys")
    vary = table.get("vary", name)
    if not isinstance(vary, str):
        raise UsageError(f"{where} vary={vary!r} is no name of a term")
    try:
        term = find_term(vary)
    except P2PError as error:
        raise type(error)(f"{where}: {error}") from None
    for key in table:
        if key not in KEYS and key not in term.options:
            known = (*KEYS, *term.options)
            raise UsageError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")
    low, high, scales = _range(table, term, where)
    draw, each = table.get("draw", "uniform"), table.get("each", False)
    if draw not in DRAWS:
        raise UsageError(f"{where} draw={draw!r}: use {', '.join(DRAWS)}")
    if draw == "log-uniform" and not (scales and low > -1):
        raise UsageError(f"{where}: log-uniform draws positive factors: give scale, not add")
    if not isinstance(each, bool):
        raise UsageError(f"{where} each={each!r}: use true or false")
    options = tuple((key, _option(term, key, table, where)) for key in term.options)
    return Factor(name, vary, scales, low, high, _of(table, term, where), each, draw, options)


def _range(table: Mapping[str, Any], term: Term, where: str) -> tuple[float, float, bool]:
    """Return the deviations from nominal at strength 1, and whether they are factors'."""
    given = [key for key in ("scale", "add") if key in table]
    allowed = [key for key, ok in (("scale", term.scales), ("add", term.adds)) if ok]
    if len(given) != 1:
        raise UsageError(f"{where}: give {' or '.join(allowed)}, a number or [low, high]")
    (key,) = given
    if key not in allowed:
        raise UsageError(f"{where}: {term.name} takes {allowed[0]}, not {key}")
    value, scales = table[key], key == "scale"
    if isinstance(value, dict) and value.keys() == {"low", "high"}:  # as `to_tables` writes it
        low, high = _number(value["low"]), _number(value["high"])
    elif isinstance(value, list) and len(value) == 2:
        nominal = 1.0 if scales else 0.0
        low, high = (_number(v) - nominal for v in value)
    else:
        high = _number(value)
        low = 0.0 if term.one_sided else -high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"{where} {key}={value!r}: give a number, or [low, high]")
    if not low <= 0.0 <= high:
        one = "1" if scales else "0"
        raise UsageError(
            f"{where} {key}={value!r} leaves out {one}, the robot as it is: "
            "let the range contain it"
        )
    if scales and low < -1.0:
        raise UsageError(f"{where} {key}={value!r}: a factor below 0 turns the quantity around")
    if term.one_sided and low < 0.0:
        raise UsageError(f"{where} {key}={value!r}: {term.name} is not negative")
    return low, high, scales


def _number(value: Any) -> float:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if ok else math.nan


def _of(table: Mapping[str, Any], term: Term, where: str) -> str | tuple[str, ...] | None:
    of = table.get("of")
    if of is None:
        if term.of == "axis":
            raise UsageError(f"{where}: say of what: of = 'x', 'y', 'z' or 'yaw'")
        return None
    if not term.of:
        raise UsageError(f"{where}: {term.name} acts on the world as a whole; leave `of` out")
    if isinstance(of, list | tuple) and of and all(isinstance(name, str) for name in of):
        return tuple(of)
    if not isinstance(of, str) or not of:
        raise UsageError(f"{where} of={of!r}: give a regular expression, or a list of names")
    try:
        re.compile(of)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{where} of={of!r} is no regular expression: {error}") from None
    return of


def _option(term: Term, key: str, table: Mapping[str, Any], where: str) -> Any:
    """Return the value of one of the term's own keys."""
    default = term.options[key]
    value = table.get(key, default)
    if key == "axis":
        axes = ("x", "y") if term.name == "slope" else ("x", "y", "z")
        if value not in axes:
            raise UsageError(f"{where} axis={value!r}: use {' or '.join(map(repr, axes))}")
        return value
    number = _number(value)
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"{where} {key}={value!r}: give a positive number")
    return number
