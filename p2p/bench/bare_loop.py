"""The limit: the same steps from the same starts, by `mj_step` in a bare loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.analysis.evaluation.domain_sets import DomainSet
from p2p.analysis.evaluation.worker import episode_stream
from p2p.envs.domain import Domain
from p2p.envs.robot import Robot
from p2p.envs.task import find_task
from p2p.envs.vector import RandomisedEnvs
from p2p.exchange.base import Exchange
from p2p.policy.parameters import Floats
from p2p.policy.policy import Policy

Array = NDArray[np.float64]
DOMAINS = 4  # of one measurement beside training, which draws one an iteration
ENVS = 2  # that a peer steps by default
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Episode(NamedTuple):
    """Where an episode starts, and the actions of its steps."""

    qpos: Array
    qvel: Array
    first: int  # its first step
    last: int  # one past its last


class Script(NamedTuple):
    """Actions, and the episodes that they make from the resets of a seed."""

    task: str
    domain: Domain
    seed: int  # of the resets
    action: Floats  # [T, N, A], within the bounds
    episodes: tuple[tuple[Episode, ...], ...]  # by env

    @property
    def steps(self) -> int:
        """Env steps in all."""
        T, N, _ = self.action.shape
        return int(T * N)


def record_script(
    task: str, num_envs: int, horizon: int, seed: int,
    policy: Policy | None = None, domain: Domain | None = None,
) -> Script:  # fmt: skip
    """Act for `horizon` steps in N envs and write down what it takes to do the same again.

    Args:
        policy: who acts; None: uniform within the bounds.
        domain: of all envs; None: the nominal one.
    """
    envs = RandomisedEnvs(task, num_envs)
    envs.set_domains([domain or Domain()])
    envs.reset(np.random.default_rng(seed))
    rng = np.random.default_rng((seed, 1))  # apart from the resets
    action = np.zeros((horizon, num_envs, envs.action_dim), np.float32)
    starts = [[(0, *_pose(envs, env))] for env in range(num_envs)]
    for t, row in enumerate(action):
        if policy is None:
            row[:] = rng.uniform(envs.action_low, envs.action_high, row.shape)
        else:
            row[:] = policy.act(envs.obs, deterministic=False, rng=rng)
        envs.step(row)
        for env in np.flatnonzero(envs.terminated | envs.truncated):
            starts[env].append((t + 1, *_pose(envs, int(env))))
    return Script(task, envs.domains[0], seed, action, tuple(_cut(s, horizon) for s in starts))


def record_episode(policy: Policy, domain: Domain, rng: np.random.Generator) -> Script:
    """Act by the mean until the episode ends, and write down what it takes to do the same again.

    Args:
        rng: draws the start, as an evaluation's stream does.
    """
    envs = RandomisedEnvs(policy.task, 1)
    envs.set_domains([domain])
    envs.reset([rng])
    start, action = _pose(envs, 0), []
    while not envs.finished:
        action.append(policy.act(envs.obs))
        envs.step(action[-1])
    episode = Episode(*start, 0, len(action))
    return Script(policy.task, domain, 0, np.array(action), ((episode,),))


def _pose(envs: RandomisedEnvs, env: int) -> tuple[Array, Array]:
    _, data = envs.simulation(env)
    return data.qpos.copy(), data.qvel.copy()


def _cut(starts: list[tuple[int, Array, Array]], horizon: int) -> tuple[Episode, ...]:
    """Return the episodes that begin at `starts`; the last may have no step yet."""
    ends = [first for first, _, _ in starts[1:]] + [horizon]
    return tuple(
        Episode(qpos, qvel, first, end)
        for (first, qpos, qvel), end in zip(starts, ends, strict=True)
    )


class BareLoop:
    """Plays a script by `mj_step` and nothing else: no observation, reward or check.

    Args:
        model: to step, as it is; None: that of our envs, in the script's domain.

    Attributes:
        final: [N, size], each env's physics after the last `run`.
    """

    def __init__(self, script: Script, model: mujoco.MjModel | None = None) -> None:
        self.script = script
        kind = find_task(script.task)
        self.frame_skip = kind.frame_skip
        self._binding = Robot(kind).binding
        if model is None:
            model = self._binding.new_model()
            self._binding.apply(script.domain, model)
        self.model = model
        self.data = mujoco.MjData(self.model)
        N = script.action.shape[1]
        self.final = np.zeros((N, mujoco.mj_stateSize(self.model, _STATE)))
        # Copied between memoryviews as `RandomisedEnvs` does: with numpy the limit were lower.
        rows = script.action.astype(np.float64)
        self._rows = [[row.data for row in rows[:, env]] for env in range(N)]

    def run(self) -> float:
        """Play it once, env by env in one `MjData`, and return the seconds it took."""
        model, data, skip, step = self.model, self.data, self.frame_skip, mujoco.mj_step
        control, everything = data.ctrl.data, slice(None)
        start = time.perf_counter()
        for env, episodes in enumerate(self.script.episodes):
            rows = self._rows[env]
            for episode in episodes:
                self._start(episode)
                for row in rows[episode.first : episode.last]:
                    control[everything] = row
                    step(model, data, skip)
            mujoco.mj_getState(model, data, self.final[env], _STATE)
        return time.perf_counter() - start

    def _start(self, episode: Episode) -> None:
        data = self.data
        mujoco.mj_resetData(self.model, data)
        data.qpos[:] = episode.qpos
        data.qvel[:] = episode.qvel
        self._binding.push_forces(self.script.domain, data)
        mujoco.mj_forward(self.model, data)


def bare_rate(
    exchange: Exchange, task: str, steps: int, seed: int, policy: Path | None, eps: float
) -> float:
    """Return steps/s of the bare loop in this process, all processes starting at once.

    In `DOMAINS` domains drawn as training draws them, with `ENVS` episodes at a time.

    Args:
        policy: file of the policy that acts; None: random actions.
        eps: the domains' strength.
    """
    acting = Policy.load(policy) if policy else None
    rng = np.random.default_rng((seed, exchange.rank))
    binding = Robot(find_task(task)).binding
    horizon = max(1, steps // (DOMAINS * ENVS))
    loops = []
    for _ in range(DOMAINS):
        domain = binding.sample(rng, eps)
        seed_of_resets = int(rng.integers(2**31))
        loops.append(BareLoop(record_script(task, ENVS, horizon, seed_of_resets, acting, domain)))
    return _rate(loops, exchange)


def bare_episodes(
    exchange: Exchange, policy: Path, domains: DomainSet, seed: int
) -> tuple[float, int]:
    """Return steps/s of the bare loop over this process's share of an evaluation, and its steps.

    The share is every n-th domain, n processes starting at once.

    Args:
        seed: the evaluation's `domain_seed`.
    """
    acting, loops = Policy.load(policy), []
    mine = slice(exchange.rank, None, exchange.num_peers)
    for domain, start in zip(domains.domains[mine], domains.starts[mine], strict=True):
        rng = episode_stream(seed, start, 0)
        loops.append(BareLoop(record_episode(acting, domain, rng)))
    return _rate(loops, exchange), sum(loop.script.steps for loop in loops)


def _rate(loops: Sequence[BareLoop], exchange: Exchange) -> float:
    """Return steps/s of `loops`, one after the other; all processes start at once."""
    loops[0].run()  # everyone warm
    exchange(np.zeros(1))
    return sum(loop.script.steps for loop in loops) / sum(loop.run() for loop in loops)
