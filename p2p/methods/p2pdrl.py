"""P2PDRL (Zhao & Hospedales, section 3.2): peers pull one another together."""

from __future__ import annotations

from p2p.engine import Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.methods.base import Method


class P2PDRL(Method):
    """Eq. 4: PPO, plus alpha times the mean KL to the other peers on own states.

    All peers step at once from what was shown before the minibatch (Jacobi), where the
    paper's line 11 updates them in turn. With `sync` they are shown less often.
    """

    def begin_iteration(self, batch: Batch) -> None:
        """Look at the others, if that is for the whole iteration."""
        if self.config.sync == "iteration":
            self._look()

    def begin_epoch(self) -> None:
        """Look at the others, if that is for the whole epoch."""
        if self.config.sync == "epoch":
            self._look()

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull towards what the others showed last (line 13)."""
        if self.config.sync == "minibatch":
            self._look()
        return self._penalty

    def _look(self) -> None:
        """Show the own actor, and take what the others show."""
        others = self.exchange.with_others(self.engine.actor)
        self._penalty = Penalty(self.config.distill_coef, others)
