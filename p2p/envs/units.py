"""Units of factors, for labels and files."""

from __future__ import annotations

from p2p.envs.randomisation import Factor
from p2p.envs.terms import find_term

SCALE = "x"  # a factor on the nominal value


def unit(factor: Factor) -> str:
    """Return the unit of a factor's values: "1" if it scales, or if what it adds has none."""
    if factor.scales:
        return "1"
    if factor.vary == "start_pose" and factor.of == "yaw":
        return "rad"
    return find_term(factor.vary).unit


def short_unit(factor: Factor) -> str:
    """Return what stands beside a factor's name in a table: `x`, a unit, or nothing."""
    if factor.scales:
        return SCALE
    return "" if unit(factor) == "1" else unit(factor)


def label(factor: Factor) -> str:
    """Return a factor with its unit, for an axis: `mass (x nominal)`, `wind (N)`."""
    words = "x nominal" if factor.scales else short_unit(factor)
    name = factor.name.replace("_", " ")
    return f"{name} ({words})" if words else name
