"""What `p2p env` says of a task."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.base import VectorEnvs
from p2p.envs.build import build_envs
from p2p.envs.task import find_task

Floats = NDArray[np.float64]
ENVS = 2
ROUNDS = 3
SEED = 0


class Played(NamedTuple):
    """What `mj_step` needs to repeat what envs did.

    Attributes:
        control: [T, N, A], as MuJoCo was given it.
        starts: before each step, the episodes that start: (step, env, qpos, qvel).
    """

    control: Floats
    starts: list[list[tuple[int, int, Floats, Floats]]]


def describe(task: str, steps: int) -> dict[str, Any]:
    """Return dimensions, names, bounds, speed and whether equal seeds give equal bits.

    Args:
        steps: to measure the speed on, over `ENVS` envs.

    Raises:
        UsageError: the task cannot be built.
    """
    kind = find_task(task)
    envs = build_envs(task, ENVS)
    model, _ = envs.simulation(0)
    action = _actions(envs, max(1, steps // ENVS))
    skip = round(envs.dt / model.opt.timestep)
    played = _record(envs, action)
    ours, bare = [], []
    for _ in range(ROUNDS):  # in turn, so that both meet the same load
        ours.append(_time_ours(envs, action))
        bare.append(_time_bare(envs, played, skip))
    how = (
        "compiled code in training, numpy here"
        if envs.is_compiled
        else "numpy, one mj_step call an env"
    )
    names = [model.actuator(n).name or f"actuator {n}" for n in range(model.nu)]
    return {
        "task": task,
        "obs_dim": envs.obs_dim,
        "action_dim": envs.action_dim,
        "dt": envs.dt,
        "frame_skip": skip,
        "max_episode_steps": envs.max_episode_steps,
        "stepped_by": getattr(kind, "stepped_by", how),
        "steps_per_second": action.shape[0] * ENVS / min(ours),
        "share": min(bare) / min(ours),
        "reproducible": _trace(task, action) == _trace(task, action),
        "observations": _sizes(envs),
        "actions": [
            [name, float(low), float(high)]
            for name, low, high in zip(names, envs.action_low, envs.action_high, strict=True)
        ],
    }


def _sizes(envs: VectorEnvs) -> dict[str, int]:
    """Return how many numbers each named observation has; those without names as one."""
    found = {name: s.stop - s.start for name, s in envs.binding.observations.items()}
    return {"0, 1, ...": len(found)} if all(map(str.isdecimal, found)) else found


def _actions(envs: VectorEnvs, horizon: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(SEED)
    shape = (horizon, envs.num_envs, envs.action_dim)
    return rng.uniform(envs.action_low, envs.action_high, shape).astype(np.float32)


def _time_ours(envs: VectorEnvs, action: NDArray[np.float32]) -> float:
    start = time.perf_counter()
    envs.reset(np.random.default_rng(SEED))
    for row in action:
        envs.step(row)
    envs.finished.clear()
    return time.perf_counter() - start


def _record(envs: VectorEnvs, action: NDArray[np.float32]) -> Played:
    """Step once through the actions, and write down what it takes to do the same by mj_step."""
    envs.reset(np.random.default_rng(SEED))
    model, _ = envs.simulation(0)
    control = np.zeros((*action.shape[:2], model.nu))
    starts = [[(0, env, *_pose(envs, env)) for env in range(envs.num_envs)]]
    for t, row in enumerate(action):
        envs.step(row)
        for env in range(envs.num_envs):
            control[t, env] = envs.simulation(env)[1].ctrl
        ended = np.flatnonzero(envs.terminated | envs.truncated).tolist()
        starts.append([(t + 1, env, *_pose(envs, env)) for env in ended])
    envs.finished.clear()
    return Played(control, starts)


def _pose(envs: VectorEnvs, env: int) -> tuple[Floats, Floats]:
    _, data = envs.simulation(env)
    return data.qpos.copy(), data.qvel.copy()


def _time_bare(envs: VectorEnvs, played: Played, skip: int) -> float:
    """Return the seconds of mj_step alone over the same steps from the same starts."""
    pairs = [envs.simulation(env) for env in range(envs.num_envs)]
    start = time.perf_counter()
    for row, starts in zip(played.control, played.starts, strict=False):
        for _, env, qpos, qvel in starts:
            model, data = pairs[env]
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = qpos, qvel
            mujoco.mj_forward(model, data)
        for (model, data), control in zip(pairs, row, strict=True):
            data.ctrl[:] = control
            mujoco.mj_step(model, data, skip)
    return time.perf_counter() - start


def _trace(task: str, action: NDArray[np.float32]) -> bytes:
    """Return the bytes of all that a few steps of new envs yield."""
    envs = build_envs(task, ENVS)
    envs.reset(np.random.default_rng(SEED))
    seen = []
    for row in action[:200]:
        envs.step(row)
        seen.append(envs.obs.tobytes() + envs.reward.tobytes() + envs.terminated.tobytes())
    return b"".join(seen)
