"""DnC (Ghosh et al. 2018): locals held to one another, distilled and reset now and then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from p2p.core.rng import Purpose, keyed_generator
from p2p.core.validation import Count, Rate
from p2p.engine import Engine, Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.methods.base import A2, MANY, Distilling, Method
from p2p.policy.parameters import Floats

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.exchange.base import Exchange

GHOSH = "Ghosh et al. 2018, their code"


class DnC(Method):
    """Symmetric KL to the others on own and others' states; every R iterations a reset.

    Every `distill_every` iterations, and at the end of training, a centre is fitted by
    supervision to the locals on the pooled states of the iteration, each state with the
    policy that saw it, and the locals are reset to it: critics and log-std are kept,
    Adam's moments start anew. Every peer computes the same centre from what all showed.
    """

    label, colour, dash, marker = "DnC", "#E69F00", (0, (6, 1, 1, 1, 1, 1)), "v"
    peers, exchanges = (2, MANY), "actor, states"
    objective, source = "L_PPO + alpha symmetric KL; reset every R", "4.2; Ghosh et al. 2018"
    penalty_kl = (
        "KL(pi_i || pi_k) + KL(pi_k || pi_i) on own and others' states, mean over the other peers"
    )
    end_counts = "DnC distils once more at its end"
    default_sources: ClassVar = {
        "learning_rate": A2,
        "distill_coef": A2,
        "distill_every": GHOSH,
        "distill_epochs": GHOSH,
        "distill_loss": GHOSH,
        "distill_learning_rate": "ours",
    }

    class Settings(Distilling):
        """Settings of DnC."""

        distill_every: Count = Field(
            50,
            description="R of DnC: iterations between distilling the centre and resetting to it.",
        )
        distill_epochs: Count = Field(30, description="DnC: epochs of a distillation.")
        distill_learning_rate: Rate = Field(1e-3, description="DnC: Adam's step in distillation.")
        distill_loss: Literal["mse", "kl"] = Field(
            "mse", description="DnC: squared error of the means, or KL(local || centre)."
        )

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        super().__init__(config, engine, exchange)
        self.centre = engine.actor.copy()

    @classmethod
    def slot_bytes(cls, config: TrainConfig, obs_dim: int, num_actor: int, num_critic: int) -> int:
        """States travel once an iteration."""
        return 4 * max(num_actor, config.steps_per_peer * obs_dim)

    def begin_iteration(self, batch: Batch) -> None:
        """Show the own states to all."""
        shape = (self.exchange.num_peers, *batch.obs.shape)
        self._states = self.exchange(batch.obs.reshape(-1)).reshape(shape).copy()
        self._foreign = self._states[self.exchange.others]

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Hold to every other peer on own states and on as many of each other's."""
        others = self.exchange.with_others(self.engine.actor)
        states = self._foreign[:, minibatch.index].reshape(-1, self._foreign.shape[-1])
        coef = self.settings.distill_coef
        return Penalty(coef, others, symmetric=True, states=states)

    def end_iteration(self, iteration: int) -> None:
        """Distil and reset where it is due."""
        done, config = iteration + 1, self.config
        if done % self.settings.distill_every and done != config.num_iterations:
            return
        locals_ = self.exchange(self.engine.actor)
        rng = keyed_generator(config.seed, Purpose.DISTIL, iteration)
        from p2p.methods.distillation import distill  # brings torch

        self.centre = distill(
            self.centre, locals_, self._states, self.engine.action_dim, config, self.settings, rng
        )
        self._reset()

    def _reset(self) -> None:
        """Put the centre in the local's place."""
        engine, state = self.engine, self.engine.state()
        log_std = slice(-engine.action_dim, None)
        kept = state["actor"][log_std]
        state["actor"] = self.centre.copy()
        state["actor"][log_std] = kept
        for name in ("actor_step", "actor_exp_avg", "actor_exp_avg_sq"):
            state[name] = np.zeros_like(state[name])
        engine.load_state(state)

    def replicas(self) -> Sequence[NDArray[np.generic]]:
        """Return the centre."""
        return (self.centre,)

    def final_actor(self) -> Floats:
        """The centre is what is evaluated."""
        return self.centre

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the centre."""
        return {"centre": self.centre.copy()}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continue from what `state` returned."""
        self.centre = np.array(state["centre"], np.float32)
