"""An oracle: peers as a textbook would write them, all in one process, slow and plain.

The paper's listing is `algorithm_1`; a rule is what a method does with one minibatch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from p2p.cohort import cohort
from p2p.cohort.events import Started
from p2p.core.config import TrainConfig
from p2p.core.rng import Purpose, keyed_generator
from p2p.engine import losses
from p2p.envs.randomisation import sample_domain
from p2p.envs.vector import RandomisedEnvs
from p2p.peer.reports import split_by_peer
from p2p.peer.rollout import gae, reward_scale
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.parameters import actor_layout, critic_layout, init_parameters


def trained(config: TrainConfig, out: Path) -> list[dict[str, np.ndarray]]:
    """Train with one process a peer; return each peer's final state."""
    for event in cohort.train(config, out=out):
        if isinstance(event, Started):
            run = event.run
    checkpoint = run.load_checkpoint()
    assert checkpoint is not None
    return split_by_peer(checkpoint.tensors, config.num_peers)


class PlainPeer:
    """A peer as a textbook would write it: torch modules, one array at a time."""

    def __init__(self, config: TrainConfig, rank: int) -> None:
        self.rank, self.config = rank, config
        self.envs = RandomisedEnvs(config.task, config.envs_per_peer)
        n, a = self.envs.obs_dim, self.envs.action_dim
        rng = keyed_generator(config.seed, Purpose.INIT)
        theta = init_parameters(actor_layout(n, (64, 64), a), 0.01, config.init_log_std, rng)
        phi = init_parameters(critic_layout(n, (64, 64)), 1.0, 0.0, rng)
        self.log_std = nn.Parameter(torch.from_numpy(theta[-a:].copy()))
        self.actor, self.critic = self.mlp(n, a, theta[:-a]), self.mlp(n, 1, phi)
        self.theta = [*self.actor.parameters(), self.log_std]
        self.phi = list(self.critic.parameters())
        self.optimisers = [
            torch.optim.Adam(p, lr=config.learning_rate, eps=config.adam_eps)
            for p in (self.theta, self.phi)
        ]
        self.discounted = np.zeros(config.envs_per_peer)
        self.shape: Callable[[PlainPeer, np.ndarray], np.ndarray] = lambda _, rewards: rewards

    @staticmethod
    def mlp(inputs: int, outputs: int, flat: np.ndarray) -> nn.Sequential:
        net = nn.Sequential(
            nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs)
        )
        nn.utils.vector_to_parameters(torch.from_numpy(flat.copy()), net.parameters())
        return net

    def collect(self, iteration: int, normaliser: Normaliser) -> None:
        """Lines 6 and 7."""
        config, envs = self.config, self.envs
        T, N = config.horizon, config.envs_per_peer

        def stream(purpose: Purpose) -> np.random.Generator:
            return keyed_generator(config.seed, purpose, self.rank, iteration)

        envs.set_domains([sample_domain(stream(Purpose.DOMAIN), config.eps_tr, 1, envs.action_dim)])
        envs.reset(
            [
                keyed_generator(config.seed, Purpose.RESET, self.rank, iteration, env)
                for env in range(N)
            ]
        )
        noise = stream(Purpose.ACTION).standard_normal((T, N, envs.action_dim), np.float32)
        self.shuffle = stream(Purpose.SHUFFLE)
        self.obs, self.action, self.reward, ended, self.fallen = [], [], [], [], []
        self.cut: dict[tuple[int, int], np.ndarray] = {}
        for t in range(T):
            self.obs.append(envs.obs.copy())
            mean = self.actor(torch.from_numpy(normaliser(envs.obs)))
            step = torch.from_numpy(noise[t])
            action = torch.addcmul(mean, self.log_std.exp(), step).detach().numpy()
            self.action.append(action)
            envs.step(np.clip(action, envs.action_low, envs.action_high))
            self.reward.append(envs.reward.copy())
            self.fallen.append(envs.terminated.copy())
            ended.append(envs.terminated | envs.truncated)
            for n in np.flatnonzero(envs.truncated):
                self.cut[t, n] = envs.final_obs[n].copy()
        self.obs, self.action, self.reward = map(np.stack, (self.obs, self.action, self.reward))
        self.ended, self.fallen, self.last = np.stack(ended), np.stack(self.fallen), envs.obs.copy()
        self.discounted[:] = 0
        returns = np.zeros((T, N))
        for t in range(T):
            self.discounted = self.discounted * config.discount + self.reward[t]
            returns[t] = self.discounted
            self.discounted = np.where(self.ended[t], 0.0, self.discounted)
        self.new_obs = Moments.of(self.obs.reshape(T * N, -1))
        self.new_returns = Moments.of(returns.reshape(-1, 1))

    @torch.no_grad()
    def prepare(self, normaliser: Normaliser, scale: float) -> None:
        """Line 14, and what eq. 2 needs of the policy that collected."""
        T, N = self.reward.shape
        self.x = torch.from_numpy(normaliser(self.obs).reshape(T * N, -1))
        self.a = torch.from_numpy(self.action.reshape(T * N, -1))
        self.old = losses.log_prob(self.actor(self.x), self.log_std, self.a)
        value = self.critic(self.x).numpy().reshape(T, N).astype(np.float64)
        ends = np.stack([*self.last, *self.cut.values()])
        following = self.critic(torch.from_numpy(normaliser(ends))).numpy().ravel()
        after = np.concatenate([value[1:], following[None, :N]])
        for (t, n), v in zip(self.cut, following[N:], strict=True):
            after[t, n] = v
        after[self.fallen] = 0.0
        rewards = self.shape(self, self.reward / scale)
        c = self.config
        advantage = gae(rewards, value, after, self.ended, c.discount, c.gae_lambda)
        self.advantage, self.target = (
            torch.from_numpy(x.reshape(-1).astype(np.float32))
            for x in (advantage, advantage + value)
        )

    def shown(self) -> PlainPeer:
        """A frozen copy of the policy, as the others see it."""
        copy = object.__new__(PlainPeer)
        flat = nn.utils.parameters_to_vector(self.actor.parameters()).detach().numpy()
        copy.actor = self.mlp(self.envs.obs_dim, self.envs.action_dim, flat)
        copy.log_std = self.log_std.detach().clone()
        return copy

    def policy_loss(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Eq. 2 on a minibatch; return it with the states and the means there."""
        rows, config = torch.from_numpy(index), self.config
        x, advantage = self.x[rows], self.advantage[rows]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        mean = self.actor(x)
        log_prob = losses.log_prob(mean, self.log_std, self.a[rows])
        loss = losses.clipped_surrogate(log_prob, self.old[rows], advantage, config.clip)
        return loss, x, mean

    def value_loss(self, index: np.ndarray) -> Tensor:
        """The MSE of line 15."""
        rows = torch.from_numpy(index)
        value = self.critic(self.x[rows]).squeeze(-1)
        return losses.value_loss(value, self.target[rows], value.detach())

    def step(self, loss: Tensor, value_loss: Tensor) -> None:
        """Lines 13 and 15."""
        for objective, optimiser in zip((loss, value_loss), self.optimisers, strict=True):
            optimiser.zero_grad()
            objective.backward()
        self.apply()

    def apply(self) -> None:
        """Clip each network's gradient, and step."""
        for parameters, optimiser in zip((self.theta, self.phi), self.optimisers, strict=True):
            norm = torch.cat([p.grad.flatten() for p in parameters]).norm().item()
            for p in parameters:
                p.grad *= min(1.0, self.config.max_grad_norm / (norm + 1e-6))
            optimiser.step()

    def flat(self) -> np.ndarray:
        """The actor's parameters as p2p lays them out."""
        return nn.utils.parameters_to_vector(self.theta).detach().numpy()


Rule = Callable[[list[PlainPeer], list[np.ndarray]], None]


def p2pdrl(peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
    """Eq. 4; only line 11 is Jacobi: all look before anyone steps."""
    shown = [peer.shown() for peer in peers]
    for i, peer in enumerate(peers):  # 11
        loss, x, mean = peer.policy_loss(minibatch[i])
        others = [other for k, other in enumerate(shown) if k != i]
        if others:
            with torch.no_grad():
                seen = [(k.actor(x), k.log_std) for k in others]
            kl = losses.distillation(mean, peer.log_std, seen)
            loss = loss + peer.config.get("distill_coef") * kl
        peer.step(loss, peer.value_loss(minibatch[i]))  # 12-15


def alone(peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
    """PPO, whatever the others do."""
    for peer, index in zip(peers, minibatch, strict=True):
        peer.step(peer.policy_loss(index)[0], peer.value_loss(index))


def algorithm_1(config: TrainConfig, rule: Rule = p2pdrl) -> list[PlainPeer]:
    """The paper's listing, peers in turn in one process.

    In one thread, as the peers: sums over more of them have other bits.
    """
    torch.set_num_threads(1)
    peers = [PlainPeer(config, i) for i in range(config.num_peers)]  # 1-3
    for peer in peers:
        peer.shape = getattr(rule, "shape", peer.shape)
    obs, returns = Moments.zeros(peers[0].envs.obs_dim), Moments.zeros(1)
    for iteration in range(config.num_iterations):  # 4
        normaliser = Normaliser.of(obs, config.obs_clip)
        for peer in peers:  # 5
            peer.collect(iteration, normaliser)  # 6-7
        for peer in peers:
            obs, returns = obs.merged(peer.new_obs), returns.merged(peer.new_returns)
        for peer in peers:
            peer.prepare(normaliser, reward_scale(returns))  # 14
        for _ in range(config.num_epochs):  # 9
            orders = [
                p.shuffle.permutation(config.steps_per_peer).reshape(config.num_minibatches, -1)
                for p in peers
            ]
            for m in range(config.num_minibatches):  # 10
                rule(peers, [order[m] for order in orders])  # 11-16
    return peers
