"""Distributed PPO (Heess et al. 2017): one policy, gradients averaged over domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2p.engine import NOTHING, Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import A2, Method

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig


class DPPO(Method):
    """Every peer holds a replica and takes the same step from the same mean gradient.

    There is no central learner: the replicas start equal, are moved by equal vectors
    averaged in equal order, and so stay equal bit for bit. Advantages are normalised by
    each peer on its own minibatch.
    """

    label, colour, dash, marker = "Distributed PPO", "#009E73", (0, (3, 1, 1, 1)), "^"
    learning_rate, exchanges = 3e-4, "gradients"
    objective, source = "mean over peers of L_PPO", "4.2; Heess et al. 2017"
    default_sources: ClassVar = {"learning_rate": A2}

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
        if self.skip_updates:
            return True
        mean = shown.mean(axis=0)
        split = len(engine.actor_grad)
        engine.actor_grad[:], engine.critic_grad[:] = mean[:split], mean[split:]
        return engine.apply()

    def replicas(self) -> Sequence[NDArray[np.generic]]:
        """Return actor and critic."""
        return self.engine.actor, self.engine.critic
