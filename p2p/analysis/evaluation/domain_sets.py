"""Sets of test domains: drawn at a strength, or laid out along one factor or two."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p2p.core.rng import Purpose, keyed_generator
from p2p.envs.domain import FACTORS, TABLE_1, Domain, sample_domain

HASH_DIGITS = 8


@dataclass(frozen=True)
class Axis:
    """A factor and the values that it takes, in `Domain`'s units."""

    factor: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class DomainSet:
    """Domains that a policy is tested in, D of them.

    Attributes:
        name: what they are, such as `eps_te 0.5` or `wind x mass`.
        eps: randomisation strength; None for a domain that was given.
        domains: along two axes in C order, the second one fastest.
        starts: [D], which start noise each is met with: equal numbers share it.
        axes: the factors that vary, if they were laid out.
    """

    name: str
    eps: float | None
    domains: tuple[Domain, ...]
    starts: tuple[int, ...]
    axes: tuple[Axis, ...] = ()

    @property
    def hash(self) -> str:
        """Short SHA-256 of the domains' exact text: equal hashes mean equal domains."""
        text = "\n".join(map(str, self.domains))
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def draw_set(eps: float, num_domains: int, seed: int, num_links: int, num_joints: int) -> DomainSet:
    """Draw test domains at strength `eps`.

    The n-th is a function of `seed` and n alone, up to the strength that scales it: more domains
    contain fewer, and a curve over strengths follows the same directions.

    Args:
        seed: of test domains, apart from every seed of training.
        num_links, num_joints: numbers of mass factors and of initial offsets.
    """
    domains = (
        sample_domain(keyed_generator(seed, Purpose.TEST_DOMAINS, n), eps, num_links, num_joints)
        for n in range(num_domains)
    )
    return DomainSet(f"eps_te {eps:g}", eps, tuple(domains), tuple(range(num_domains)))


def sweep_set(factors: Sequence[str], eps: float, points: int) -> DomainSet:
    """Lay out `factors` over their range at strength `eps` (Table 1), the others nominal.

    Mass and initial position are one value for the whole robot. All domains share one start
    noise, so that what differs along an axis is the factor.

    Args:
        points: values an axis; an odd number has the nominal one among them.
    """
    axes = tuple(Axis(factor, _values(factor, eps, points)) for factor in factors)
    grid = itertools.product(*(axis.values for axis in axes))
    domains = tuple(_domain(dict(zip(factors, values, strict=True))) for values in grid)
    return DomainSet(" x ".join(factors), eps, domains, (0,) * len(domains), axes)


def single_set(domain: Domain) -> DomainSet:
    """Return the set of one given domain."""
    return DomainSet("domain", None, (domain,), (0,))


def _values(factor: str, eps: float, points: int) -> tuple[float, ...]:
    (nominal,) = np.atleast_1d(getattr(Domain(), factor))
    offsets = eps * TABLE_1[factor] * np.linspace(-1.0, 1.0, points)
    return tuple(round(float(v), 10) for v in nominal + offsets)


def _domain(values: dict[str, float]) -> Domain:
    assert values.keys() <= set(FACTORS)
    several = ("mass", "initial_position")
    return Domain(**{k: (v,) if k in several else v for k, v in values.items()})  # type: ignore[arg-type]
