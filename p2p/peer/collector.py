"""Line 7 of Algorithm 1: act in the envs, and write down what happens.

`PlainCollector` takes whatever acts and whatever envs. `CompiledCollector` does the same in one
compiled call from an episode's end to the next, bit for bit, for the fused engine in tasks whose
arithmetic compiled code knows. `ThreadedCollector` shares the envs out over threads, each with
one of these for its own envs; compiled code and `mj_step` let go of Python's lock.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from p2p.core.jit import exact, exact_kernel, specialise
from p2p.engine import Engine
from p2p.engine.acting import RowPolicy, act_on_rows
from p2p.engine.fused import FusedEngine
from p2p.envs.base import VectorEnvs
from p2p.envs.compiled import Outcome, call_c, step_env
from p2p.envs.groups import EnvGroups
from p2p.envs.locomotion_columns import LocomotionColumns, Rules
from p2p.envs.simulation import Addresses
from p2p.envs.vector import RandomisedEnvs
from p2p.peer.rollout import Actor, Clock, Rollout
from p2p.policy.parameters import Floats

NANOSECONDS = 1_000_000_000


class Buffers(NamedTuple):
    """The arrays of a `Rollout` that are filled step by step."""

    obs: NDArray[np.float64]
    action: Floats
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class Stage(NamedTuple):
    """What the policy acts in."""

    addresses: Addresses
    rules: Rules
    outcome: Outcome
    low: Floats  # [A], bounds of the action
    high: Floats
    clipped: Floats  # [N, A], room for it within the bounds
    forces: NDArray[np.float64]  # room for one env's contact forces
    max_episode_steps: int
    clock_gettime: int
    timespec: NDArray[np.int64]  # [2], s and ns


@exact
def nanoseconds(stage: Stage) -> int:
    """Return the monotonic time."""
    call_c(stage.clock_gettime, time.CLOCK_MONOTONIC, stage.timespec.ctypes.data)
    return int(stage.timespec[0] * NANOSECONDS + stage.timespec[1])


@exact_kernel
def play(
    policy: RowPolicy, stage: Stage, noise: Floats, buffers: Buffers, start: int,
    spent: NDArray[np.int64],
) -> int:  # fmt: skip
    """Fill `buffers` from row `start` on, until an episode ends or they are full.

    Args:
        noise: [T, N, A], standard normal.
        spent: [2], ns spent on acting and on stepping, added to.

    Returns:
        The row that comes next.
    """
    outcome, now = stage.outcome, nanoseconds(stage)
    N, A = stage.clipped.shape
    for t in range(start, len(noise)):
        for n in range(N):  # element by element: numba compiles these faster than slices
            for i in range(outcome.obs.shape[1]):
                buffers.obs[t, n, i] = outcome.obs[n, i]
        act_on_rows(policy, outcome.obs, noise[t], buffers.action[t])
        for n in range(N):
            for a in range(A):
                value = buffers.action[t, n, a]
                value = stage.low[a] if value < stage.low[a] else value
                stage.clipped[n, a] = stage.high[a] if value > stage.high[a] else value
        acted = nanoseconds(stage)
        spent[0] += acted - now
        ended = False
        for n in range(N):
            ended |= step_env(
                stage.addresses, stage.rules, n, stage.clipped[n], stage.forces,
                stage.max_episode_steps, outcome,
            )  # fmt: skip
            buffers.reward[t, n] = outcome.reward[n]
            buffers.terminated[t, n] = outcome.terminated[n]
            buffers.truncated[t, n] = outcome.truncated[n]
        now = nanoseconds(stage)
        spent[1] += now - acted
        if ended:
            return t + 1
    return len(noise)


class Collector(Protocol):
    """Fills a rollout."""

    def collect(self, noise: Floats, clock: Clock) -> None:
        """Fill it by acting in the envs.

        Actions are clipped to the task's bounds for the env only: the density that PPO's ratio
        needs is that of the action as sampled.

        Args:
            noise: [T, N, A], standard normal.
            clock: its `policy` and `physics` are added to.
        """


class PlainCollector:
    """See `Collector`.

    Args:
        actor: picks the actions.
        envs: to act in.
        rollout: to fill.
    """

    def __init__(self, actor: Actor, envs: VectorEnvs, rollout: Rollout) -> None:
        self.actor, self.envs, self.rollout = actor, envs, rollout
        self._clipped = np.zeros((envs.num_envs, envs.action_dim), np.float32)

    def collect(self, noise: Floats, clock: Clock) -> None:
        """Fill the rollout, step by step."""
        now, acting, stepping = time.perf_counter, 0.0, 0.0
        envs, rollout = self.envs, self.rollout
        rollout.final_obs.clear()
        start = now()
        for t in range(len(rollout.obs)):
            obs, action = rollout.obs[t], rollout.action[t]
            obs[:] = envs.obs
            self.actor.act(obs, noise[t], action)
            np.clip(action, envs.action_low, envs.action_high, out=self._clipped)
            acted = now()
            envs.step(self._clipped)
            rollout.reward[t] = envs.reward
            rollout.terminated[t] = envs.terminated
            rollout.truncated[t] = envs.truncated
            rollout.keep_final_obs(t, envs)
            acting += acted - start
            start = now()
            stepping += start - acted
        rollout.last_obs[:] = envs.obs
        clock.seconds["policy"] += acting
        clock.seconds["physics"] += stepping


class CompiledCollector:
    """See `Collector`; Python is left with the resets.

    Args:
        engine: picks the actions.
        envs: to act in; it must outlive this.
        rollout: to fill.

    Raises:
        TypeError: the engine computes in another precision than the rollout holds.
        P2PError: MuJoCo's library cannot be found.
    """

    def __init__(self, engine: FusedEngine, envs: RandomisedEnvs, rollout: Rollout) -> None:
        if engine.dtype != np.float32:
            raise TypeError(f"rollouts are collected in float32, not {np.dtype(engine.dtype)}")
        self.engine, self.envs, self.rollout = engine, envs, rollout
        self._play: Callable[..., int] | None = None
        assert isinstance(envs.columns, LocomotionColumns)
        rules = envs.columns.rules()
        self._stage = Stage(
            envs.addresses(), rules,
            Outcome(
                envs.obs, envs.reward, envs.terminated, envs.truncated, envs.unstable,
                envs.elapsed, envs.episode_return,
            ),
            envs.action_low, envs.action_high,
            np.zeros((envs.num_envs, envs.action_dim), np.float32),
            np.zeros(rules.forces[1] - rules.forces[0]), envs.max_episode_steps,
            _address_of(ctypes.CDLL(None).clock_gettime), np.zeros(2, np.int64),
        )  # fmt: skip
        self._buffers = Buffers(
            rollout.obs, rollout.action, rollout.reward, rollout.terminated, rollout.truncated
        )

    def collect(self, noise: Floats, clock: Clock) -> None:
        """Fill the rollout by compiled code, and settle the envs after each call of it."""
        policy = self.engine.row_policy(self.envs.num_envs)
        noise = np.ascontiguousarray(noise, np.float32)  # compiled code does not look
        envs, rollout, spent = self.envs, self.rollout, np.zeros(2, np.int64)
        rollout.final_obs.clear()
        if self._play is None:
            self._play = specialise(play, policy, self._stage, noise, self._buffers, 0, spent)
        t, begun = 0, time.perf_counter()
        while t < len(noise):
            t = self._play(policy, self._stage, noise, self._buffers, t, spent)
            envs.settle()
            rollout.keep_final_obs(t - 1, envs)
        rollout.last_obs[:] = envs.obs
        elapsed = time.perf_counter() - begun
        clock.seconds["policy"] += float(spent[0]) / NANOSECONDS
        clock.seconds["physics"] += elapsed - float(spent[0]) / NANOSECONDS


class ThreadedCollector:
    """See `Collector`: each group of envs is collected by a thread of its own.

    Args:
        engine: picks the actions.
        envs: groups of them.
        rollout: of all of them, to fill.
    """

    def __init__(self, engine: Engine, envs: EnvGroups, rollout: Rollout) -> None:
        self.envs, self.rollout = envs, rollout
        self._parts = [rollout.part(span) for span in envs.spans]
        self._collectors = [
            build_collector(engine, group, part)
            for group, part in zip(envs.groups, self._parts, strict=True)
        ]
        self._pool = ThreadPoolExecutor(len(envs.groups) - 1, "rollout")  # the first one is ours

    def collect(self, noise: Floats, clock: Clock) -> None:
        """Fill the rollout; the bits are those of one thread."""
        clocks = [Clock() for _ in self._collectors]
        first, *others = (
            partial(collector.collect, noise[:, span], own)
            for collector, span, own in zip(self._collectors, self.envs.spans, clocks, strict=True)
        )
        running = [self._pool.submit(one) for one in others]
        try:
            first()
        finally:
            wait(running)
        for one in running:
            one.result()
        rollout, spans = self.rollout, self.envs.spans
        rollout.final_obs[:] = sorted(
            (
                (t, span.start + n, obs)
                for part, span in zip(self._parts, spans, strict=True)
                for t, n, obs in part.final_obs
            ),
            key=lambda final: final[:2],
        )
        self.envs.settle(rollout.terminated | rollout.truncated)
        for phase in ("policy", "physics"):
            clock.seconds[phase] += fmean(own.seconds[phase] for own in clocks)


def build_collector(engine: Engine, envs: VectorEnvs | EnvGroups, rollout: Rollout) -> Collector:
    """Return the fastest collector that this engine and these envs' task allow."""
    if isinstance(envs, EnvGroups):
        return ThreadedCollector(engine, envs, rollout)
    if isinstance(engine, FusedEngine) and isinstance(envs, RandomisedEnvs) and envs.is_compiled:
        return CompiledCollector(engine, envs, rollout)
    return PlainCollector(engine, envs, rollout)


def _address_of(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
