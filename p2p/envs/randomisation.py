"""The domain distribution Xi: which factors vary, and how far at which strength.

A `Randomisation` is plain data, read from TOML (`p2p.envs.domain_file`), kept in the settings of a
run and sent to processes. `p2p.envs.binding` applies it to a model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.core.names import did_you_mean
from p2p.envs.domain import Domain, Values, check_strength

DRAWS = ("uniform", "log-uniform", "normal")
NORMAL_WIDTH = 0.5  # standard deviation of "normal", as a share of the half-width it is cut at
RESERVED = ",=/ \t\n"  # parts of a domain's text


@dataclass(frozen=True)
class Factor:
    """What varies, and its range at strength 1: one table of a domains file.

    Attributes:
        name: in domains, journals and figures.
        vary: a term of the catalogue, or a field of MuJoCo's model such as `geom_solref[0]`.
        scales: whether values are factors on nominal values (nominal: 1) or are added (0).
        low, high: the lowest and highest value at strength 1, as deviations from the nominal one:
            low <= 0 <= high.
        of: what it acts on, as a regular expression that matches whole names, or as a list of
            names; None: all.
        each: a value of its own for each of these, or one for all.
        draw: "uniform", "log-uniform", or "normal" (cut at low and high, which lie two standard
            deviations apart from the middle).
        options: of the term.
    """

    name: str
    vary: str
    scales: bool
    low: float
    high: float
    of: str | tuple[str, ...] | None = None
    each: bool = False
    draw: str = "uniform"
    options: tuple[tuple[str, float], ...] = ()

    @property
    def nominal(self) -> float:
        """The value that changes nothing."""
        return 1.0 if self.scales else 0.0

    def span(self, eps: float) -> tuple[float, float]:
        """Return the lowest and the highest value at strength `eps`."""
        if self.draw == "log-uniform":
            low, high = (math.exp(eps * math.log1p(v)) for v in (self.low, self.high))
            return low, high
        return self.nominal + eps * self.low, self.nominal + eps * self.high

    def spread(self, eps: float, points: int) -> Values:
        """Return `points` values evenly over the range at `eps`, the nominal one among them.

        With an even number and a symmetric range it is not.
        """
        if self.low == -self.high and self.draw != "log-uniform":
            offsets = eps * self.high * np.linspace(-1.0, 1.0, points)
            return tuple(round(float(v), 10) for v in self.nominal + offsets)
        values = np.linspace(*self.span(eps), points)
        values[np.argmin(np.abs(values - self.nominal))] = self.nominal
        return tuple(round(float(v), 10) for v in values)

    def sample(self, rng: np.random.Generator, eps: float, size: int) -> Values:
        """Draw `size` values at strength `eps`; at 0 exactly the nominal value."""
        unit = _draw_unit(rng, self.draw, size)
        if self.draw == "log-uniform":
            low, high = math.log1p(self.low), math.log1p(self.high)
            return tuple(np.exp(_interpolate(unit, low, high, eps)).tolist())
        offset = _interpolate(unit, self.low, self.high, eps)
        return tuple((self.nominal + offset if self.scales else offset).tolist())


def _draw_unit(rng: np.random.Generator, draw: str, size: int) -> NDArray[np.float64]:
    """Draw numbers of [-1, 1]."""
    if draw != "normal":
        return rng.uniform(-1.0, 1.0, size)
    unit = np.full(size, np.inf)
    while (far := np.abs(unit) > 1.0).any():
        unit[far] = NORMAL_WIDTH * rng.standard_normal(int(far.sum()))
    return unit


def _interpolate(
    unit: NDArray[np.float64], low: float, high: float, eps: float
) -> NDArray[np.float64]:
    """Return eps times the point of [low, high] that `unit` of [-1, 1] stands for."""
    if low == -high:  # the order of products is part of what equal seeds promise
        return eps * high * unit
    return eps * (0.5 * (low + high) + 0.5 * (high - low) * unit)


@dataclass(frozen=True)
class Randomisation:
    """The factors that vary, in the order in which they are drawn.

    Attributes:
        factors: one a table of the domains file.
    """

    factors: tuple[Factor, ...] = ()

    def __iter__(self) -> Iterator[Factor]:
        return iter(self.factors)

    @property
    def names(self) -> tuple[str, ...]:
        """The factors' names."""
        return tuple(factor.name for factor in self.factors)

    def __getitem__(self, name: str) -> Factor:
        """Return a factor by its name.

        Raises:
            UsageError: there is none of that name.
        """
        for factor in self.factors:
            if factor.name == name:
                return factor
        known = f"known: {', '.join(self.names)}" if self.factors else "nothing is randomised"
        raise UsageError(f"unknown factor {name!r}{did_you_mean(name, self.names)}; {known}")

    def sample(
        self, rng: np.random.Generator, eps: float, sizes: Mapping[str, int] | None = None
    ) -> Domain:
        """Draw xi ~ Xi at strength `eps` (line 6 of Algorithm 1), each factor independently.

        Args:
            rng: the stream to draw from, factor by factor.
            eps: randomisation strength, 0..1; 0 gives exactly the nominal domain.
            sizes: how many values a factor takes, if not one.

        Raises:
            UsageError: `eps` lies outside [0, 1].
        """
        check_strength(eps, "eps")
        sizes = sizes or {}
        return Domain(**{f.name: f.sample(rng, eps, sizes.get(f.name, 1)) for f in self.factors})

    def complete(self, domain: Domain) -> Domain:
        """Return `domain` with all factors, in their order: those left out are nominal.

        Raises:
            UsageError: it has another factor.
        """
        if tuple(domain) == self.names:
            return domain
        for name in domain:
            self[name]
        return Domain(**{f.name: domain.get(f.name, f.nominal) for f in self.factors})

    def summary(self, domain: Domain) -> dict[str, float]:
        """Return one number a factor, for display.

        Of several values the mean, or if they are offsets the root of their mean square.
        """
        return summarise(domain, {f.name: f.nominal for f in self.factors})


