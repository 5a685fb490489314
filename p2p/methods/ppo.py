"""PPO (Schulman et al. 2017) under domain randomisation: one peer, nothing exchanged."""

from __future__ import annotations

from p2p.engine import Penalty
from p2p.methods.base import Method
from p2p.rollout import Minibatch

NOTHING = Penalty()


class PPO(Method):
    """Eq. 2 alone."""

    def update(self, minibatch: Minibatch) -> bool:
        """Take one PPO step."""
        return self.step(minibatch, NOTHING)
