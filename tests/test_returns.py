"""The return of training episodes, estimated from what any rollout shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from p2p.core.config import TrainConfig
from p2p.core.returns import expected_length, training_return


def simulated(horizon: int, hazard: float, seed: int = 0) -> list[dict[str, Any]]:
    """Return the records of 400 iterations of an env that is reset in each.

    An episode is worth 2 a step, terminates at `hazard` a step, and is truncated at 1000.
    """
    rng, records = np.random.default_rng(seed), []
    for _ in range(400):
        episodes, start, terminations = [], 0, 0
        for t in range(horizon):
            terminated = rng.random() < hazard
            terminations += terminated
            if terminated or t + 1 - start == 1000:
                episodes.append([2.0 * (t + 1 - start), t + 1 - start])
                start = t + 1
        records.append(
            {
                "episodes": episodes,
                "reward_per_step": 2.0,
                "terminations_per_step": terminations / horizon,
            }
        )
    return records


@pytest.mark.parametrize("hazard", [0.0, 1e-4, 1e-3, 1e-2])
def test_the_estimate_does_not_depend_on_where_rollouts_are_cut(hazard):
    """At a horizon of 500 no episode of a robot that never falls is whole."""
    truth = 2.0 * sum((1 - hazard) ** t for t in range(1000))
    for horizon in (500, 1000, 3000):
        assert training_return(simulated(horizon, hazard)) == pytest.approx(truth, rel=0.08)
    ended = [total for record in simulated(500, 1e-3) for total, _ in record["episodes"]]
    assert np.mean(ended) < 0.5 * 2.0 * expected_length(1e-3)  # what the episodes alone would say


def test_a_robot_that_never_falls_reaches_the_limit():
    assert expected_length(0.0) == 1000
    assert expected_length(1.0) == 1
    assert expected_length(1e300) == 1  # of a damaged journal: an OverflowError
    assert training_return([]) is None


def test_records_of_versions_that_counted_no_rewards_have_their_episodes():
    old = [{"episodes": [[10.0, 5], [20.0, 9]]}, {"episodes": []}]
    assert training_return(old) == 15.0


@pytest.mark.parametrize(
    ("settings", "cut"),
    [
        ({"num_peers": 2}, False),
        ({"num_peers": 4}, True),
        ({"num_peers": 4, "envs_per_peer": 1}, False),
        ({"num_peers": 4, "domain_schedule": "carry"}, False),
        ({"num_peers": 4, "domain_schedule": "episode"}, False),
        ({"num_peers": 4, "domain_schedule": "env"}, True),
    ],
)
def test_episodes_are_cut_where_envs_are_reset_before_the_time_limit(settings, cut):
    assert TrainConfig(**settings).cuts_episodes == cut
