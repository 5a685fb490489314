"""Run folders that were made rather than trained: random policies, no engine."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.envs.task import find_task
from p2p.envs.vector import RandomisedEnvs
from p2p.methods import find_method
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.parameters import actor_layout
from p2p.policy.policy import Policy
from p2p.runs import RunFolder, write_atomically

TASKS = {name: find_task(name) for name in registry.BUILT_IN["task"]}
METHODS = {name: find_method(name) for name in registry.BUILT_IN["method"]}


def make_policy(task: str = "hopper", key: int = 0, scale: float = 0.3, **meta: Any) -> Policy:
    """Return a policy whose parameters are a function of `key`."""
    envs = RandomisedEnvs(task, 1)
    layout = actor_layout(envs.obs_dim, (8, 8), envs.action_dim)
    rng = np.random.default_rng(key)
    actor = (scale * rng.standard_normal(layout.size)).astype(np.float32)
    normaliser = Normaliser(rng.standard_normal(envs.obs_dim), np.ones(envs.obs_dim), 10.0)
    return Policy(task, actor, (8, 8), normaliser, envs.action_low, envs.action_high, meta)


def make_run(path: Path, **settings: Any) -> Path:
    """Make a run folder with a policy a peer; equal seeds and ranks give equal policies."""
    config = TrainConfig(hidden_sizes=(8, 8), **settings)
    with RunFolder.create(config, path) as run:
        for rank in range(config.num_peers):
            meta = {"method": config.method, "seed": config.seed, "peer": rank, "iterations": 10}
            meta["settings"] = config.identity(10 * config.steps_per_iteration)
            policy = make_policy(config.task, 100 * config.seed + rank, **meta)
            write_atomically(run.policy_path(rank), policy.to_bytes())
    return path


def make_finished(path: Path, iterations: tuple[int, ...] = (0, 5, 10), **settings: Any) -> Path:
    """Make a run of ten iterations, with a random policy at each milestone named.

    The start's normaliser has seen nothing; the others have seen something else each.
    """
    settings = {"total_steps": 10 * TrainConfig().steps_per_iteration, **settings}
    config = TrainConfig(hidden_sizes=(8, 8), **settings)
    with RunFolder.create(config, path) as run:
        for n in iterations:
            tensors = {}
            for rank in range(config.num_peers):
                key = 1000 * config.seed + 100 * rank + n
                policy = make_policy(config.task, key, peer=rank, iterations=n)
                samples = np.random.default_rng(n).normal(n / 10, 1 + n / 10, (50, policy.obs_dim))
                moments = Moments.of(samples) if n else Moments.zeros(policy.obs_dim)
                tensors[f"peer{rank}.engine.actor"] = policy.actor
                tensors[f"peer{rank}.peer.obs_moments"] = moments.to_vector()
                normaliser = Normaliser.of(moments, config.obs_clip, config.normalise_obs)
                last = policy.with_actor(policy.actor, normaliser)
                write_atomically(run.policy_path(rank), last.to_bytes())
            run.save_milestone(n, tensors)
    return path


def forbid_writing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let no file below `folder` be opened for writing any more, by root either."""
    real = os.open

    def opened(path: str | Path, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and Path(path).is_relative_to(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)
