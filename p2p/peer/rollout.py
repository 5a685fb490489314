"""Rollout[T, N]: what one peer saw in one iteration, and what is learned from it.

Lines 7 and 14 of Algorithm 1: collect, then advantages and value targets (GAE,
Schulman et al. 2016). Axes are T time, N envs; [S] is [T, N] laid flat, S = T * N.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2p.envs.base import VectorEnvs
from p2p.envs.groups import EnvGroups
from p2p.policy.normaliser import Moments
from p2p.policy.parameters import Floats

Array = NDArray[np.float64]


class Actor(Protocol):
    """Whatever picks actions while a rollout is collected."""

    def act(self, obs: Array, noise: Floats, action: Floats) -> None:
        """Write the actions [N, A] for raw `obs` [N, n] and standard-normal `noise` [N, A]."""


@dataclass
class Clock:
    """Seconds spent in each phase of an iteration."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("physics", "policy", "update", "waiting"), 0.0)
    )


class Rollout:
    """Preallocated buffers for T steps of N envs; filled anew each iteration."""

    def __init__(self, horizon: int, envs: VectorEnvs | EnvGroups) -> None:
        T, N, n = horizon, envs.num_envs, envs.obs_dim
        self.obs: Array = np.zeros((T, N, n))  # raw
        self.action = np.zeros((T, N, envs.action_dim), np.float32)
        self.reward: Array = np.zeros((T, N))  # as the task gives it
        self.terminated = np.zeros((T, N), bool)
        self.truncated = np.zeros((T, N), bool)
        self.last_obs: Array = np.zeros((N, n))  # what follows step T-1
        self.final_obs: list[tuple[int, int, Array]] = []  # (t, env, obs) of truncations

    def part(self, envs: slice) -> Rollout:
        """Return these envs' columns of this rollout; what is written there is written here."""
        found = object.__new__(Rollout)
        for name in ("obs", "action", "reward", "terminated", "truncated"):
            setattr(found, name, getattr(self, name)[:, envs])
        found.last_obs, found.final_obs = self.last_obs[envs], []
        return found

    def keep_final_obs(self, t: int, envs: VectorEnvs) -> None:
        """Keep what truncated episodes ended with, if any did in step `t` of this rollout."""
        if envs.truncated.any():
            for n in np.flatnonzero(envs.truncated):
                self.final_obs.append((t, int(n), envs.final_obs[n].copy()))

    def discounted_returns(self, carried: Array, discount: float) -> Array:
        """Return the running discounted sum of rewards [T, N], whose std scales the rewards.

        Args:
            carried: [N], the sum at the end of the previous iteration; updated in place.
        """
        from p2p.peer.advantages import discounted_sums  # compiled, and slow to import

        out = np.empty_like(self.reward)
        ended = self.terminated | self.truncated
        discounted_sums(self.reward, ended, discount, carried, out)
        return out

    def next_values(self, value: Array, last_value: Floats, final_value: Floats) -> Array:
        """Return V of the state that follows each step, [T, N].

        Termination is followed by nothing (0); truncation by the state that was cut off;
        the last step by `last_obs`, also where a new domain will reset the env.

        Args:
            value: V of `obs`, [T, N].
            last_value: V of `last_obs`, [N].
            final_value: V of the truncated episodes' `final_obs`, in their order.
        """
        out: Array = np.concatenate((value[1:], last_value[None]))
        for (t, n, _), v in zip(self.final_obs, final_value, strict=True):
            out[t, n] = v
        out[self.terminated] = 0.0
        return out


def gae(
    reward: Array, value: Array, next_value: Array, ended: NDArray[np.bool_],
    discount: float, gae_lambda: float,
) -> Array:  # fmt: skip
    """Return generalised advantage estimates [T, N] (Schulman et al. 2016, eq. 16).

    A_t = delta_t + gamma lambda A_{t+1} within an episode, and
    delta_t = r_t + gamma V(s_{t+1}) - V(s_t).

    Args:
        reward, value: [T, N].
        next_value: V of the following state, [T, N]; 0 after termination.
        ended: [T, N], whether the episode ended with this step, either way.
    """
    from p2p.peer.advantages import advantages

    out = np.empty_like(reward)
    advantages(reward, value, next_value, ended, discount, gae_lambda, out)
    return out


def reward_scale(moments: Moments) -> float:
    """Return what rewards are divided by: the std of the discounted return, 1 at first."""
    return float(np.sqrt(moments.variance[0] + 1e-8)) if moments.count else 1.0
