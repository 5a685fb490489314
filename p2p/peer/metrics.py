"""What a peer reports of an iteration: its part of the journal (docs/run-folder.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from p2p.engine import STATS, Batch, Engine
from p2p.methods import Method
from p2p.peer.sampler import Sampler


def iteration_metrics(
    sampler: Sampler, engine: Engine, method: Method, batch: Batch
) -> dict[str, Any]:
    """Return what the iteration shows of domain, episodes, losses and policy.

    The episodes that ended are taken from the envs, which forget them.
    """
    stats = dict(zip(STATS, engine.stats, strict=True))
    steps = max(stats.pop("steps"), 1.0)
    means = {name: value / steps for name, value in stats.items()}
    penalty_kl = means.pop("kl")
    log_std = engine.actor[-engine.action_dim :].astype(np.float64)
    target = batch.value_target
    unexplained = np.var(target - batch.old_value) / max(float(np.var(target)), 1e-12)
    terms = sampler.envs.reward_terms()
    episodes, sampler.envs.finished = sampler.envs.finished, []
    return {
        "domain": str(sampler.domain),
        "factors": sampler.envs.binding.randomisation.summary(sampler.domain),
        "episodes": [[e.episode_return, e.length] for e in episodes],
        "unstable": sum(e.unstable for e in episodes),
        "reward_per_step": float(sampler.rollout.reward.mean()),
        **({"reward_terms": terms} if terms else {}),
        "terminations_per_step": float(sampler.rollout.terminated.mean()),
        "penalty_kl": penalty_kl if method.penalty_kl else None,
        **means,
        "entropy": float(log_std.sum() + 0.5 * np.log(2 * np.pi * np.e) * len(log_std)),
        "log_std": float(log_std.mean()),
        "explained_variance": 1.0 - float(unexplained),
        "learning_rate": engine.learning_rate,
    }
