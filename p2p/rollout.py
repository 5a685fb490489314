"""Rollout[T, N]: what one peer saw in one iteration, and what is learned from it.

Lines 7 and 14 of Algorithm 1: collect, then advantages and value targets (GAE,
Schulman et al. 2016). Axes are T time, N envs; [S] is [T, N] laid flat, S = T * N.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from p2p.envs import RandomisedEnvs
from p2p.policy import Floats, Moments

Array = NDArray[np.float64]


class Batch(NamedTuple):
    """The samples of an iteration, float32, [S, ...]."""

    obs: Floats  # [S, n], normalised
    action: Floats  # [S, A], as sampled: not clipped to the bounds
    old_log_prob: Floats  # [S], nats
    old_value: Floats  # [S]
    advantage: Floats  # [S], not normalised
    value_target: Floats  # [S]


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Some rows of a batch."""

    batch: Batch
    index: NDArray[np.int64]  # [B]


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

    def __init__(self, horizon: int, envs: RandomisedEnvs) -> None:
        T, N, n = horizon, envs.num_envs, envs.obs_dim
        self.obs: Array = np.zeros((T, N, n))  # raw
        self.action = np.zeros((T, N, envs.action_dim), np.float32)
        self.reward: Array = np.zeros((T, N))  # as the task gives it
        self.terminated = np.zeros((T, N), bool)
        self.truncated = np.zeros((T, N), bool)
        self.last_obs: Array = np.zeros((N, n))  # what follows step T-1
        self.final_obs: list[tuple[int, int, Array]] = []  # (t, env, obs) of truncations
        self._clipped = np.zeros((N, envs.action_dim), np.float32)

    def collect(self, envs: RandomisedEnvs, actor: Actor, noise: Floats, clock: Clock) -> None:
        """Fill the buffers by acting in `envs` (line 7).

        Actions are clipped to the task's bounds for the env only: the density that PPO's
        ratio needs is that of the action as sampled.

        Args:
            noise: [T, N, A], standard normal.
            clock: its `policy` and `physics` are added to.
        """
        now, acting, stepping = time.perf_counter, 0.0, 0.0
        self.final_obs.clear()
        start = now()
        for t in range(len(self.obs)):
            obs, action = self.obs[t], self.action[t]
            obs[:] = envs.obs
            actor.act(obs, noise[t], action)
            np.clip(action, envs.action_low, envs.action_high, out=self._clipped)
            acted = now()
            envs.step(self._clipped)
            self.reward[t] = envs.reward
            self.terminated[t] = envs.terminated
            self.truncated[t] = envs.truncated
            self.keep_final_obs(t, envs)
            acting += acted - start
            start = now()
            stepping += start - acted
        self.last_obs[:] = envs.obs
        clock.seconds["policy"] += acting
        clock.seconds["physics"] += stepping

    def keep_final_obs(self, t: int, envs: RandomisedEnvs) -> None:
        """Keep what truncated episodes ended with, if any did in step `t` of this rollout."""
        if envs.truncated.any():
            for n in np.flatnonzero(envs.truncated):
                self.final_obs.append((t, int(n), envs.final_obs[n].copy()))

    def discounted_returns(self, carried: Array, discount: float) -> Array:
        """Return the running discounted sum of rewards [T, N], whose std scales the rewards.

        Args:
            carried: [N], the sum at the end of the previous iteration; updated in place.
        """
        from p2p.recursions import discounted_sums  # compiled, and slow to import

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
    from p2p.recursions import advantages

    out = np.empty_like(reward)
    advantages(reward, value, next_value, ended, discount, gae_lambda, out)
    return out


def minibatches(
    batch: Batch, num_minibatches: int, rng: np.random.Generator
) -> Iterator[Minibatch]:
    """Yield one epoch: every sample once, in random order (lines 10 and 12)."""
    order = rng.permutation(len(batch.obs))
    for index in order.reshape(num_minibatches, -1):
        yield Minibatch(batch, index)


def reward_scale(moments: Moments) -> float:
    """Return what rewards are divided by: the std of the discounted return, 1 at first."""
    return float(np.sqrt(moments.variance[0] + 1e-8)) if moments.count else 1.0
