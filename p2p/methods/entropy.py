"""PPO with an entropy bonus (section 4.4, Fig. 8a): is more noise enough?"""

from __future__ import annotations

from p2p.engine import Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import Method


class Entropy(Method):
    """Eq. 2 minus c H(pi); one peer."""

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Reward entropy."""
        return Penalty(entropy_coef=self.config.entropy_coef)
