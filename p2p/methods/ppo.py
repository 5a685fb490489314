"""PPO (Schulman et al. 2017) under domain randomisation: one peer, nothing exchanged."""

from __future__ import annotations

from typing import ClassVar

from p2p.engine import NOTHING, Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import A2, Method


class PPO(Method):
    """Eq. 2 alone."""

    label, colour, dash, marker = "PPO", "#D55E00", (0, (5, 1.5)), "s"
    learning_rate, num_peers, peers, exchanges = 3e-4, 1, (1, 1), "nothing"
    objective, source = "L_PPO", "eq. 2; Schulman et al. 2017"
    default_sources: ClassVar = {"learning_rate": A2}

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Add nothing."""
        return NOTHING
