"""Part against: other trainers on the same task, in a process of their own, in turns with ours.

All take 4096 steps an iteration and 10 epochs of 32 minibatches. They train in the nominal
domain, without distillation: ours does more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mujoco

from p2p.bench.measure import Candidate, Measurement, Report, compare
from p2p.bench.settings import Settings, cores
from p2p.bench.training import train_once, trained_for
from p2p.cohort.launch import ONE_THREAD
from p2p.core.config import build_config
from p2p.core.errors import P2PError, UsageError

TRIAL = 6  # iterations; two do not tell 32 envs from 64
NEEDS = {"sb3": "stable_baselines3", "cleanrl": "gymnasium", "envpool": "envpool"}
PROGRAM = (
    "from p2p.cohort.launch import die_with_parent; die_with_parent(); "
    "from p2p.bench.rivals import main; main()"
)
AS_IT_COMES = "no logging, MuJoCo's timers on as its bindings have them"
INCLUDES = {
    "sb3": f"stable-baselines3 PPO, MlpPolicy 64x64 tanh, cpu, no VecNormalize, {AS_IT_COMES}",
    "cleanrl": "the recipe of CleanRL's ppo_continuous_action in torch eager on Gymnasium's "
    f"SyncVectorEnv with its normalising wrappers, {AS_IT_COMES}",
    "envpool": "the same recipe on EnvPool, a thread of it a core, with Gymnasium's normalising "
    "vector wrappers, no logging",
}


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
                f"--against {rival} needs {NEEDS[rival]}, which cannot be imported "
                f"({' '.join(last)}); pip install 'p2pdrl[bench]', or leave it out"
            )


def rate(rival: str, task: str, setup: Setup, iterations: int, seed: int = 0) -> float:
    """Return a trainer's steps/s over `iterations`, after one that is not timed.

    Raises:
        P2PError: it failed; with its last line.
    """
    order = {"rival": rival, "task": task, "iterations": iterations, "seed": seed}
    env = os.environ | dict.fromkeys(ONE_THREAD, str(setup.threads))
    command = [sys.executable, "-P", "-c", PROGRAM, json.dumps(order | setup._asdict())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise P2PError(f"{rival} failed on {task} ({setup}): {' '.join(last)}")
    marks: list[float] = json.loads(done.stdout.splitlines()[-1])
    return iterations * build_config().steps_per_iteration / (marks[-1] - marks[0])


def measure_against(
    settings: Settings, task: str, folder: Path, report: Report
) -> list[Measurement]:
    """Return steps/s of ours and the others; their ratio is to ours."""
    check_installed(settings.against)
    seeds = iter(range(settings.rounds))
    ours = "p2p train, K=2"

    def train() -> float:
        return train_once(task, folder, settings.iterations, 2, next(seeds)).steps_per_second

    candidates = [Candidate(ours, train, trained_for(settings))]
    trials = []
    for rival in settings.against:
        best, tried = _best_setup(rival, task, settings, report)
        trials += tried
        includes = (
            f"{INCLUDES[rival]}; {best}, the fastest of {max(1, len(tried))} setups tried; nominal "
            "domain; rollout and update, the first iteration and start-up not counted; over "
            f"{settings.iterations} iterations"
        )
        candidates.append(Candidate(rival, _measure(rival, task, best, settings), includes, ours))
    return [*compare("against", task, "steps/s", candidates, settings.rounds, report), *trials]


def _measure(rival: str, task: str, setup: Setup, settings: Settings) -> Callable[[], float]:
    return lambda: rate(rival, task, setup, settings.iterations)


def _best_setup(
    rival: str, task: str, settings: Settings, report: Report
) -> tuple[Setup, list[Measurement]]:
    """Try each setup for `TRIAL` iterations; return the fastest, and all trials.

    A quick benchmark tries none: it is there to see that all works.
    """
    if settings.iterations < 2:
        return setups(rival)[0], []
    found = {}
    for setup in setups(rival):
        report(f"against {task}: trying {rival} with {setup}")
        found[setup] = rate(rival, task, setup, TRIAL)
    trials = [
        Measurement("trials", task, f"{rival}, {setup}", "steps/s", f"{TRIAL} iterations", (value,))
        for setup, value in found.items()
    ]
    return max(found, key=lambda setup: found[setup]), trials


def main() -> None:
    """Be one trainer, as the JSON argument says; print when each iteration was over."""
    order: dict[str, Any] = json.loads(sys.argv[-1])
    mujoco.set_mjcb_time(None)  # as its users have it; our physics stops MuJoCo's timers
    import torch

    torch.set_num_threads(order["threads"])
    if order["rival"] == "sb3":
        marks = train_sb3(order)
    else:
        from p2p.bench.cleanrl import train_cleanrl

        marks = train_cleanrl(order)
    print(json.dumps(marks))


def train_sb3(order: dict[str, Any]) -> list[float]:
    """Train with stable-baselines3; return when each iteration was over."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    from p2p.bench.physics import GYMNASIUM_IDS

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
