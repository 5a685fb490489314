"""Distributed PPO (Heess et al. 2017): one policy, gradients averaged over domains."""

from __future__ import annotations

import numpy as np

from p2p.core.config import TrainConfig
from p2p.engine import NOTHING, Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import Method


class DPPO(Method):
    """Every peer holds a replica and takes the same step from the same mean gradient.

    There is no central learner: the replicas start equal, are moved by equal vectors
    averaged in equal order, and so stay equal bit for bit. Advantages are normalised by
    each peer on its own minibatch.
    """

    @classmethod
    def slot_bytes(cls, config: TrainConfig, obs_dim: int, num_actor: int, num_critic: int) -> int:
        """Both gradients travel together."""
        return 4 * (num_actor + num_critic)

    def distance(self, moved: float) -> float:
        """Return the mean over peers: all replicas stop (`target_kl`), or none does."""
        return float(self.exchange(np.array([moved])).mean())

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Add nothing."""
        return NOTHING

    def update(self, minibatch: Minibatch) -> bool:
        """Average the gradients at `minibatch` over peers, and apply the mean."""
        engine = self.engine
        engine.gradient(minibatch, NOTHING)
        shown = self.exchange(np.concatenate((engine.actor_grad, engine.critic_grad)))
        if self.sits_out:
            return True
        mean = shown.mean(axis=0)
        split = len(engine.actor_grad)
        engine.actor_grad[:], engine.critic_grad[:] = mean[:split], mean[split:]
        return engine.apply()
