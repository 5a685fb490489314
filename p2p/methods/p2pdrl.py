"""P2PDRL (Zhao & Hospedales, section 3.2): peers pull one another together."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from p2p.engine import Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.methods.base import A2, Distilling, Method


class P2PDRL(Method):
    """Eq. 4: PPO, plus alpha times the mean KL to the other peers on own states.

    All peers step at once from what was shown before the minibatch (Jacobi), where the
    paper's line 11 updates them in turn. With `sync` they are shown less often.
    """

    label, colour, marker = "P2PDRL", "#0072B2", "o"
    objective, source = "L_PPO + alpha KL(pi_i, others)", "eq. 4, section 3.2"
    penalty_kl = "KL(pi_i || pi_k) on own states, mean over the other peers (eq. 3)"
    default_sources: ClassVar = {
        "learning_rate": A2,
        "distill_coef": A2,
        "sync": "Algorithm 1",
    }

    class Settings(Distilling):
        """Settings of P2PDRL."""

        sync: Literal["minibatch", "epoch", "iteration"] = Field(
            "minibatch",
            description="How often P2PDRL's peers exchange parameters: once a minibatch, epoch or "
            "iteration.",
        )

    def begin_iteration(self, batch: Batch) -> None:
        """Look at the others, if that is for the whole iteration."""
        if self.settings.sync == "iteration":
            self._look()

    def begin_epoch(self) -> None:
        """Show the own actor, if that is for the whole epoch; the critic moves while it travels."""
        if self.settings.sync == "epoch":
            self.exchange.begin(self.engine.actor)

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull towards what the others showed last (line 13)."""
        if self.settings.sync == "minibatch" or self.exchange.has_begun:
            self._look()
        return self._penalty

    def end_iteration(self, iteration: int) -> None:
        """Show the own actor already, if that is for the whole next iteration.

        No rollout moves it, so that it may travel meanwhile.
        """
        if self.settings.sync == "iteration":
            self.exchange.begin(self.engine.actor)

    def _look(self) -> None:
        """Show the own actor, unless it was shown already, and take what the others show."""
        exchange = self.exchange
        ahead = exchange.has_begun
        shown = exchange.finish() if ahead else exchange(self.engine.actor)
        fixed = self.settings.sync == "iteration"
        coef, others = self.settings.distill_coef, exchange.others_of(shown)
        self._penalty = Penalty(coef, others, fixed=fixed)
