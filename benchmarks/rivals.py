"""The other trainers: how each may be set up, and its speed in a process of its own.

All take 4096 steps an iteration and 10 epochs of 32 minibatches. They train in the nominal
domain, without distillation: ours does more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import mujoco
from sb3 import train_sb3

from p2p.bench.settings import cores
from p2p.cohort.launch import ONE_THREAD, die_with_parent
from p2p.core.config import build_config
from p2p.core.errors import P2PError, UsageError

NEEDS = {"sb3": "stable_baselines3", "cleanrl": "gymnasium", "envpool": "envpool"}
AS_IT_COMES = "no logging, MuJoCo's timers on as its bindings have them"
INCLUDES = {
    "sb3": f"stable-baselines3 PPO, MlpPolicy 64x64 tanh, cpu, no VecNormalize, {AS_IT_COMES}",
    "cleanrl": "the recipe of CleanRL's ppo_continuous_action in torch eager on Gymnasium's "
    f"SyncVectorEnv with its normalising wrappers, {AS_IT_COMES}",
    "envpool": "the same recipe on EnvPool, a thread of it a core, with Gymnasium's normalising "
    "vector wrappers, no logging",
}
RIVALS = tuple(NEEDS)
PROGRAM = __file__  # what is run to be one of them


class Setup(NamedTuple):
    """How a trainer is run; of several setups the fastest in a trial counts."""

    num_envs: int
    threads: int  # of torch
    processes: bool = False  # envs in processes of their own

    def __str__(self) -> str:
        vector = "processes" if self.processes else "one process"
        return f"{self.num_envs} envs in {vector}, {self.threads} torch threads"


def setups(rival: str) -> list[Setup]:
    """Return the setups that may be a trainer's best on this machine."""
    if rival == "sb3":
        alone = [Setup(envs, 1) for envs in (1, 2, 4, 8, 16, 32, 64, 128)]
        threaded = [Setup(envs, cores()) for envs in (8, 32)]
        return [*alone, *threaded, *(Setup(envs, 1, True) for envs in (2, 4, 8))]
    if rival == "envpool":
        return [
            Setup(envs, threads) for threads in sorted({1, cores()}) for envs in (8, 16, 32, 64)
        ]
    return [Setup(envs, 1) for envs in (1, 4, 8, 16, 32, 64)]


def check_installed(rivals: tuple[str, ...]) -> None:
    """Raise UsageError for a trainer whose package is missing or cannot be imported.

    In another process: what they load must not weigh on what is measured in this one.
    """
    for rival in rivals:
        command = [sys.executable, "-P", "-c", f"import {NEEDS[rival]}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise UsageError(
                f"{rival} needs {NEEDS[rival]}, which cannot be imported ({' '.join(last)}); "
                "pip install -c constraints.txt --group bench, or leave it out"
            )


def rate(rival: str, task: str, setup: Setup, iterations: int, seed: int = 0) -> float:
    """Return a trainer's steps/s over `iterations`, after one that is not timed.

    Raises:
        P2PError: it failed; with its last line.
    """
    order = {"rival": rival, "task": task, "iterations": iterations, "seed": seed}
    env = os.environ | dict.fromkeys(ONE_THREAD, str(setup.threads))
    command = [sys.executable, PROGRAM, json.dumps(order | setup._asdict())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise P2PError(f"{rival} failed on {task} ({setup}): {' '.join(last)}")
    marks: list[float] = json.loads(done.stdout.splitlines()[-1])
    return iterations * build_config().steps_per_iteration / (marks[-1] - marks[0])


def main() -> None:
    """Be one trainer, as the JSON argument says; print when each iteration was over."""
    die_with_parent()
    order: dict[str, Any] = json.loads(sys.argv[-1])
    mujoco.set_mjcb_time(None)  # as its users have it; our physics stops MuJoCo's timers
    import torch

    torch.set_num_threads(order["threads"])
    if order["rival"] == "sb3":
        marks = train_sb3(order)
    else:
        from cleanrl import train_cleanrl

        marks = train_cleanrl(order)
    print(json.dumps(marks))


if __name__ == "__main__":
    main()
