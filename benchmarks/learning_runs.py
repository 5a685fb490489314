"""The runs of `learning.py`: settings, training by either trainer, and what is kept of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

TASKS = {  # ours: Gymnasium's
    "halfcheetah": "HalfCheetah-v5",
    "hopper": "Hopper-v5",
    "walker2d": "Walker2d-v5",
}
STEPS = 1_000_000  # rounded up to whole iterations
ITERATION = 4096
LAST = 100_000  # steps at the end whose episodes count
BIN = 50_000  # steps, of a curve's point
SEEDS = 8


class Variant(NamedTuple):
    """A trainer and what is particular about its settings."""

    trainer: str
    log_std: float = -0.75  # initial, of the actions
    num_envs: int = 2
    schedule: str = "iteration"  # p2p: reset the envs at each iteration, or carry them over


VARIANTS = {  # in the order in which they run
    "sb3": Variant("sb3"),
    "p2p-iteration": Variant("p2p"),
    "p2p-carry": Variant("p2p", schedule="carry"),
    "p2p-iteration-std0": Variant("p2p", log_std=0.0),
    "p2p-carry-std0": Variant("p2p", log_std=0.0, schedule="carry"),
    "p2p-carry-8envs": Variant("p2p", num_envs=8, schedule="carry"),
    "sb3-std0": Variant("sb3", log_std=0.0),
}


class Run(NamedTuple):
    """One training run."""

    variant: str
    task: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of its files."""
        return f"{self.variant}-{self.task}-{self.seed}"

    def file(self, out: Path) -> Path:
        """Return where its curve lies once it is over."""
        return out / "runs" / f"{self.name}.json"


class Point(NamedTuple):
    """The episodes that ended in one iteration."""

    steps: int  # at the iteration's end
    episodes: int
    mean_return: float
    mean_length: float


def all_runs(only: Sequence[str] = (), seeds: int = SEEDS) -> list[Run]:
    """Return the runs, seed by seed, so that what is there early covers all tasks.

    Args:
        only: parts of names; a run is kept if its name contains one. Empty: all are kept.
    """
    runs = [Run(v, task, seed) for v in VARIANTS for seed in range(seeds) for task in TASKS]
    return [run for run in runs if not only or any(part in run.name for part in only)]


def train_sb3(run: Run, steps: int) -> list[Point]:
    """Train with stable-baselines3."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    ended: dict[int, list[tuple[float, int]]] = {}

    class Episodes(BaseCallback):
        """Notes each episode's return, as Monitor saw it below VecNormalize."""

        def _on_step(self) -> bool:
            iteration = -(-self.num_timesteps // ITERATION)
            for info in self.locals["infos"]:
                if "episode" in info:
                    episode = info["episode"]["r"], info["episode"]["l"]
                    ended.setdefault(iteration * ITERATION, []).append(episode)
            return True

    torch.set_num_threads(1)
    variant = VARIANTS[run.variant]
    envs: Any = make_vec_env(TASKS[run.task], variant.num_envs, seed=run.seed)
    envs = VecNormalize(envs, gamma=0.99, clip_obs=10.0, clip_reward=10.0)
    model = PPO(
        "MlpPolicy", envs, seed=run.seed, device="cpu",
        n_steps=ITERATION // variant.num_envs, n_epochs=10, batch_size=128,
        learning_rate=3e-4, gamma=0.99, gae_lambda=0.95, clip_range=0.2,
        ent_coef=0.0, vf_coef=0.5, max_grad_norm=0.5,
        policy_kwargs={
            "net_arch": [64, 64], "activation_fn": torch.nn.Tanh, "log_std_init": variant.log_std,
        },
    )  # fmt: skip
    model.learn(steps, callback=Episodes())
    last = -(-steps // ITERATION) * ITERATION
    return [_point(at, ended.get(at, [])) for at in range(ITERATION, last + 1, ITERATION)]


def train_p2p(run: Run, steps: int, folder: Path) -> list[Point]:
    """Train with `p2p train`, into a folder made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    variant = VARIANTS[run.variant]
    settings = {
        "env": run.task, "method": "ppo", "peers": 1, "seed": run.seed, "eps-tr": 0,
        "domain-schedule": variant.schedule, "envs-per-peer": variant.num_envs,
        "init-log-std": variant.log_std, "learning-rate": 3e-4, "total-steps": steps,
        "steps-per-iteration": ITERATION, "final-episodes": 0, "milestones": 0,
        "checkpoint-every": 1000,
        "peer-timeout": 1e6,  # a run that is paused has not hung
        "out": folder,
    }  # fmt: skip
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    main = "from p2p.cli.main import main; main()"
    command = [sys.executable, "-P", "-c", main, "train", *flags, "--json"]
    points = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "iteration":
                (peer,) = event["peers"]
                episodes = [(episode[0], episode[1]) for episode in peer["episodes"]]
                points.append(_point(event["steps"], episodes))
    if process.returncode:
        raise click.ClickException(f"`p2p train` failed (exit {process.returncode})")
    return points


def _point(steps: int, episodes: Sequence[tuple[float, int]]) -> Point:
    n = len(episodes)
    total, length = (sum(column) for column in zip(*episodes, strict=True)) if n else (0.0, 0)
    return Point(steps, n, float(total) / max(n, 1), float(length) / max(n, 1))


def train_and_save(run: Run, steps: int, out: Path) -> None:
    """Train once and write the curve."""
    start = time.perf_counter()
    if VARIANTS[run.variant].trainer == "sb3":
        points = train_sb3(run, steps)
    else:
        points = train_p2p(run, steps, out / "folders" / run.name)
    found = {
        **run._asdict(), "settings": VARIANTS[run.variant]._asdict(), "steps": steps,
        "seconds": time.perf_counter() - start, "versions": versions(),
        "columns": Point._fields, "points": points,
    }  # fmt: skip
    file = run.file(out)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.replace(file)


def versions() -> dict[str, str]:
    """Return the versions of what was run."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("stable-baselines3", "gymnasium", "mujoco", "torch", "numpy", "p2p"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Learned(NamedTuple):
    """What one run came to."""

    run: Run
    points: list[Point]
    seconds: float

    @property
    def last(self) -> tuple[int, float]:
        """Return how many episodes ended in the last `LAST` steps, and their mean return."""
        return mean_return(self.points, self.points[-1].steps - LAST, self.points[-1].steps)


def mean_return(points: Sequence[Point], after: float, until: float) -> tuple[int, float]:
    """Return the number and mean return of the episodes of the iterations within (after, until].

    An iteration counts where it ends. NaN if no episode ended.
    """
    within = [p for p in points if after < p.steps <= until]
    n = sum(p.episodes for p in within)
    return n, sum(p.episodes * p.mean_return for p in within) / n if n else float("nan")


def load(out: Path, only: Sequence[str] = (), seeds: int = SEEDS) -> list[Learned]:
    """Return the runs that are over."""
    found = []
    for run in all_runs(only, seeds):
        if run.file(out).exists():
            read = json.loads(run.file(out).read_text())
            found.append(Learned(run, [Point(*p) for p in read["points"]], read["seconds"]))
    return found
