"""Run folders that were made rather than trained: random policies, no engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from p2p.config import TrainConfig
from p2p.envs import RandomisedEnvs
from p2p.policy import Normaliser, Policy, actor_layout
from p2p.store import RunFolder, write_atomically


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
            policy = make_policy(config.task, 100 * config.seed + rank, **meta)
            write_atomically(run.policy_path(rank), policy.to_bytes())
    return path
