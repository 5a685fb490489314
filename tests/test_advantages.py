"""The compiled recursions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from p2p.peer.advantages import advantages, discounted_sums


@pytest.fixture
def series():
    """Two series of 40 steps whose episodes end at different times."""
    rng = np.random.default_rng(0)
    reward, value, following = rng.standard_normal((3, 40, 2))
    return reward, value, following, rng.random((40, 2)) < 0.1


def test_advantages_are_sums_of_discounted_deltas(series):
    """Up to the end of the episode, each (gamma lambda)^k delta_{t+k} (eq. 16 of GAE)."""
    reward, value, following, ended = series
    out = np.empty_like(reward)
    advantages(reward, value, following, ended, 0.9, 0.8, out)
    delta = reward + 0.9 * following - value
    for n in range(2):
        for t in range(40):
            ends = np.flatnonzero(ended[t:, n])
            stop = t + ends[0] + 1 if len(ends) else 40
            powers = 0.72 ** np.arange(stop - t)
            assert out[t, n] == pytest.approx(powers @ delta[t:stop, n])


def test_discounted_sums_are_numpys_to_the_bit(series):
    """A run in two halves, carried over, equals the plain loop."""
    reward, _, _, ended = series
    carried, out = np.array([3.0, -1.0]), np.empty_like(reward)
    plain = carried.copy()
    for half in (slice(0, 25), slice(25, 40)):
        discounted_sums(reward[half], ended[half], 0.99, carried, out[half])
    for t in range(40):
        plain = plain * 0.99 + reward[t]
        assert (out[t] == plain).all()
        plain[ended[t]] = 0.0
    assert (carried == plain).all()
