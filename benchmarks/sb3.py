"""What a stable-baselines3 user runs: PPO with its defaults, and our batch sizes."""

from __future__ import annotations

import time
from typing import Any

from p2p.bench.physics import GYMNASIUM_IDS
from p2p.core.config import build_config


def train_sb3(order: dict[str, Any]) -> list[float]:
    """Train; return when each iteration was over."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    config, num_envs = build_config(), order["num_envs"]
    size = config.steps_per_iteration
    vector = SubprocVecEnv if order["processes"] else DummyVecEnv
    env = make_vec_env(
        GYMNASIUM_IDS[order["task"]], num_envs, seed=order["seed"], vec_env_cls=vector
    )
    model: Any = PPO(
        "MlpPolicy", env, n_steps=size // num_envs, batch_size=size // config.num_minibatches,
        n_epochs=config.num_epochs, device="cpu", seed=order["seed"],
    )  # fmt: skip
    marks: list[float] = []
    update = model.train

    def update_and_mark() -> None:
        update()
        marks.append(time.perf_counter())

    model.train = update_and_mark
    model.learn(size * (order["iterations"] + 1))
    env.close()
    return marks
