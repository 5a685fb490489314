"""The observation normaliser, and the moments of observations that it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.policy.parameters import Floats

VARIANCE_FLOOR = 1e-8  # added to a variance before its root
CONSTANT = 1e-6  # of 1 + |mean|: an input whose std is at most this has varied by rounding alone


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of a stream of vectors [n], float64."""

    count: float
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    @classmethod
    def zeros(cls, size: int) -> Moments:
        """Return the moments of an empty stream."""
        return cls(0.0, np.zeros(size), np.zeros(size))

    @classmethod
    def of(cls, samples: NDArray[np.float64]) -> Moments:
        """Return the moments of `samples` [S, n]."""
        mean = samples.mean(axis=0)
        return cls(float(len(samples)), mean, np.square(samples - mean).sum(axis=0))

    def copy(self) -> Moments:
        """Return moments with arrays of their own."""
        return Moments(self.count, self.mean.copy(), self.m2.copy())

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both streams together (Chan et al. 1979)."""
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + np.square(delta) * (self.count * other.count / count)
        return Moments(count, mean, m2)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Population variance [n]; 1 before the first sample."""
        return self.m2 / self.count if self.count else np.ones_like(self.mean)

    def to_vector(self) -> NDArray[np.float64]:
        """Return `[count, *mean, *m2]`, [1 + 2n]."""
        return np.concatenate(([self.count], self.mean, self.m2))

    @classmethod
    def from_vector(cls, vector: NDArray[np.float64]) -> Moments:
        """Return the moments that `to_vector` wrote."""
        half = len(vector) // 2
        return cls(float(vector[0]), vector[1 : 1 + half].copy(), vector[1 + half :].copy())


class Normaliser(NamedTuple):
    """Maps an observation to `clip((obs - mean) * inv_std, -limit, limit)`, float32.

    An input that was constant in training is frozen: its `inv_std` is 0, so that the policy
    always sees its mean. Dividing by its std, even with a floor, would amplify the first
    millimetre by which the input moves, and the policy has learned nothing about that input.
    """

    mean: NDArray[np.float64]
    inv_std: NDArray[np.float64]
    limit: float

    @classmethod
    def of(cls, moments: Moments, limit: float, enabled: bool = True) -> Normaliser:
        """Return the normaliser of `moments`; if disabled, one that only clips."""
        if not enabled:
            return cls(np.zeros_like(moments.mean), np.ones_like(moments.mean), limit)
        inv_std = _unless_constant(
            moments.mean, moments.variance, 1.0 / np.sqrt(moments.variance + VARIANCE_FLOOR)
        )
        return cls(moments.mean, inv_std, limit)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the observations that it was made of, [n]; 0 where an input is frozen."""
        active = self.inv_std > 0
        found = np.square(1.0 / np.where(active, self.inv_std, np.inf)) - VARIANCE_FLOOR
        return np.maximum(found, 0.0)

    def freezing_constants(self) -> Normaliser:
        """Return this normaliser with constant inputs frozen, which earlier versions did not do."""
        active = self.inv_std > 0
        variance = np.square(1.0 / np.where(active, self.inv_std, np.inf)) - VARIANCE_FLOOR
        return self._replace(inv_std=_unless_constant(self.mean, variance, self.inv_std))

    def __call__(self, obs: NDArray[np.float64]) -> Floats:
        """Normalise `obs` [..., n] in float64 and return float32."""
        scaled = np.subtract(obs, self.mean)
        scaled *= self.inv_std
        return np.clip(scaled, -self.limit, self.limit, out=scaled).astype(np.float32)


def _unless_constant(
    mean: NDArray[np.float64], variance: NDArray[np.float64], inv_std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `inv_std`, with 0 for each input whose variance is that of a constant."""
    return np.where(variance > np.square(CONSTANT * (1.0 + np.abs(mean))), inv_std, 0.0)
