"""The reference engine: torch autograd, one readable step. Edit this to try a new loss."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
import torch._dynamo  # torch.optim imports it at first use, for 2 s: here the fork server does
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from p2p.core.config import TrainConfig
from p2p.engine import STATS, Batch, Minibatch, Penalty, initial_parameters, losses
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.parameters import Floats, Layout, actor_layout, critic_layout

Arrays = dict[str, NDArray[np.generic]]


def mlp(params: dict[str, Tensor], x: Tensor) -> Tensor:
    """Apply the two-layer tanh MLP to `x` [B, n]."""
    for i in (1, 2):
        x = torch.tanh(functional.linear(x, params[f"w{i}"], params[f"b{i}"]))
    return functional.linear(x, params["w3"], params["b3"])


def norm(grad: Tensor) -> float:
    """Return the Euclidean norm, summed in float64 where float32 is too small for squares."""
    found = float(torch.linalg.vector_norm(grad))
    if math.isfinite(found):
        return found
    return float(torch.linalg.vector_norm(grad, dtype=torch.float64))


class Network:
    """A flat parameter vector, its gradient, its Adam, and weights that are views of both."""

    def __init__(self, layout: Layout, flat: Floats, config: TrainConfig) -> None:
        self.layout = layout
        self.flat = torch.from_numpy(flat)
        self.grad = torch.zeros_like(self.flat)
        self.weights: dict[str, Tensor] = {}
        grads = layout.views(self.grad)
        for name, view in layout.views(self.flat).items():
            # A leaf of its own over the flat storage: backward adds into the flat gradient.
            self.weights[name] = view.detach().requires_grad_()
            self.weights[name].grad = grads[name]
        self.flat.grad = self.grad
        self.adam = torch.optim.Adam([self.flat], lr=config.learning_rate, eps=config.adam_eps)
        self.adam.state[self.flat] = {
            "step": torch.zeros(()),
            "exp_avg": torch.zeros_like(self.flat),
            "exp_avg_sq": torch.zeros_like(self.flat),
        }

    def moments(self) -> dict[str, Tensor]:
        """Return Adam's state: step, exp_avg, exp_avg_sq."""
        return cast(dict[str, Tensor], self.adam.state[self.flat])

    def frozen(self, flat: Floats) -> dict[str, Tensor]:
        """Return the weights of other parameters, without gradient."""
        return cast(dict[str, Tensor], self.layout.views(torch.from_numpy(flat)))


