"""Every method runs where it may, and learns something."""

from __future__ import annotations

import numpy as np
import pytest
from made import METHODS, TASKS

from p2p import Domain, load_policy, train
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import UsageError
from p2p.engine import initial_parameters
from p2p.policy.episodes import run_episodes, summarise
from p2p.policy.policy import Policy

ALONE = {"ppo", "self-kl", "entropy"}  # their objectives know no other policy


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("num_peers", [1, 2, 4])
def test_a_method_takes_the_peers_that_its_objective_speaks_of(method, num_peers):
    """On every task. DnC has nobody to distil from at K = 1; the others are PPO there."""
    allowed = num_peers == 1 if method in ALONE else num_peers > 1 or method != "dnc"
    for task in TASKS:
        settings = {"task": task, "method": method, "num_peers": num_peers}
        if allowed:
            assert build_config(**settings).steps_per_peer == 4096 // num_peers
        else:
            with pytest.raises(UsageError, match=f"does not suit method '{method}'.*choose num_p"):
                build_config(**settings)


@pytest.mark.parametrize(
    ("method", "settings"),
    [*((name, {}) for name in sorted(METHODS)), ("distral", {"distral_form": "reward"})],
)
def test_every_method_learns_to_stand_longer(tmp_path, method, settings):
    """After 25k steps on Hopper the saved policy's mean action beats the initial one's by half.

    For Distral and DnC that is the centre, so distillation has to work as well.
    """
    if method == "dnc":
        settings = {"distill_every": 5}
    config = TrainConfig(
        method=method, total_steps=12 * 2048, steps_per_iteration=2048, num_minibatches=16,
        learning_rate=1e-3, final_episodes=0, milestones=0, **settings,
    )  # fmt: skip
    policy = load_policy(train(config, tmp_path / "run").path)
    start, _ = initial_parameters(config, policy.obs_dim, len(policy.low))
    normaliser, bounds = policy.normaliser, (policy.low, policy.high)
    untrained = Policy(policy.task, start, policy.hidden, normaliser, *bounds)
    assert score(policy) > 1.5 * score(untrained)


def score(policy: Policy) -> float:
    return summarise(run_episodes(policy, [Domain()] * 10, np.random.default_rng(0))).mean
