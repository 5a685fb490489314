"""The strategy seam: what a method may decide."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.engine import Engine, Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.exchange.shared_memory import Exchange
from p2p.policy.policy import Floats

Array = NDArray[np.float64]


class Method(ABC):
    """One peer's part in a method.

    Every peer calls the same hooks in the same order, so a hook may exchange.

    Attributes:
        sits_out: set while this peer must take no step (it was rolled back); it still
            exchanges, since the others wait for it.
    """

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        self.config, self.engine, self.exchange = config, engine, exchange
        self.sits_out = False

    @classmethod
    def slot_bytes(cls, config: TrainConfig, obs_dim: int, num_actor: int, num_critic: int) -> int:
        """Return the room that the largest exchange of one peer takes, bytes."""
        return 4 * num_actor

    def shape_reward(self, reward: Array, obs: Floats, action: Floats, log_prob: Floats) -> Array:
        """Return what is learned from in place of `reward`, before advantages are estimated.

        What is reported, and the scale of rewards, stay the task's.

        Args:
            reward: [T, N], scaled.
            obs, action: [S, n] normalised, [S, A] as sampled; S = T * N.
            log_prob: log pi(a|s) of the policy that collected, [S], nats.
        """
        return reward

    def begin_iteration(self, batch: Batch) -> None:
        """Act once the iteration's samples are there, before its first minibatch."""

    def begin_epoch(self) -> None:
        """Act before the first minibatch of each epoch."""

    def distance(self, moved: float) -> float:
        """Return how far the policy has moved in an epoch, KL(pi_old || pi) in nats.

        Args:
            moved: by this peer's samples, nats.
        """
        return moved

    @abstractmethod
    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Return what is added to the PPO loss of `minibatch`; it may exchange for that.

        Also called outside training, to look at the gradient of the loss: it changes nothing that
        outlives the iteration.
        """

    def update(self, minibatch: Minibatch) -> bool:
        """Take this peer's step on `minibatch` (lines 12-15 of Algorithm 1).

        Returns:
            False, having changed nothing, if its gradient was not finite.
        """
        return self.step(minibatch, self.penalty(minibatch))

    def step(self, minibatch: Minibatch, penalty: Penalty) -> bool:
        """Take the engine's step, unless this peer sits out."""
        return self.sits_out or self.engine.step(minibatch, penalty)

    def end_iteration(self, iteration: int) -> None:
        """Act after the iteration's last minibatch."""

    def final_actor(self) -> Floats:
        """Return the flat parameters that are evaluated and saved as this peer's policy."""
        return self.engine.actor

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what the method carries from one iteration to the next."""
        return {}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continue from what `state` returned."""
