"""Distral (Teh et al. 2017): locals held to a centre that is distilled from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from p2p.core.soundness import is_finite
from p2p.core.validation import NonNegative
from p2p.engine import Adam, Engine, Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import A2, Array, Distilling, Method
from p2p.policy.parameters import Floats

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.exchange.base import Exchange


class Distral(Method):
    """Local i minimises L_PPO + alpha KL(pi_i || pi_0); pi_0 fits all pi_i by supervision.

    Every peer keeps a replica of the centre pi_0. At each minibatch it takes one Adam step
    on sum_i E_{s ~ pi_i} KL(stop-grad pi_i || pi_0): each peer adds the gradient on its own
    states, and the mean of them moves all replicas alike.

    With `distral_form` = `reward` nothing is added to the loss. Local i maximises the
    regularised return of Teh et al. (eq. 1), the sum over t of gamma^t times

        r + (alpha/beta) log pi_0(a|s) - (1/beta) log pi_i(a|s)
        = r + c_KL (log pi_0(a|s) - log pi_i(a|s)) - c_Ent log pi_i(a|s),

    with alpha = c_KL / (c_KL + c_Ent) and beta = 1 / (c_KL + c_Ent). pi_i is the policy that
    collected, pi_0 the centre then. r is the scaled reward, so that the coefficients mean
    the same on every task; the scale is taken from the task's rewards alone, which are also
    what is reported. The critic learns the regularised return. The difference from the
    penalty: it looks ahead, to where an action leads, and not at the own states alone.
    """

    label, colour, dash, marker = "Distral", "#CC79A7", (0, (1, 1)), "D"
    exchanges, critic_apart = "centre's gradient", True
    objective, source = "L_PPO + alpha KL(pi_i, pi_0)", "4.2; Teh et al. 2017"
    penalty_kl = "KL(pi_i || pi_0) to the centre, on own states"
    default_sources: ClassVar = {
        "learning_rate": A2,
        "distill_coef": A2,
        "distral_form": "4.2: constrained at each gradient step",
        "distral_kl_coef": "ours: holds Hopper's locals about as near as alpha = 1",
        "distral_entropy_coef": "ours",
    }

    class Settings(Distilling):
        """Settings of Distral."""

        distral_form: Literal["penalty", "reward"] = Field(
            "penalty",
            description="Distral: hold the locals to the centre by alpha KL in the loss, or by "
            "shaping their rewards (Teh et al. 2017, eq. 1).",
        )
        distral_kl_coef: NonNegative = Field(
            0.1, description="c_KL of Distral's shaped reward, nats to scaled reward."
        )
        distral_entropy_coef: NonNegative = Field(
            0.001, description="c_Ent of Distral's shaped reward, nats to scaled reward."
        )

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        super().__init__(config, engine, exchange)
        self.centre = engine.actor.copy()
        self.adam = Adam(len(self.centre), config.adam_eps)
        self._gradient = np.zeros_like(self.centre)

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull the local towards the centre, in the form that adds a penalty."""
        # A coefficient of 0 leaves the gradient as it is, and the KL in the journal.
        settings = self.settings
        coef = settings.distill_coef if settings.distral_form == "penalty" else 0.0
        return Penalty(coef, self.centre[None])

    def shape_reward(self, reward: Array, obs: Floats, action: Floats, log_prob: Floats) -> Array:
        """Add what the regularised return adds, in the form that shapes rewards."""
        settings = self.settings
        if settings.distral_form == "penalty":
            return reward
        own = log_prob.astype(np.float64)
        centre = self.engine.log_prob(self.centre, obs, action).astype(np.float64)
        shaping = settings.distral_kl_coef * (centre - own) - settings.distral_entropy_coef * own
        shaped: Array = reward + shaping.reshape(reward.shape)
        return shaped

    def update(self, minibatch: Minibatch) -> bool:
        """Step the local towards the centre, and the centre towards all locals."""
        self.engine.distill_gradient(self.centre, minibatch, self._gradient)
        finite = is_finite(self._gradient)
        if not finite:  # none is shown that is not
            self._gradient[:] = 0.0
        sound = super().update(minibatch)
        mean = self.exchange(self._gradient).mean(axis=0)
        rate = self.engine.learning_rate
        self.adam.step(self.centre, mean, rate, self.config.max_grad_norm)
        if is_finite(self.centre):
            return sound and (finite or self.skip_updates)
        self.blamed = "the centre is not finite"  # in all peers: all go back
        return False

    def replicas(self) -> Sequence[NDArray[np.generic]]:
        """Return the centre."""
        return (self.centre,)

    def final_actor(self) -> Floats:
        """The centre is what is evaluated."""
        return self.centre

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the centre and its optimiser."""
        return {"centre": self.centre.copy(), **self.adam.state()}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continue from what `state` returned."""
        self.centre[:] = state["centre"]
        self.adam.load_state(state)