class AutogradEngine:
    """See `p2p.engine.Engine`."""

    def __init__(self, config: TrainConfig, obs_dim: int, action_dim: int) -> None:
        self.config = config
        self.learning_rate, self.action_dim = config.learning_rate, action_dim
        actor, critic = initial_parameters(config, obs_dim, action_dim)
        layout = actor_layout(obs_dim, config.hidden_sizes, action_dim)
        self._actor = Network(layout, actor, config)
        self._critic = Network(critic_layout(obs_dim, config.hidden_sizes), critic, config)
        self.actor, self.critic = self._actor.flat.numpy(), self._critic.flat.numpy()
        self.actor_grad, self.critic_grad = self._actor.grad.numpy(), self._critic.grad.numpy()
        self.stats = np.zeros(len(STATS))
        self.set_normaliser(Normaliser.of(Moments.zeros(obs_dim), config.obs_clip))

    def set_normaliser(self, normaliser: Normaliser) -> None:
        self.normaliser = normaliser

    @torch.no_grad()
    def act(self, obs: NDArray[np.float64], noise: Floats, action: Floats) -> None:
        weights = self._actor.weights
        mean = mlp(weights, torch.from_numpy(self.normaliser(obs)))
        out = torch.from_numpy(action)
        torch.addcmul(mean, torch.exp(weights["log_std"]), torch.from_numpy(noise), out=out)

    def evaluate(self, obs: Floats, action: Floats) -> tuple[Floats, Floats]:
        return self.log_prob(self.actor, obs, action), self.value(obs)

    @torch.no_grad()
    def log_prob(self, actor: Floats, obs: Floats, action: Floats) -> Floats:
        weights = self._actor.frozen(actor)
        mean = mlp(weights, torch.from_numpy(obs))
        log_prob = losses.log_prob(mean, weights["log_std"], torch.from_numpy(action))
        return cast(Floats, log_prob.numpy())

    @torch.no_grad()
    def value(self, obs: Floats) -> Floats:
        value = mlp(self._critic.weights, torch.from_numpy(obs)).squeeze(-1)
        return cast(Floats, value.numpy())

    def begin_epoch(self, batch: Batch, order: NDArray[np.int64], awaiting: bool = False) -> None:
        pass

    def end_epoch(self) -> None:
        pass

    def gradient(self, minibatch: Minibatch, penalty: Penalty) -> None:
        rows = torch.from_numpy(minibatch.index)
        obs, action, old_log_prob, old_value, advantage, target = (
            torch.from_numpy(column)[rows] for column in minibatch.batch
        )
        if self.config.normalise_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)

        weights = self._actor.weights
        mean, log_std = mlp(weights, obs), weights["log_std"]
        log_prob = losses.log_prob(mean, log_std, action)
        surrogate = losses.clipped_surrogate(log_prob, old_log_prob, advantage, self.config.clip)
        kl = self._kl(obs, mean, log_std, penalty)
        extra = penalty.coef * kl - penalty.entropy_coef * losses.entropy(log_std)

        value = mlp(self._critic.weights, obs).squeeze(-1)
        value_clip = self.config.clip if self.config.value_clip else None
        value_loss = losses.value_loss(value, target, old_value, value_clip)

        self._actor.grad.zero_()
        self._critic.grad.zero_()
        # The networks share no parameter, so the gradient of the sum is that of each loss.
        cast(Any, surrogate + extra + value_loss).backward()
        self._record(surrogate, value_loss, kl, log_prob.detach() - old_log_prob)

    def _kl(self, obs: Tensor, mean: Tensor, log_std: Tensor, penalty: Penalty) -> Tensor:
        """Return the KL to the anchors that eq. 4 weighs by alpha; 0 without anchors."""
        if penalty.anchors is None or not len(penalty.anchors):
            return mean.new_zeros(())
        if penalty.states is not None:
            states = torch.from_numpy(penalty.states)
            obs, mean = (
                torch.cat((obs, states)),
                torch.cat((mean, mlp(self._actor.weights, states))),
            )
        peers = []
        with torch.no_grad():
            for anchor in penalty.anchors:
                other = self._actor.frozen(anchor)
                peers.append((mlp(other, obs), other["log_std"]))
        return losses.distillation(mean, log_std, peers, penalty.symmetric)

    @torch.no_grad()
    def _record(self, surrogate: Tensor, value: Tensor, kl: Tensor, log_ratio: Tensor) -> None:
        ratio = torch.exp(log_ratio)
        approx_kl = (ratio - 1.0 - log_ratio).mean()  # Schulman's k3 estimator of KL(old || new)
        outside = (torch.abs(ratio - 1.0) > self.config.clip).float().mean()
        norms = (norm(network.grad) for network in (self._actor, self._critic))
        row = (surrogate, value, kl, approx_kl, outside)
        self.stats += (*(x.item() for x in row), *norms, 1.0)

    def apply(self) -> bool:
        networks = (self._actor, self._critic)
        norms = [norm(network.grad) for network in networks]
        if not np.isfinite(norms).all():
            return False
        for network, length in zip(networks, norms, strict=True):
            network.grad.mul_(min(1.0, self.config.max_grad_norm / (length + 1e-6)))
            network.adam.param_groups[0]["lr"] = self.learning_rate
            network.adam.step()
        return all(bool(torch.isfinite(network.flat).all()) for network in networks)

    def step(self, minibatch: Minibatch, penalty: Penalty) -> bool:
        self.gradient(minibatch, penalty)
        return self.apply()

    def distill_gradient(self, student: Floats, minibatch: Minibatch, out: Floats) -> None:
        obs = torch.from_numpy(minibatch.batch.obs)[torch.from_numpy(minibatch.index)]
        flat = torch.from_numpy(student).clone().requires_grad_()
        pupil = self._actor.layout.views(flat)
        with torch.no_grad():
            own = mlp(self._actor.weights, obs), self._actor.weights["log_std"]
        kl = losses.gaussian_kl(*own, mlp(pupil, obs), pupil["log_std"]).mean()
        (grad,) = torch.autograd.grad(kl, flat)
        out[:] = grad.numpy()

    def state(self) -> Arrays:
        out: Arrays = {}
        for name, network in (("actor", self._actor), ("critic", self._critic)):
            out[name] = network.flat.numpy().copy()
            for key, value in network.moments().items():
                out[f"{name}_{key}"] = value.numpy().copy()
        return out

    def load_state(self, state: Arrays) -> None:
        for name, network in (("actor", self._actor), ("critic", self._critic)):
            network.flat.copy_(torch.from_numpy(state[name]))
            for key, value in network.moments().items():
                value.copy_(torch.from_numpy(np.asarray(state[f"{name}_{key}"])))
