"""PPO regularised by the KL to itself (section 4.4, Fig. 7): is any pull enough?"""

from __future__ import annotations

from typing import ClassVar

from p2p.engine import Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.methods.base import Distilling, Method


class SelfKL(Method):
    """Eq. 2 plus alpha KL(pi || pi_old), pi_old as it collected; one peer."""

    label, colour, dash, marker = "PPO, self-KL", "#56B4E9", (0, (4, 2)), "P"
    learning_rate, num_peers, peers, exchanges = 3e-4, 1, (1, 1), "nothing"
    objective, source = "L_PPO + alpha KL(pi, pi_old)", "section 4.4, Fig. 7"
    penalty_kl = "KL(pi || pi_old) to the policy that collected, on own states"
    default_sources: ClassVar = {"learning_rate": "as PPO's", "distill_coef": "as P2PDRL's"}
    Settings = Distilling

    def begin_iteration(self, batch: Batch) -> None:
        """Remember the policy that collected."""
        old = self.engine.actor[None].copy()
        self._penalty = Penalty(self.settings.distill_coef, old, fixed=True)

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull back towards the policy that collected."""
        return self._penalty
