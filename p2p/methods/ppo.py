"""PPO (Schulman et al. 2017) under domain randomisation: one peer, nothing exchanged."""

from __future__ import annotations

from p2p.engine import NOTHING, Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import Method


class PPO(Method):
    """Eq. 2 alone."""

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Add nothing."""
        return NOTHING
