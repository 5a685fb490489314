"""Distral (Teh et al. 2017): locals held to a centre that is distilled from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p.config import TrainConfig
from p2p.engine import Adam, Engine, Penalty
from p2p.exchange import Exchange
from p2p.methods.base import Method
from p2p.policy import Floats
from p2p.rollout import Minibatch


class Distral(Method):
    """Local i minimises L_PPO + alpha KL(pi_i || pi_0); pi_0 fits all pi_i by supervision.

    Every peer keeps a replica of the centre pi_0. At each minibatch it takes one Adam step
    on sum_i E_{s ~ pi_i} KL(stop-grad pi_i || pi_0): each peer adds the gradient on its own
    states, and the mean of them moves all replicas alike.
    """

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        super().__init__(config, engine, exchange)
        self.centre = engine.actor.copy()
        self.adam = Adam(len(self.centre), config.adam_eps)
        self._gradient = np.zeros_like(self.centre)

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Pull the local towards the centre."""
        return Penalty(self.config.distill_coef, self.centre[None])

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
