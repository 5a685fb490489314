"""P2PDRL (Zhao & Hospedales, section 3.2): peers pull one another together."""

from __future__ import annotations

from p2p.engine import Penalty
from p2p.methods.base import Method
from p2p.rollout import Minibatch


class P2PDRL(Method):
    """Eq. 4: PPO, plus alpha times the mean KL to the other peers on own states."""

    def update(self, minibatch: Minibatch) -> bool:
        """Show the own actor, then step towards what the others showed (line 13).

        All peers step at once from what was shown before the minibatch (Jacobi), where
        the paper's line 11 updates them in turn.
        """
        shown = self.exchange(self.engine.actor)
        others = shown[self.exchange.others]
        return self.step(minibatch, Penalty(self.config.distill_coef, others))
