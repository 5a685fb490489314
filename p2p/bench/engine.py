"""Part engine: one minibatch step, from indices to both networks' Adam steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from p2p.bench.measure import Candidate, Measurement, Tell, compare
from p2p.bench.settings import Settings
from p2p.core.config import TrainConfig, build_config
from p2p.engine import Engine, Penalty, build_engine
from p2p.engine.batch import Batch, Minibatch
from p2p.envs.vector import RandomisedEnvs

SEED = 0


def sample_batch(config: TrainConfig, envs: RandomisedEnvs, engine: Engine) -> Batch:
    """Return the engine's own actions and densities on observations of noise.

    Densities must be those of the actions: a step over ratios near 0 meets denormal numbers,
    which processors are slow with.
    """
    rng, S = np.random.default_rng(SEED), config.steps_per_peer
    obs = rng.standard_normal((S, envs.obs_dim))
    action = np.zeros((S, envs.action_dim), np.float32)
    engine.act(obs, rng.standard_normal(action.shape, np.float32), action)
    normalised = obs.astype(np.float32)
    log_prob, value = engine.evaluate(normalised, action)
    noise = rng.standard_normal((2, S), np.float32)
    return Batch(normalised, action, log_prob, value, noise[0], noise[1])


def stepping(engine: Literal["fused", "autograd"], task: str, steps: int) -> Callable[[], float]:
    """Return what takes `steps` minibatch steps and returns the microseconds of one."""
    config = build_config(task=task, engine=engine, num_peers=2)
    envs = RandomisedEnvs(task, 1)
    built = build_engine(config, envs.obs_dim, envs.action_dim)
    batch = sample_batch(config, envs, built)
    penalty = Penalty(1.0, built.actor[None] + np.float32(0.01))
    rng = np.random.default_rng(SEED)
    order = rng.permutation(config.steps_per_peer).reshape(config.num_minibatches, -1)
    rows = [Minibatch(batch, index) for index in order]
    built.step(rows[0], penalty)

    def run() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        start = time.perf_counter()
        for i in range(steps):
            built.step(rows[i % len(rows)], penalty)
        seconds = time.perf_counter() - start
        torch.set_num_threads(threads)
        return seconds / steps * 1e6

    return run


def measure_engines(settings: Settings, task: str, tell: Tell) -> list[Measurement]:
    """Return microseconds a minibatch step, P2PDRL at K=2, with the ratio to autograd."""
    envs = RandomisedEnvs(task, 1)
    includes = (
        f"gather 64 samples of {envs.obs_dim} observations, {envs.action_dim} actions; forward, "
        "PPO and value loss, KL to one peer, backward, norm clip, Adam, both networks; one thread; "
        "no exchange"
    )
    candidates = [
        Candidate("autograd", stepping("autograd", task, settings.engine_steps), includes),
        Candidate("fused", stepping("fused", task, settings.engine_steps), includes, "autograd"),
    ]
    return compare("engine", task, "us", candidates, settings.rounds, tell)