def summarise(
    domain: Mapping[str, Sequence[float]], nominal: Mapping[str, float]
) -> dict[str, float]:
    """Return one number a factor, as `Randomisation.summary` does.

    Args:
        nominal: of each factor, 1 or 0.
    """
    found = {}
    for name, values in domain.items():
        several = np.asarray(values)
        if several.size == 1:
            found[name] = float(several[0])
        elif nominal.get(name) == 1.0:
            found[name] = float(np.mean(several))
        else:
            found[name] = float(np.sqrt(np.mean(several**2)))
    return found


def sample_domain(
    rng: np.random.Generator, eps: float, num_links: int = 1, num_joints: int = 1
) -> Domain:
    """Draw xi ~ Xi of Table 1 at strength `eps` (line 6 of Algorithm 1).

    Args:
        num_links: number of mass factors (1: the whole robot alike).
        num_joints: number of initial-position offsets.

    Raises:
        UsageError: `eps` lies outside [0, 1].
    """
    return table_1().sample(rng, eps, {"mass": num_links, "initial_position": num_joints})


def is_table_1(randomisation: Randomisation) -> bool:
    """Say whether it is the paper's, in any of its readings."""
    readings = itertools.product(("joints", "root_x"), ("global", "per_link"))
    return any(randomisation == table_1(*reading) for reading in readings)


@cache
def table_1(initial_position: str = "joints", mass_randomisation: str = "global") -> Randomisation:
    """Return the paper's distribution (appendix A.1, Table 1).

    Args:
        initial_position: what the initial position shifts: "joints" or "root_x".
        mass_randomisation: "global", or "per_link" for one mass factor a link.

    Raises:
        UsageError: another value.
    """
    from p2p.envs.domain_file import load_shipped

    if initial_position not in ("joints", "root_x"):
        raise UsageError(f"initial_position={initial_position!r}: use 'joints' or 'root_x'")
    if mass_randomisation not in ("global", "per_link"):
        raise UsageError(f"mass_randomisation={mass_randomisation!r}: use 'global' or 'per_link'")
    changed: dict[str, dict[str, Any]] = {"mass": {"each": mass_randomisation == "per_link"}}
    if initial_position == "root_x":
        changed["initial_position"] = {"vary": "start_pose", "of": "x", "each": False}
    shipped = load_shipped("table1")
    return Randomisation(tuple(replace(f, **changed.get(f.name, {})) for f in shipped))
