"""Distral (Teh et al. 2017): locals held to a centre that is distilled from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.engine import Adam, Engine, Penalty
from p2p.engine.batch import Minibatch
from p2p.exchange.shared_memory import Exchange
from p2p.methods.base import Array, Method
from p2p.policy.policy import Floats


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

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        super().__init__(config, engine, exchange)
        self.centre = engine.actor.copy()
        self.adam = Adam(len(self.centre), config.adam_eps)
        self._gradient = np.zeros_like(self.centre)

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull the local towards the centre, in the form that adds a penalty."""
        # A coefficient of 0 leaves the gradient as it is, and the KL in the journal.
        coef = self.config.distill_coef if self.config.distral_form == "penalty" else 0.0
        return Penalty(coef, self.centre[None])

    def shape_reward(self, reward: Array, obs: Floats, action: Floats, log_prob: Floats) -> Array:
        """Add what the regularised return adds, in the form that shapes rewards."""
        config = self.config
        if config.distral_form == "penalty":
            return reward
        own = log_prob.astype(np.float64)
        centre = self.engine.log_prob(self.centre, obs, action).astype(np.float64)
        shaping = config.distral_kl_coef * (centre - own) - config.distral_entropy_coef * own
        return reward + shaping.reshape(reward.shape)

    def update(self, minibatch: Minibatch) -> bool:
        """Step the local towards the centre, and the centre towards all locals."""
        self.engine.distil_gradient(self.centre, minibatch, self._gradient)
        sound = super().update(minibatch)
        mean = self.exchange(self._gradient).mean(axis=0)
        rate = self.engine.learning_rate
        self.adam.step(self.centre, mean, rate, self.config.max_grad_norm)
        return sound

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
