"""From a rollout to the batch that an iteration learns from (line 14 of Algorithm 1).

In two steps: what needs no other peer's numbers is computed while these are on their way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from p2p.core.config import TrainConfig
from p2p.engine import Batch, Engine
from p2p.methods.base import Method
from p2p.peer.rollout import Array, Rollout, gae, reward_scale
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.parameters import Floats


class Judged(NamedTuple):
    """A rollout as the policy and the critic that collected it see it, before its rewards."""

    obs: Floats  # [S, n], normalised
    action: Floats  # [S, A]
    log_prob: Floats  # [S], nats
    value: Floats  # [S]
    next_value: Array  # [T, N], of the state that follows; 0 after termination


def judge(rollout: Rollout, engine: Engine, normaliser: Normaliser) -> Judged:
    """Return densities and values of a rollout."""
    T, N = rollout.reward.shape
    obs = normaliser(rollout.obs).reshape(T * N, -1)
    action = rollout.action.reshape(T * N, -1)
    log_prob, value = engine.evaluate(obs, action)
    ends = [final for _, _, final in rollout.final_obs]
    following = engine.value(normaliser(np.stack([*rollout.last_obs, *ends])))
    now = value.reshape(T, N).astype(np.float64)
    after = rollout.next_values(now, following[:N], following[N:])
    return Judged(obs, action, log_prob, value, after)


def batch_of(
    rollout: Rollout, judged: Judged, returns: Moments, method: Method, config: TrainConfig
) -> Batch:
    """Return the batch: normalised observations, densities, advantages, targets.

    Args:
        returns: moments of the discounted return, whose std scales rewards.
        method: may learn from other rewards.
    """
    obs, action, log_prob, value, after = judged
    reward = rollout.reward
    now = value.reshape(reward.shape).astype(np.float64)
    if config.scale_reward:
        reward = reward / reward_scale(returns)
    reward = method.shape_reward(reward, obs, action, log_prob)
    ended = rollout.terminated | rollout.truncated
    advantage = gae(reward, now, after, ended, config.discount, config.gae_lambda)
    flat = (x.reshape(-1).astype(np.float32) for x in (advantage, advantage + now))
    return Batch(obs, action, log_prob, value, *flat)
