"""A domain: one simulated world, as the factors by which it differs from the nominal one.

A `Domain` is a value: it can be printed, saved, compared and applied. This module knows neither
MuJoCo nor what a factor does: see `p2p.envs.randomisation` and `p2p.envs.terms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from p2p.core.errors import UsageError

Values = tuple[float, ...]


class Domain(Mapping[str, Values]):
    """One point xi of the domain distribution Xi; factors left out are nominal.

    A mapping from a factor's name to its values: factors on nominal values (nominal: 1) or what
    is added to them (nominal: 0), one for all that the factor acts on or one each. Of Table 1:
    `wind` N, `gravity`, `friction`, `mass`, and `initial_position` rad.

    Args:
        factors: numbers, or sequences of them.
    """

    __slots__ = ("_values",)

    def __init__(self, /, **factors: Any) -> None:
        self._values: dict[str, Values] = {
            name: tuple(np.atleast_1d(np.asarray(value, np.float64)).tolist())
            for name, value in factors.items()
        }

    def __getitem__(self, name: str) -> Values:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Domain({', '.join(f'{n}={v[0] if len(v) == 1 else v}' for n, v in self.items())})"

    def __str__(self) -> str:
        """Return the form that `parse` reads back exactly: `wind=3.0,mass=0.8/1.1,...`."""
        return ",".join(f"{name}={'/'.join(map(repr, v))}" for name, v in self.items())

    @classmethod
    def parse(cls, text: str) -> Domain:
        """Read `wind=3,mass=0.8`; `/` parts several values; `nominal` is the domain without any.

        Raises:
            UsageError: a part is no factor with its values, or a value is no finite number.
        """
        values: dict[str, Values] = {}
        if text.strip() == "nominal":
            return cls()
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, value = (p.strip() for p in part.partition("="))
            if not name:
                raise UsageError(f"{part!r} names no factor; write name=1.5")
            try:
                numbers = tuple(float(v) for v in value.split("/"))
            except ValueError:
                numbers = (float("nan"),)
            if not (equals and np.all(np.isfinite(numbers))):
                raise UsageError(f"{part!r} is not a number; write {name}=1.5")
            values[name] = numbers
        return cls(**values)

    @classmethod
    def of(cls, value: Domain | str | Mapping[str, Any]) -> Domain:
        """Return a user's value as a Domain: text, or numbers and sequences by factor.

        Raises:
            UsageError: it is none.
        """
        if isinstance(value, Domain):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if not isinstance(value, Mapping):
            raise UsageError(f"domain {value!r} is neither a Domain, nor a str, nor a dict")
        try:
            made = cls(**{str(name): number for name, number in value.items()})
        except (TypeError, ValueError):
            raise UsageError(f"domain {dict(value)!r} holds a value that is not a number") from None
        return cls.parse(str(made))  # which refuses what is not finite


def check_strength(eps: float, name: str) -> None:
    """Raise UsageError unless the randomisation strength lies in [0, 1]."""
    if not 0.0 <= eps <= 1.0:
        raise UsageError(f"{name}={eps:g} is outside [0, 1], the range of a randomisation strength")
