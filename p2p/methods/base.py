"""What a method may decide: the strategy that Algorithm 1 asks at each of its steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from p2p.core.validation import NonNegative
from p2p.engine import Engine, Penalty
from p2p.engine.batch import Batch, Minibatch
from p2p.policy.parameters import Floats

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.exchange.base import Exchange

Array = NDArray[np.float64]

MANY = 1024
A2 = "appendix A.2"  # of the paper


class MethodSettings(BaseModel):
    """Settings that one method alone has: a subclass adds fields, each with its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Distilling(MethodSettings):
    """Settings of a method that holds policies to one another."""

    distill_coef: NonNegative = Field(1.0, description="alpha, weight of eq. 3 (appendix A.2).")


class Method(ABC):
    """One peer's part in a method.

    Every peer calls the same hooks in the same order, so a hook may exchange.

    A subclass states in class attributes what else p2p must know of it; all have a default.

    Attributes:
        label: what figures and tables call it [the class's name].
        colour, dash, marker: how figures draw it [the next that is free].
        learning_rate, num_peers: their defaults with this method.
        peers: the least and the most peers that it takes.
        Settings: its own settings; `self.settings` holds their values.
        default_sources: where the defaults are from, by setting, for `p2p methods`.
        objective, exchanges, source: what it minimises, what a peer shows the others, and where
            it is from; for `p2p methods`.
        penalty_kl: which KL the journal's `penalty_kl` is; empty if nothing is penalised.
        end_counts: why its numbers depend on where the run is to end; empty if they do not.
        settings: the values of `Settings` in this run.
        critic_apart: set it if `update` is the class's own and moves the critic by `step` alone,
            once a minibatch: it may then step in a thread of its own.
        skip_updates: set while this peer must take no step (it was rolled back); it still
            exchanges, since the others wait for it.
        blamed: why a step was not finite, where `update` knows more than that.
    """

    label: ClassVar[str] = ""
    colour: ClassVar[str | None] = None
    dash: ClassVar[str | tuple[int, tuple[float, ...]]] = "-"
    marker: ClassVar[str] = "*"
    learning_rate: ClassVar[float] = 1e-4
    num_peers: ClassVar[int] = 2
    peers: ClassVar[tuple[int, int]] = (1, MANY)
    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    default_sources: ClassVar[Mapping[str, str]] = {}
    objective: ClassVar[str] = ""
    exchanges: ClassVar[str] = "actor"
    source: ClassVar[str] = ""
    penalty_kl: ClassVar[str] = ""
    end_counts: ClassVar[str] = ""
    critic_apart: ClassVar[bool] = False

    def __init__(self, config: TrainConfig, engine: Engine, exchange: Exchange) -> None:
        self.config, self.engine, self.exchange = config, engine, exchange
        self.settings: Any = self.Settings(**config.method_settings)
        self.skip_updates = False
        self.blamed = ""

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

    @classmethod
    def steps_critic_apart(cls) -> bool:
        """Return whether each minibatch moves the critic by one `step`, and nothing else does."""
        return cls.critic_apart or (cls.update is Method.update and cls.step is Method.step)

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

        It is also called outside training, to measure the gradient of the loss: it changes
        nothing that outlives the iteration.
        """

    def update(self, minibatch: Minibatch) -> bool:
        """Take this peer's step on `minibatch` (lines 12-15 of Algorithm 1).

        Returns:
            False if its gradient, or what it led to, was not finite: the peer then goes back to
            the state that the iteration began with.
        """
        return self.step(minibatch, self.penalty(minibatch))

    def step(self, minibatch: Minibatch, penalty: Penalty) -> bool:
        """Take the engine's step, unless this peer skips updates."""
        return self.skip_updates or self.engine.step(minibatch, penalty)

    def replicas(self) -> Sequence[NDArray[np.generic]]:
        """Return what all peers hold alike, bit for bit, when an iteration begins.

        Between machines its hash is compared: unequal processors could round differently.
        """
        return ()

    def end_iteration(self, iteration: int) -> bool | None:
        """Act after the iteration's last minibatch.

        Returns:
            False if something was not finite, here or in another peer: this peer then goes back
            to the state that the iteration began with.
        """
        return True

    def final_actor(self) -> Floats:
        """Return the flat parameters that are evaluated and saved as this peer's policy."""
        return self.engine.actor

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what the method carries from one iteration to the next."""
        return {}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continue from what `state` returned."""
