"""The score of a policy: full episodes with its mean action, undiscounted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from p2p.domains import Domain
from p2p.envs import Episode, RandomisedEnvs
from p2p.policy import Policy


class Score(NamedTuple):
    """Statistics over episodes; a score is not a mean over time steps."""

    mean: float  # undiscounted return
    std: float  # over episodes, population
    length: float  # mean, steps
    episodes: int


def run_episodes(
    policy: Policy,
    domains: Sequence[Domain],
    rng: np.random.Generator,
    *,
    deterministic: bool = True,
    initial_position: str = "joints",
) -> list[Episode]:
    """Run one episode in each domain, all at once, and return them in that order.

    Args:
        policy: acts in its own task.
        domains: one an episode.
        rng: reset noise, then (unless `deterministic`) action noise.
    """
    envs = RandomisedEnvs(policy.task, len(domains), initial_position=initial_position)
    envs.set_domains(domains[:1] if len(set(domains)) == 1 else domains)
    envs.reset(rng)
    first: dict[int, Episode] = {}
    while len(first) < len(domains):
        envs.step(policy.act(envs.obs, deterministic, rng))
        for episode in envs.finished:
            first.setdefault(episode.env, episode)
        envs.finished.clear()
    return [first[n] for n in range(len(domains))]


def summarise(episodes: Sequence[Episode]) -> Score:
    """Return the statistics of `episodes`."""
    returns = np.array([e.episode_return for e in episodes])
    length = float(np.mean([e.length for e in episodes]))
    return Score(float(returns.mean()), float(returns.std()), length, len(episodes))
