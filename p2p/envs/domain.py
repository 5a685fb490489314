"""Domains: what is randomised, and how strongly (appendix A.1, Table 1).

A `Domain` is a value: it can be printed, saved, compared and applied. This module
knows nothing of MuJoCo; `p2p.envs.robot.Robot` applies a domain to a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError

TABLE_1 = {                   # half-width at strength 1, appendix A.1
    "wind": 5.0,              # added along world x; the paper gives no unit, we take newtons
    "gravity": 0.25,          # factor on the model's own value
    "friction": 0.30,         # factor on the sliding coefficient of every geom
    "mass": 0.50,             # factor on mass and inertia of every link
    "initial_position": 1.0,  # added: rad per actuated joint (or m along root x)
}  # fmt: skip

FACTORS = tuple(TABLE_1)


@dataclass(frozen=True, slots=True)
class Domain:
    """One point xi of the domain distribution Xi; the default is the nominal world.

    Attributes:
        wind: force on the root along world x, N.
        gravity: factor on gravity.
        friction: factor on sliding friction.
        mass: factor on mass and inertia: one for the whole robot, or one a link.
        initial_position: offset of the start pose: one for all actuated joints, or one
            each, rad; with `initial_position="root_x"` one offset of the root, m.
    """

    wind: float = 0.0
    gravity: float = 1.0
    friction: float = 1.0
    mass: tuple[float, ...] = (1.0,)
    initial_position: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        """Take numpy's numbers, and a single one where several may stand: `Domain(mass=0.8)`."""
        for name in ("wind", "gravity", "friction"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("mass", "initial_position"):
            numbers = np.atleast_1d(np.asarray(getattr(self, name), np.float64))
            object.__setattr__(self, name, tuple(numbers.tolist()))

    def __str__(self) -> str:
        """Return the form that `parse` reads back exactly: `wind=3.0,mass=0.8/1.1,...`."""
        return ",".join(f"{name}={_join(getattr(self, name))}" for name in FACTORS)

    @classmethod
    def parse(cls, text: str) -> Domain:
        """Read `wind=3,mass=0.8`; factors left out are nominal, `/` parts several values.

        Raises:
            UsageError: an unknown factor, or a value that is no finite number.
        """
        values: dict[str, float | tuple[float, ...]] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, _, value = (p.strip() for p in part.partition("="))
            if name not in FACTORS:
                raise UsageError(f"unknown factor {name!r} in {text!r}; use {', '.join(FACTORS)}")
            try:
                numbers = tuple(float(v) for v in value.split("/"))
            except ValueError:
                numbers = (float("nan"),)
            if not np.all(np.isfinite(numbers)):
                raise UsageError(f"{part!r} is not a number; write {name}=1.5")
            several = name in ("mass", "initial_position")
            if not several and len(numbers) > 1:
                raise UsageError(f"{name} takes one number, got {value!r}")
            values[name] = numbers if several else numbers[0]
        return cls(**values)  # type: ignore[arg-type]

    def to_vector(self) -> NDArray[np.float64]:
        """Return `[wind, gravity, friction, len(mass), *mass, *initial_position]`, float64."""
        head = (self.wind, self.gravity, self.friction, len(self.mass))
        return np.array([*head, *self.mass, *self.initial_position], np.float64)

    @classmethod
    def from_vector(cls, vector: Sequence[float] | NDArray[np.float64]) -> Domain:
        """Return the domain that `to_vector` wrote."""
        wind, gravity, friction, masses, *rest = (float(v) for v in vector)
        split = int(masses)
        return cls(wind, gravity, friction, tuple(rest[:split]), tuple(rest[split:]))

    def summary(self) -> dict[str, float]:
        """Return one number a factor, for display: the mean of mass, the RMS of the offsets.

        A single offset keeps its sign.
        """
        offset = np.asarray(self.initial_position)
        position = offset[0] if offset.size == 1 else np.sqrt(np.mean(offset**2))
        head = {f.name: float(getattr(self, f.name)) for f in fields(self)[:3]}
        return {**head, "mass": float(np.mean(self.mass)), "initial_position": float(position)}


def sample_domain(
    rng: np.random.Generator, eps: float, num_links: int = 1, num_joints: int = 1
) -> Domain:
    """Draw xi ~ Xi at randomisation strength `eps` (line 6 of Algorithm 1, Table 1).

    Each factor is uniform and independent: nominal + eps * half-width * U(-1, 1), so
    strength 0 gives exactly the nominal domain.

    Args:
        rng: the stream to draw from; the order of draws is that of `Domain`'s fields.
        eps: randomisation strength, 0..1.
        num_links: number of mass factors (1: the whole robot alike).
        num_joints: number of initial-position offsets.

    Raises:
        UsageError: `eps` lies outside [0, 1].
    """
    check_strength(eps, "eps")

    def draw(factor: str, size: int) -> tuple[float, ...]:
        return tuple((eps * TABLE_1[factor] * rng.uniform(-1.0, 1.0, size)).tolist())

    (wind,), (gravity,), (friction,) = draw("wind", 1), draw("gravity", 1), draw("friction", 1)
    mass = tuple(1.0 + m for m in draw("mass", num_links))
    return Domain(wind, 1.0 + gravity, 1.0 + friction, mass, draw("initial_position", num_joints))


def check_strength(eps: float, name: str) -> None:
    """Raise UsageError unless the randomisation strength lies in [0, 1]."""
    if not 0.0 <= eps <= 1.0:
        raise UsageError(f"{name}={eps:g} is outside [0, 1], the range of Table 1's strength")


def _join(value: float | tuple[float, ...]) -> str:
    return "/".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
