"""Import this in a fork server: peers forked from it find every kernel compiled."""

from __future__ import annotations

import numpy as np

from p2p.core.config import build_config
from p2p.engine import Batch, Minibatch, Penalty
from p2p.engine.fused import FusedEngine
from p2p.envs.groups import EnvGroups
from p2p.envs.vector import RandomisedEnvs
from p2p.peer.advantages import advantages, discounted_sums
from p2p.peer.collector import CompiledCollector, ThreadedCollector
from p2p.peer.rollout import Clock, Rollout
from p2p.policy.parameters import Floats


def compile_all() -> None:
    """Compile every kernel, or load it from the cache, by calling each once on a few zeros.

    Call it before the peers are forked, and none of them has to.
    """

    def zeros(*shape: int) -> Floats:
        return np.zeros(shape, np.float32)

    engine = FusedEngine(build_config(), 1, 1)
    samples = Batch(zeros(2, 1), zeros(2, 1), *(zeros(2) for _ in range(4)))
    minibatch = Minibatch(samples, np.arange(2))
    engine.step(minibatch, Penalty())
    ahead = FusedEngine(build_config(), 1, 1, threads=2)
    ahead.begin_epoch(samples, minibatch.index[None])
    ahead.step(minibatch, Penalty())
    ahead.end_epoch()
    engine.apply()
    engine.distill_gradient(engine.actor, minibatch, engine.actor_grad)
    engine.evaluate(samples.obs, samples.action)
    engine.act(np.zeros((1, 1)), zeros(1, 1), zeros(1, 1))
    envs = RandomisedEnvs("hopper", 1)
    engine = FusedEngine(build_config(), envs.obs_dim, envs.action_dim)
    collector = CompiledCollector(engine, envs, Rollout(1, envs))
    collector.collect(zeros(1, 1, envs.action_dim), Clock())
    groups = EnvGroups([envs, RandomisedEnvs("hopper", 1)])  # a thread fills columns of a rollout
    threaded = ThreadedCollector(engine, groups, Rollout(2, groups))
    threaded.collect(zeros(2, 2, envs.action_dim), Clock())
    series = np.zeros((1, 1))
    ended = np.zeros((1, 1), bool)
    advantages(series, series, series, ended, 1.0, 1.0, np.zeros((1, 1)))
    discounted_sums(series, ended, 1.0, np.zeros(1), np.zeros((1, 1)))


compile_all()
