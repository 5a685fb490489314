"""Sets of test domains: drawn at a strength, or laid out along one factor or two."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from p2p.core.rng import Purpose, keyed_generator
from p2p.envs.binding import Binding
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Factor, Randomisation
from p2p.envs.units import label, short_unit

HASH_DIGITS = 8


@dataclass(frozen=True)
class Axis:
    """A factor and the values that it takes.

    Attributes:
        nominal: the value that changes nothing.
        unit: `x` for factors on nominal values.
        label: the factor with its unit.
    """

    factor: str
    values: tuple[float, ...]
    nominal: float
    unit: str
    label: str


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


def draw_set(binding: Binding, eps: float, num_domains: int, seed: int) -> DomainSet:
    """Draw test domains at strength `eps`.

    The n-th is a function of `seed` and n alone, up to the strength that scales it: more domains
    contain fewer, and a curve over strengths follows the same directions.

    Args:
        binding: what varies, on the robot that is tested.
        seed: of test domains, apart from every seed of training.
    """
    domains = (
        binding.sample(keyed_generator(seed, Purpose.TEST_DOMAINS, n), eps)
        for n in range(num_domains)
    )
    return DomainSet(f"eps_te {eps:g}", eps, tuple(domains), tuple(range(num_domains)))


def sweep_set(
    randomisation: Randomisation, factors: Sequence[str], eps: float, points: int
) -> DomainSet:
    """Lay out `factors` over their range at strength `eps`, the others nominal.

    A factor has one value for all that it acts on. All domains share one start noise, so that what
    differs along an axis is the factor.

    Args:
        points: values an axis; an odd number has the nominal one among them.

    Raises:
        UsageError: there is no such factor.
    """
    axes = tuple(_axis(randomisation[name], eps, points) for name in factors)
    grid = itertools.product(*(axis.values for axis in axes))
    domains = tuple(
        randomisation.complete(Domain(**dict(zip(factors, values, strict=True)))) for values in grid
    )
    return DomainSet(" x ".join(factors), eps, domains, (0,) * len(domains), axes)


def single_set(domain: Domain) -> DomainSet:
    """Return the set of one given domain."""
    return DomainSet("domain", None, (domain,), (0,))


def _axis(factor: Factor, eps: float, points: int) -> Axis:
    return Axis(
        factor.name, factor.spread(eps, points), factor.nominal, short_unit(factor), label(factor)
    )
