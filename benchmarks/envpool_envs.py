"""EnvPool's envs, as the recipe in `cleanrl` takes them."""

from __future__ import annotations

from typing import Any

import envpool
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import vector as wrap

from p2p.bench.physics import GYMNASIUM_IDS
from p2p.bench.settings import cores


class Pool(gym.vector.VectorEnv[Any, Any, Any]):
    """What Gymnasium's wrappers ask for around what EnvPool has, stepped by a thread a core."""

    def __init__(self, task: str, num_envs: int, seed: int) -> None:
        self.pool: Any = envpool.make(
            GYMNASIUM_IDS[task], env_type="gymnasium", num_envs=num_envs,
            num_threads=min(num_envs, cores()), seed=seed,
        )  # fmt: skip
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}
        obs, action = self.pool.observation_space, self.pool.action_space
        self.single_observation_space = Box(obs.low, obs.high, obs.shape, obs.dtype)
        self.single_action_space = Box(action.low, action.high, action.shape, action.dtype)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Start all episodes; the seed was given when the envs were made."""
        return self.pool.reset()[0], {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all envs."""
        return *self.pool.step(actions.astype(np.float64))[:4], {}


def make_envs(
    task: str, num_envs: int, discount: float, seed: int, obs_limit: float, reward_limit: float
) -> Any:
    """Return them with actions clipped, and observations and rewards normalised and clipped."""
    env: Any = wrap.NormalizeObservation(wrap.ClipAction(Pool(task, num_envs, seed)))
    env = wrap.TransformObservation(env, lambda obs: np.clip(obs, -obs_limit, obs_limit))
    env = wrap.NormalizeReward(env, gamma=discount)
    return wrap.TransformReward(env, lambda reward: np.clip(reward, -reward_limit, reward_limit))
