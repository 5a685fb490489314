"""Lines 6 and 7 of Algorithm 1: a peer's envs, and what it collects in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.platform import core_time
from p2p.core.rng import Purpose, Streams
from p2p.engine import Engine
from p2p.envs.base import VectorEnvs
from p2p.envs.build import build_envs
from p2p.envs.domain import Domain
from p2p.envs.groups import EnvGroups, gains_by_threads
from p2p.peer.collector import build_collector
from p2p.peer.rollout import Clock, Rollout
from p2p.policy.normaliser import Moments


def build_groups(config: TrainConfig) -> VectorEnvs | EnvGroups:
    """Return a peer's envs, shared out evenly over its threads.

    Over one, unless a number is set, where more would take turns at Python's lock.
    """
    threads = min(threads_of(config), config.envs_per_peer)
    if threads > 1 and config.threads_per_peer is None:
        sample = build_envs(config.task, 1, config.randomisation)
        threads = threads if gains_by_threads(sample) else 1
    sizes = [len(part) for part in np.array_split(np.arange(config.envs_per_peer), threads)]
    groups = [build_envs(config.task, size, config.randomisation) for size in sizes]
    return EnvGroups(groups) if len(groups) > 1 else groups[0]


def threads_of(config: TrainConfig) -> int:
    """Return how many threads a peer steps its envs in: as set, else its share of the cores.

    One with `autograd`: torch rounds the actions of a row by how many rows there are.
    """
    if config.engine == "autograd":
        return 1
    return config.threads_per_peer or max(1, int(core_time() / config.num_peers))


class Sampler:
    """Envs in randomised domains, the rollout that they fill, and the streams that both draw from.

    Args:
        config: of the run; its horizon is that of the rollout.
        engine: picks the actions.
        streams: of the peer; streams of another purpose make samples apart from training's.

    Attributes:
        rollout: what `collect` filled last.
        domain: of the first env in that rollout.
    """

    def __init__(self, config: TrainConfig, engine: Engine, streams: Streams) -> None:
        self.config, self.streams = config, streams
        self.envs = build_groups(config)
        self.rollout = Rollout(config.horizon, self.envs)
        self.domain = self.envs.domains[0]
        self.discounted = np.zeros(self.envs.num_envs)  # returns that episodes go on with
        self._collector = build_collector(engine, self.envs, self.rollout)

    def enter_domain(self, iteration: int, *, afresh: bool) -> None:
        """Draw what this iteration happens in, as `domain_schedule` says (line 6).

        Args:
            afresh: the envs have no episodes to go on with.
        """
        schedule, envs = self.config.domain_schedule, self.envs
        envs.streams = self.streams.of_envs(Purpose.RESET, iteration, envs.num_envs)
        if schedule in ("iteration", "carry"):
            envs.set_domains([self._draw(self.streams.generator(Purpose.DOMAIN, iteration))])
        else:
            each = self.streams.of_envs(Purpose.DOMAIN, iteration, envs.num_envs)
            if schedule == "episode":
                envs.next_domain = lambda env: self._draw(each[env])
            if schedule == "env" or afresh:
                envs.set_domains([self._draw(rng) for rng in each])
        if schedule in ("iteration", "env") or afresh:
            envs.reset()
            self.discounted[:] = 0.0

    def _draw(self, rng: np.random.Generator) -> Domain:
        return self.envs.binding.sample(rng, self.config.eps_tr)

    def collect(self, iteration: int, clock: Clock) -> Rollout:
        """Fill the rollout (line 7)."""
        rng = self.streams.generator(Purpose.ACTION, iteration)
        noise = rng.standard_normal(self.rollout.action.shape, np.float32)
        self.domain = self.envs.domains[0]
        self._collector.collect(noise, clock)
        return self.rollout

    def new_moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the moments of the rollout's discounted returns and of its observations.

        As vectors. The returns go on from the last rollout's: call it once a rollout.
        """
        returns = self.rollout.discounted_returns(self.discounted, self.config.discount)
        obs = Moments.of(self.rollout.obs.reshape(-1, self.envs.obs_dim))
        return Moments.of(returns.reshape(-1, 1)).to_vector(), obs.to_vector()
