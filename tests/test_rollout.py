"""Rollouts: advantages against their definition, and what ends an episode how."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.engine.batch import epoch_order
from p2p.peer.rollout import gae

DISCOUNT, LAMBDA = 0.99, 0.95


def gae_by_definition(reward, value, next_value, ended):
    """Eq. 16 of Schulman et al. 2016 as printed: a sum over the rest of the episode, O(T^2)."""
    T, N = reward.shape
    out = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            for k in range(t, T):
                delta = reward[k, n] + DISCOUNT * next_value[k, n] - value[k, n]
                out[t, n] += (DISCOUNT * LAMBDA) ** (k - t) * delta
                if ended[k, n]:
                    break
    return out


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_gae_is_its_definition(T, N, seed):
    rng = np.random.default_rng(seed)
    reward, value, following = rng.standard_normal((3, T, N))
    ended = rng.random((T, N)) < 0.2
    ours = gae(reward, value, following, ended, DISCOUNT, LAMBDA)
    np.testing.assert_allclose(ours, gae_by_definition(reward, value, following, ended), atol=1e-9)


def constant_reward_advantage(next_value_at_end: float) -> float:
    """Reward 1 for ever has value 1/(1-gamma); return A_0 of 5 steps with that critic."""
    value = np.full((5, 1), 1 / (1 - DISCOUNT))
    following = value.copy()
    following[-1] = next_value_at_end
    ended = np.zeros((5, 1), bool)
    ended[-1] = True
    return gae(np.ones((5, 1)), value, following, ended, DISCOUNT, LAMBDA)[0, 0]


def test_truncation_must_bootstrap_and_termination_must_not():
    """A perfect critic has advantage 0 at a time limit; treated as a fall it misses by far."""
    assert constant_reward_advantage(1 / (1 - DISCOUNT)) == pytest.approx(0.0, abs=1e-9)
    assert constant_reward_advantage(0.0) < -50


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    rng = np.random.default_rng(0)
    epochs = [epoch_order(24, 4, rng) for _ in range(2)]
    for epoch in epochs:
        assert epoch.shape == (4, 6)
        assert sorted(epoch.flat) == list(range(24))
    assert (epochs[0] != epochs[1]).any()
