"""The fast engine: one compiled call from a minibatch to both networks' Adam steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.jit import specialise
from p2p.engine import NOTHING, STATS, Batch, Minibatch, Penalty, initial_parameters, kernels
from p2p.engine.acting import RowPolicy
from p2p.engine.ahead import CriticAhead
from p2p.engine.anchors import Anchors
from p2p.engine.kernels import Acting, Gathered, Settings
from p2p.engine.matmul import Array
from p2p.engine.network import Net, Sizes, Workspace
from p2p.policy.normaliser import Moments, Normaliser

CHUNK = 128  # samples that `evaluate` takes at a time, so that all it touches stays in L2


class FusedEngine:
    """See `p2p.engine.Engine`.

    Args:
        dtype: of all that it computes; float64 is for checking gradients.
        threads: that it may compute in; with two, the critic's steps go ahead of the actor's.
    """

    def __init__(
        self,
        config: TrainConfig,
        obs_dim: int,
        action_dim: int,
        dtype: Any = np.float32,
        threads: int = 1,
    ) -> None:
        self.config, self.dtype = config, dtype
        self.learning_rate, self.action_dim = config.learning_rate, action_dim
        actor, critic = initial_parameters(config, obs_dim, action_dim)
        self._actor, self._critic = Net.of(actor.astype(dtype)), Net.of(critic.astype(dtype))
        self.actor, self.critic = self._actor.flat, self._critic.flat
        self.actor_grad, self.critic_grad = self._actor.grad, self._critic.grad
        self.stats = np.zeros(len(STATS))
        self._sizes: Sizes = (obs_dim, *config.hidden_sizes, action_dim)
        self._compiled_step: Callable[..., bool] | None = None
        self._compiled_actor_step: Callable[..., bool] | None = None
        self._ahead = CriticAhead(threads > 1)
        self._batch: Batch | None = None
        self._rooms: dict[tuple[int, int], tuple[Workspace, Gathered]] = {}
        self._no_anchors = Anchors(
            np.zeros((0, len(self.actor)), dtype), np.zeros((0, obs_dim), dtype),
            np.zeros((0, 0, action_dim), dtype), np.zeros(0, np.bool_),
        )  # fmt: skip
        self._fixed: tuple[Batch, Array, tuple[Array, NDArray[np.bool_]]] | None = None
        self.set_normaliser(Normaliser.of(Moments.zeros(obs_dim), config.obs_clip))

    def _room(self, samples: int, thread: int = 0) -> tuple[Workspace, Gathered]:
        """Return where a pass over this many samples computes; the same for the same number."""
        key = samples, thread
        if key not in self._rooms:
            self._rooms[key] = (
                Workspace.of(samples, self._sizes, self.dtype),
                Gathered.of(samples, self._sizes[3], self.dtype),
            )
        return self._rooms[key]

    def set_normaliser(self, normaliser: Normaliser) -> None:
        self.normaliser = normaliser

    def act(self, obs: NDArray[np.float64], noise: Array, action: Array) -> None:
        kernels.act(self.acting(len(obs)), obs, noise, action)

    def acting(self, samples: int) -> Acting:
        """Return the policy as `act` takes it, with room for so many observations."""
        room, _ = self._room(samples)
        return Acting(self.actor, self._sizes, room.x, room.own, *self.normaliser)

    def row_policy(self, rows: int) -> RowPolicy:
        """Return a copy of the policy as compiled rollouts take it, for so many observations."""
        policy = RowPolicy.of(rows, self._sizes, self.normaliser, self.dtype)
        policy.load(self.actor, self._sizes)
        return policy

    def evaluate(self, obs: Array, action: Array) -> tuple[Array, Array]:
        return self.log_prob(self.actor, obs, action), self.value(obs)

    def log_prob(self, actor: Array, obs: Array, action: Array) -> Array:
        log_prob = np.empty(len(obs), self.dtype)
        kernels.evaluate(actor, self._sizes, *self._room(CHUNK), obs, action, log_prob)
        return log_prob

    def value(self, obs: Array) -> Array:
        value = np.empty(len(obs), self.dtype)
        kernels.value(self.critic, self._sizes, self._room(CHUNK)[0], obs, value)
        return value

    def begin_epoch(self, batch: Batch, order: NDArray[np.int64], awaiting: bool = False) -> None:
        if not (self._ahead.has_thread or awaiting):
            return
        self._take(batch)
        config = self.config
        self._ahead.begin(
            self._critic, self._sizes, *self._room(order.shape[1], 1), self._columns,
            np.ascontiguousarray(order, np.int64), self._settings(NOTHING),
            config.max_grad_norm, self.learning_rate, config.adam_eps,
        )  # fmt: skip

    def end_epoch(self) -> None:
        self._ahead.end()

    def gradient(self, minibatch: Minibatch, penalty: Penalty) -> None:
        if self._ahead.runs:
            raise RuntimeError("the critic steps ahead of the actor in this epoch: use step")
        self._step(minibatch, penalty, False)

    def step(self, minibatch: Minibatch, penalty: Penalty) -> bool:
        if not self._ahead.runs:
            return self._step(minibatch, penalty, True)
        config, (index, anchors) = self.config, self._arguments(minibatch, penalty)
        args = (
            self._actor, self._sizes, *self._room(len(index) + len(anchors.states)), self._columns,
            index, anchors, self._settings(penalty), self.stats, config.max_grad_norm,
            self.learning_rate, config.adam_eps,
        )  # fmt: skip
        if self._compiled_actor_step is None:
            self._compiled_actor_step = specialise(kernels.actor_step, *args)
        stepped = self._compiled_actor_step(*args)
        return self._ahead.follow(self.stats) and stepped

    def _take(self, batch: Batch) -> None:
        """Make `batch` the one that steps read from."""
        if batch is not self._batch:
            self._batch = batch
            self._columns = Batch(*map(self._given, batch))

    def _settings(self, penalty: Penalty) -> Settings:
        config = self.config
        return Settings(
            config.clip, config.clip if config.value_clip else math.inf,
            config.normalise_advantage, penalty.coef, penalty.symmetric, penalty.entropy_coef,
        )  # fmt: skip

    def _arguments(
        self, minibatch: Minibatch, penalty: Penalty
    ) -> tuple[NDArray[np.int64], Anchors]:
        """Return index and anchors as compiled code takes them."""
        self._take(minibatch.batch)
        anchors = self._no_anchors
        if penalty.anchors is not None and len(penalty.anchors):
            _, states, means, seen = anchors
            if penalty.fixed:
                means, seen = self._kept(minibatch.batch, penalty.anchors)
            # The reshapes raise if a row has the wrong length; the kernel would not notice.
            if penalty.states is not None:
                states = self._given(penalty.states).reshape(-1, self._sizes[0])
            flat = self._given(penalty.anchors).reshape(-1, len(self.actor))
            anchors = Anchors(flat, states, means, seen)
        return np.ascontiguousarray(minibatch.index, np.int64), anchors

    def _kept(self, batch: Batch, anchors: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return room for what these anchors say at the batch's states, the same at each call."""
        if self._fixed is None or self._fixed[0] is not batch or self._fixed[1] is not anchors:
            samples = len(batch.obs)
            means = np.empty((len(anchors), samples, self.action_dim), self.dtype)
            self._fixed = batch, anchors, (means, np.zeros(samples, np.bool_))
        return self._fixed[2]

    def _step(self, minibatch: Minibatch, penalty: Penalty, stepping: bool) -> bool:
        config, (index, anchors) = self.config, self._arguments(minibatch, penalty)
        args = (
            self._actor, self._critic, self._sizes, *self._room(len(index) + len(anchors.states)),
            self._columns, index, anchors, self._settings(penalty), self.stats,
            config.max_grad_norm, self.learning_rate, config.adam_eps, stepping,
        )  # fmt: skip
        if self._compiled_step is None:
            self._compiled_step = specialise(kernels.step, *args)
        return self._compiled_step(*args)

    def _given(self, array: Array) -> Array:
        """Return `array` as compiled code takes it, which does not look: mostly it is that."""
        return np.ascontiguousarray(array, self.dtype)

    def distill_gradient(self, student: Array, minibatch: Minibatch, out: Array) -> None:
        batch, index = minibatch.batch, minibatch.index
        room, _ = self._room(len(index))
        kernels.distill(self.actor, self._sizes, room, batch, index, student, out)

    def apply(self) -> bool:
        config = self.config
        return kernels.apply(
            self._actor, self._critic, config.max_grad_norm, self.learning_rate, config.adam_eps
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        out: dict[str, NDArray[np.generic]] = {}
        for name, net in (("actor", self._actor), ("critic", self._critic)):
            out[name] = net.flat.copy()
            out[f"{name}_step"] = net.step.reshape(()).copy()
            out[f"{name}_exp_avg"] = net.exp_avg.copy()
            out[f"{name}_exp_avg_sq"] = net.exp_avg_sq.copy()
        return out

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        self.end_epoch()
        for name, net in (("actor", self._actor), ("critic", self._critic)):
            net.flat[:] = cast(Array, state[name])
            net.step[:] = cast(Array, state[f"{name}_step"])
            net.exp_avg[:] = cast(Array, state[f"{name}_exp_avg"])
            net.exp_avg_sq[:] = cast(Array, state[f"{name}_exp_avg_sq"])
