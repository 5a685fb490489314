"""PPO regularised by the KL to itself (section 4.4, Fig. 7): is any pull enough?"""

from __future__ import annotations

from p2p.engine import Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.methods.base import Method


class SelfKL(Method):
    """Eq. 2 plus alpha KL(pi || pi_old), pi_old as it collected; one peer."""

    def begin_iteration(self, batch: Batch) -> None:
        """Remember the policy that collected."""
        old = self.engine.actor[None].copy()
        self._penalty = Penalty(self.config.distill_coef, old)

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull back towards the policy that collected."""
        return self._penalty
