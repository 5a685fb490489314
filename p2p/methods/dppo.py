"""Distributed PPO (Heess et al. 2017): one policy, gradients averaged over domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2p.core.soundness import is_finite, not_finite
from p2p.engine import NOTHING, Engine, Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.methods.base import A2, Method

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.exchange.base import Exchange

ONE = np.ones(1, np.float32)


class DPPO(Method):
    """Every peer holds a replica and takes the same step from the same mean gradient.

    There is no central learner: the replicas start equal, are moved by equal vectors
    averaged in equal order, and so stay equal bit for bit. Advantages are normalised by
    each peer on its own minibatch. If one peer's samples or gradient are not finite it says so
    beside its gradient, and all replicas go back together.
    """

    label, colour, dash, marker = "Distributed PPO", "#009E73", (0, (3, 1, 1, 1)), "^"
    learning_rate, exchanges = 3e-4, "gradients"
    objective, source = "mean over peers of L_PPO", "4.2; Heess et al. 2017"
    default_sources: ClassVar = {"learning_rate": A2}

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        super().__init__(config, engine, exchange)
        self._back = False  # whether this peer goes back in this iteration
        self._failed = False  # and the others have not been told

    @classmethod
    def slot_bytes(cls, config: TrainConfig, obs_dim: int, num_actor: int, num_critic: int) -> int:
        """Both gradients travel together, and whether they are finite."""
        return 4 * (num_actor + num_critic + 1)

    def begin_iteration(self, batch: Batch) -> None:
        """Remember whether this peer has gone back already, since its samples are not finite."""
        self._back = self._failed = self.skip_updates

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
        own = np.concatenate((engine.actor_grad, engine.critic_grad, ONE))
        if self._failed or not is_finite(own):
            own[:] = 0.0
        shown = self.exchange(own)
        if self.skip_updates and not self._failed:  # as all replicas do
            return True
        if not shown[:, -1].all():
            return self._all_go_back(shown[:, -1] == 0)
        mean = shown.mean(axis=0)
        split = len(engine.actor_grad)
        engine.actor_grad[:], engine.critic_grad[:] = mean[:split], mean[split:-1]
        self._back = self._failed = not engine.apply()
        return not self._failed

    def _all_go_back(self, failed: NDArray[np.bool_]) -> bool:
        """Return whether this peer need not go back, since it does already.

        Args:
            failed: [K], whose numbers are not finite.
        """
        back, self._back, self._failed = self._back, True, False
        ranks = ", ".join(map(str, np.flatnonzero(failed)))
        self.blamed = f"samples or gradient of peer {ranks} are not finite"
        return back

    def end_iteration(self, iteration: int) -> bool:
        """Find out whether a peer's replica is not finite, or went back at the last step."""
        failed = self._failed or bool(not_finite(self.engine.state()))
        shown = self.exchange(np.array([failed], np.float32))[:, 0]
        return not shown.any() or self._all_go_back(shown != 0)

    def replicas(self) -> Sequence[NDArray[np.generic]]:
        """Return actor and critic."""
        return self.engine.actor, self.engine.critic
