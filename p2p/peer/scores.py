"""Scores of a peer's policy: in held-out domains during training, in the nominal one at the end.

Neither changes a bit of training: envs and random streams are their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from p2p.core.config import TrainConfig
from p2p.core.rng import Purpose, keyed_generator
from p2p.envs.binding import Binding
from p2p.envs.domain import Domain
from p2p.policy.episodes import run_episodes, summarise
from p2p.policy.policy import Policy

DOMAINS, STARTS = 0, 1  # streams of held-out tests
SEED = 0  # of held-out tests, whatever the run's: all runs of a task meet the same domains


def final_score(
    policy: Policy, episodes: int, rng: np.random.Generator, after_step: Callable[[], None]
) -> dict[str, float]:
    """Return the score over `episodes` episodes in the nominal domain."""
    ran = run_episodes(policy, [Domain()] * episodes, rng, after_step=after_step)
    return summarise(ran)._asdict()


def held_out_domains(config: TrainConfig, binding: Binding) -> list[Domain]:
    """Return the domains of `test_every`, `test_domains` of them at strength `test_eps`.

    Their stream belongs to no run and to no seed of `p2p eval`: no policy is trained in them, and
    one that was chosen by them meets others when it is evaluated.
    """
    return [
        binding.sample(keyed_generator(SEED, Purpose.HELD_OUT, DOMAINS, n), config.test_eps)
        for n in range(config.test_domains)
    ]


def held_out_score(
    policy: Policy, config: TrainConfig, binding: Binding, after_step: Callable[[], None]
) -> dict[str, Any]:
    """Test a policy in the held-out domains: mean action, one episode in each.

    Returns:
        `return`, its mean over domains; `std`, over domains; mean `length`, steps; `falls`, the
        share of episodes that terminated; `seconds` that the test took.
    """
    start = time.perf_counter()
    domains = held_out_domains(config, binding)
    rng = keyed_generator(SEED, Purpose.HELD_OUT, STARTS)
    ran = run_episodes(
        policy, domains, rng, randomisation=config.randomisation, after_step=after_step
    )
    score = summarise(ran)
    return {
        "return": score.mean,
        "std": score.std,
        "length": score.length,
        "falls": float(np.mean([episode.terminated for episode in ran])),
        "seconds": time.perf_counter() - start,
    }
