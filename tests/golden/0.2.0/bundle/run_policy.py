#!/usr/bin/env python3
"""Run the exported policy beside this file. Needs numpy, onnxruntime and gymnasium[mujoco].

    python run_policy.py                        # an env of Gymnasium's: prints the mean return
    python run_policy.py --mjcf robot.xml --observe my_robot.py     # a robot of your own

What it can run. If the policy was trained in an env of Gymnasium's (or in p2p's five tasks, which
are Gymnasium's v5), everything: env, reward and end of an episode are Gymnasium's.

What it cannot. The observation, reward and end of an episode of a robot of your own are code of
your task, and a bundle holds none. Give the model with --mjcf, and with --observe a file that
defines

    def observe(model, data, last_action, time): ...   # returns the numbers of one observation

in the order of "observation_names" in policy.json. Then this file simulates the robot from its
start pose, with the bundle's gains, action scale and step time, and says how long the physics
stayed finite and where the robot came to. It prints no return. `p2p eval BUNDLE --task
FILE.py:Class` is the full check.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent


class Policy:
    """The ONNX graph: raw observations [n] to an action [A] within its bounds."""

    def __init__(self) -> None:
        onnxruntime.set_default_logger_severity(3)
        self.session = onnxruntime.InferenceSession(
            str(HERE / "policy.onnx"), providers=["CPUExecutionProvider"]
        )

    def __call__(self, obs: Any) -> Any:
        """Return the action."""
        row = np.asarray(obs, np.float32)[None]
        return self.session.run(["actions"], {"obs": row})[0][0]


def run_in_gymnasium(policy: Policy, env_told: dict[str, Any], episodes: int, seed: int) -> None:
    """Print the mean return of whole episodes in the nominal domain."""
    import gymnasium

    env = gymnasium.make(
        env_told["gymnasium_id"], max_episode_steps=env_told["max_episode_steps"],
        **env_told["kwargs"],
    )  # fmt: skip
    returns, lengths = [], []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode)
        total, steps, ended = 0.0, 0, False
        while not ended:
            action = policy(obs).astype(env.action_space.dtype)
            obs, reward, terminated, truncated, _ = env.step(action)
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        returns.append(total)
        lengths.append(steps)
    env.close()
    error = np.std(returns, ddof=1) / np.sqrt(episodes) if episodes > 1 else float("nan")
    print(f"{env_told['gymnasium_id']}, nominal: mean return {np.mean(returns):.1f}")
    print(f"standard error {error:.1f}, {episodes} episodes, mean length {np.mean(lengths):.0f}")


def run_own_robot(
    policy: Policy, told: dict[str, Any], mjcf: str, observe: Callable[..., Any], episodes: int
) -> None:
    """Simulate a robot from its start pose, and print how it went."""
    import mujoco

    model = load_model(mjcf, told)
    data = mujoco.MjData(model)
    scale, offset = (np.array(told[f"action_{name}"]) for name in ("scale", "offset"))
    steps = told["env"]["max_episode_steps"]
    for episode in range(episodes):
        mujoco.mj_resetData(model, data)
        data.qpos[:] = told["start_qpos"]
        data.ctrl[:] = offset
        mujoco.mj_forward(model, data)
        action, done = np.zeros(len(scale)), 0
        while done < steps and np.isfinite(data.qpos).all() and not data.warning.number.any():
            obs = np.asarray(observe(model, data, action, data.time), float).ravel()
            if len(obs) != sum(told["observation_sizes"]):
                sys.exit(f"observe gives {len(obs)} numbers, not {told['observation_sizes']}")
            action = policy(obs)
            data.ctrl[:] = offset + scale * action
            mujoco.mj_step(model, data, told["decimation"])
            done += 1
        place = ", ".join(f"{x:.2f}" for x in data.qpos[:3])
        print(f"episode {episode}: {done} of {steps} steps finite; qpos[:3] at its end: {place}")


def load_model(mjcf: str, told: dict[str, Any]) -> Any:
    """Return the model, with the bundle's gains where its actions are joint positions."""
    import mujoco

    spec = mujoco.MjSpec.from_file(mjcf)
    names = [actuator.name or None for actuator in spec.actuators]
    if names != told["actuator_names"]:
        sys.exit(f"{mjcf} has actuators {names}; the policy's are {told['actuator_names']}")
    if told["action_kind"] == "joint position":
        gains = zip(
            told["joint_stiffness"], told["joint_damping"], told["joint_effort_limit"], strict=True
        )
        for actuator, (kp, kd, limit) in zip(spec.actuators, gains, strict=True):
            if limit is not None:
                actuator.forcelimited, actuator.forcerange = 1, limit
            actuator.gear[0], actuator.ctrllimited, actuator.ctrlrange = 1.0, 0, (0.0, 0.0)
            actuator.set_to_position(kp=kp, kv=kd)
    model = spec.compile()
    model.opt.timestep = told["physics_dt"]
    return model


def main() -> None:
    """Run episodes as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first episode's reset")
    parser.add_argument("--mjcf", help="model file of a robot of your own")
    parser.add_argument("--observe", help="Python file that defines observe(...)")
    given = parser.parse_args()
    told = json.loads((HERE / "policy.json").read_text("utf-8"))
    if told["env"]["gymnasium_id"] is not None and not given.mjcf:
        run_in_gymnasium(Policy(), told["env"], given.episodes, given.seed)
        return
    if not (given.mjcf and given.observe):
        sizes = zip(told["observation_names"], told["observation_sizes"], strict=True)
        wanted = ", ".join(f"{name} [{size}]" for name, size in sizes)
        sys.exit(
            f"{told['task']} is a robot of its user's: give --mjcf MODEL.xml and --observe FILE.py "
            f"with observe(model, data, last_action, time) that returns {wanted}; for a return: "
            f"p2p eval {HERE} --task FILE.py:Class"
        )
    observe = runpy.run_path(given.observe)["observe"]
    run_own_robot(Policy(), told, given.mjcf, observe, given.episodes)


if __name__ == "__main__":
    main()
