"""What a CleanRL user runs: the recipe of `ppo_continuous_action`, on Gymnasium or on EnvPool.

Written from its description (Huang et al. 2022, "The 37 implementation details of PPO"): one
file of torch eager, one optimiser for both networks, one norm clip, envs in a synchronous
vector with normalising wrappers. Where there is a choice, the faster one is taken.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from p2p.bench.physics import GYMNASIUM_IDS
from p2p.core.config import TrainConfig, build_config

OBS_LIMIT = REWARD_LIMIT = 10.0


def _layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _mlp(inputs: int, hidden: tuple[int, int], outputs: int, gain: float) -> nn.Sequential:
    h1, h2 = hidden
    return nn.Sequential(
        _layer(inputs, h1), nn.Tanh(), _layer(h1, h2), nn.Tanh(), _layer(h2, outputs, gain)
    )


class Agent(nn.Module):
    """Actor and critic."""

    def __init__(self, obs_dim: int, action_dim: int, hidden: tuple[int, int]) -> None:
        super().__init__()
        self.critic = _mlp(obs_dim, hidden, 1, 1.0)
        self.mean = _mlp(obs_dim, hidden, action_dim, 0.01)
        self.log_std = nn.Parameter(torch.zeros(1, action_dim))

    def forward(
        self, obs: Tensor, action: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return an action (sampled, unless given), its log density, entropy, and V."""
        mean = self.mean(obs)
        policy: Any = Normal(mean, self.log_std.expand_as(mean).exp(), validate_args=False)
        action = policy.sample() if action is None else action
        log_prob, entropy = policy.log_prob(action).sum(1), policy.entropy().sum(1)
        return action, log_prob, entropy, self.critic(obs).squeeze(1)


def _gymnasium_envs(task: str, num_envs: int, discount: float) -> Any:
    import gymnasium as gym
    from gymnasium import wrappers as wrap

    def make() -> Any:
        env: Any = gym.make(GYMNASIUM_IDS[task])
        env = wrap.RecordEpisodeStatistics(wrap.FlattenObservation(env))
        env = wrap.NormalizeObservation(wrap.ClipAction(env))
        env = wrap.TransformObservation(
            env, lambda obs: np.clip(obs, -OBS_LIMIT, OBS_LIMIT), env.observation_space
        )
        env = wrap.NormalizeReward(env, gamma=discount)
        return wrap.TransformReward(
            env, lambda reward: min(max(float(reward), -REWARD_LIMIT), REWARD_LIMIT)
        )

    same_step = gym.vector.AutoresetMode.SAME_STEP
    return gym.vector.SyncVectorEnv([make] * num_envs, autoreset_mode=same_step)


class Buffer:
    """One iteration's samples, [T, N, ...]."""

    def __init__(self, T: int, N: int, obs_dim: int, action_dim: int) -> None:
        self.obs, self.action = torch.zeros(T, N, obs_dim), torch.zeros(T, N, action_dim)
        self.log_prob, self.reward, self.ended, self.value = torch.zeros(4, T, N)

    def collect(self, envs: Any, agent: Agent, obs: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
        """Act for T steps from `obs`; return what follows, and whether an episode began there."""
        for t in range(len(self.obs)):
            self.obs[t], self.ended[t] = obs, ended
            with torch.no_grad():
                action, log_prob, _, value = agent(obs)
            self.action[t], self.log_prob[t], self.value[t] = action, log_prob, value
            seen, reward, terminated, truncated, _ = envs.step(action.numpy())
            self.reward[t] = torch.as_tensor(reward)
            obs = torch.as_tensor(seen, dtype=torch.float32)
            ended = torch.as_tensor(terminated | truncated, dtype=torch.float32)
        return obs, ended

    def advantages(self, last: Tensor, ended: Tensor, config: TrainConfig) -> Tensor:
        """Return generalised advantage estimates [T, N]; truncation counts as an end."""
        out, running = torch.zeros_like(self.reward), torch.zeros_like(last)
        for t in reversed(range(len(out))):
            going = 1.0 - ended
            delta = self.reward[t] + config.discount * last * going - self.value[t]
            running = delta + config.discount * config.gae_lambda * going * running
            out[t], last, ended = running, self.value[t], self.ended[t]
        return out


def _update(
    agent: Agent, optimiser: torch.optim.Optimizer, data: list[Tensor], config: TrainConfig
) -> None:
    """Take an iteration's steps; `data` is flat: obs, action, log-prob, advantage, target, V."""
    size = config.steps_per_iteration
    for _ in range(config.num_epochs):
        order = np.random.permutation(size)  # noqa: NPY002
        for index in order.reshape(config.num_minibatches, -1):
            rows = torch.as_tensor(index)
            obs, action, old, advantage, target, value = (x[rows] for x in data)
            _, log_prob, _, new = agent(obs, action)
            ratio = (log_prob - old).exp()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            held = ratio.clamp(1 - config.clip, 1 + config.clip)
            policy_loss = torch.max(-advantage * ratio, -advantage * held).mean()
            near = value + (new - value).clamp(-config.clip, config.clip)
            value_loss = 0.5 * torch.max((new - target) ** 2, (near - target) ** 2).mean()
            optimiser.zero_grad()
            (policy_loss + 0.5 * value_loss).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
            optimiser.step()


def train_cleanrl(order: dict[str, Any]) -> list[float]:
    """Train; return when each iteration was over."""
    config, num_envs = build_config(), order["num_envs"]
    task, seed, iterations = order["task"], order["seed"], order["iterations"] + 1
    torch.manual_seed(seed)
    if order["rival"] == "envpool":
        from envpool_envs import make_envs

        envs = make_envs(task, num_envs, config.discount, seed, OBS_LIMIT, REWARD_LIMIT)
    else:
        envs = _gymnasium_envs(task, num_envs, config.discount)
    obs_dim = envs.single_observation_space.shape[0]
    action_dim = envs.single_action_space.shape[0]
    agent = Agent(obs_dim, action_dim, config.hidden_sizes)
    optimiser = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    buffer = Buffer(config.steps_per_iteration // num_envs, num_envs, obs_dim, action_dim)
    obs = torch.as_tensor(envs.reset(seed=seed)[0], dtype=torch.float32)
    ended, marks = torch.zeros(num_envs), []
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = 3e-4 * (1 - iteration / iterations)
        obs, ended = buffer.collect(envs, agent, obs, ended)
        with torch.no_grad():
            advantage = buffer.advantages(agent.critic(obs).squeeze(1), ended, config)
        samples = (
            buffer.obs, buffer.action, buffer.log_prob, advantage, advantage + buffer.value,
            buffer.value,
        )  # fmt: skip
        _update(agent, optimiser, [x.flatten(0, 1) for x in samples], config)
        marks.append(time.perf_counter())
    return marks
