"""Runs for `test_storms`: what is trained, killed and continued, and compared with what was not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from storms import Kill, Plan, install_in_parent
from test_cohort import content, drain, find_peers, without_times
from test_interrupt import members
from test_own_tasks import MJCF

from p2p.cohort import cohort
from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.core.errors import PeerLost
from p2p.core.platform import load_average, num_cores

TESTS = Path(__file__).parent
PROGRAM = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import storms; storms.main()"
BASE: dict[str, Any] = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 512, "num_epochs": 2,
    "num_minibatches": 4, "total_steps": 512 * 6, "final_episodes": 1, "checkpoint_every": 2,
    "milestones": 2, "threads_per_peer": 1,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "two threads": {"threads_per_peer": 2, "steps_per_iteration": 1024, "total_steps": 1024 * 6},
    "three peers, a domain an env": {
        "num_peers": 3, "steps_per_iteration": 768, "total_steps": 768 * 6, "domain_schedule": "env"
    },
    "carried, by epoch": {
        "domain_schedule": "carry", "sync": "epoch", "mass_randomisation": "per_link"
    },
    "tested, by iteration": {
        "domain_schedule": "episode", "sync": "iteration", "test_every": 1024, "test_domains": 2
    },
    "ppo": {"method": "ppo", "num_peers": 1, "domain_schedule": "carry"},
    "dppo": {"method": "dppo", "domain_schedule": "episode"},
    "distral": {"method": "distral", "domain_schedule": "env"},
    "distral by rewards": {"method": "distral", "distral_form": "reward"},
    "dnc": {"method": "dnc", "distill_every": 2, "domain_schedule": "carry"},
    "self-kl": {"method": "self-kl", "num_peers": 1, "domain_schedule": "episode"},
    "entropy": {"method": "entropy", "num_peers": 1, "domain_schedule": "env"},
    "autograd": {"engine": "autograd"},
    "gymnasium": {"task": "odd_envs:Pendulum-v0", "eps_tr": 0.0},
    "own robot": {"task": "robot.py:Balance", "eps_tr": 0.0, "domain_schedule": "carry"},
}  # fmt: skip
ROBOT = """
import numpy as np
import p2p

class Balance(p2p.Task):
    model, frame_skip, start, reset_noise = "robot.xml", 4, "home", 0.01
    reads = ("qpos", "qvel", "sensordata")
    memory = {"last_action": 1}
    max_episode_steps = 50

    def observe(self, s):
        return {"gyro": s.sensor["gyro"], "hip": s.qpos[:, 7], "last": s.last_action}

    def reward(self, s, action):
        return {"height": s.qpos[:, 2], "effort": -np.square(action).sum(axis=1)}

    def terminated(self, s):
        return s.qpos[:, 2] < 0.1

    def remember(self, s, action):
        s.last_action[:] = action
"""
GONE = 3.0  # s after which nobody of a family lives, where there is a core for each process
ENDS = {0, 4, -signal.SIGKILL}


def in_full(case: str) -> dict[str, Any]:
    return {**BASE, **CASES[case]}


def flags(settings: dict[str, Any]) -> list[str]:
    return [part for k, v in settings.items() for part in (f"--{k.replace('_', '-')}", str(v))]


def left_by(run: Path) -> dict[str, Any]:
    """Return what a run has left, but times, and how often it may restart and did."""
    found: dict[str, Any] = {}
    for file in sorted(run.rglob("*")):
        name = str(file.relative_to(run))
        aside = file.name in (".lock", "restarts.jsonl") or file.suffix == ".rejected"
        if aside or not file.is_file():
            continue
        if name.startswith(("checkpoints", "milestones")):
            found[name] = load_file(file)
        elif file.suffix == ".safetensors":
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        else:
            found[name] = json.loads(file.read_text()) if file.suffix == ".json" else content(file)
    del found["config.json"]["max_restarts"], found["run.h5"]["/"]["config"]
    result = without_times(found["result.json"])
    return {**found, "result.json": {k: v for k, v in result.items() if k != "restarts"}}


def assert_undisturbed(run: Path, whole: Path, *, stops: bool = False) -> None:
    """Assert that two runs have left the same files, bit for bit.

    Args:
        stops: whether a run has written checkpoints of its own where it stopped.
    """
    ours, theirs = map(left_by, (run, whole))
    if stops:
        for files in (ours, theirs):
            for name in sorted(name for name in files if name.startswith("checkpoints"))[:-1]:
                del files[name]
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_equal(ours[name], value, name)


def shared_memory_of(pids: set[int]) -> list[str]:
    """Return what processes have left in /dev/shm; others may work beside these tests."""
    return [
        path.name
        for path in Path("/dev/shm").glob("*")
        if any(f"-{pid}-" in path.name for pid in pids)
    ]


def gone(session: int) -> bool:
    """Wait `GONE` seconds, or longer on a busy machine; say whether nobody of a session lives."""
    deadline = time.monotonic() + GONE * max(1.0, load_average() / num_cores())
    while members(session) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not members(session)


class Storm:
    """A run that is killed and continued until it is complete.

    Args:
        here: the working directory, which may have the robot of `ROBOT`.
        name: of a folder in it, for the run and the plan.
        kills: in their order.
        restarts: what the sessions get as `max_restarts`; None: the default.

    Attributes:
        said: by the command line.
        codes: its exit codes, each among `ends`.
        patience: s, for a session to end.
    """

    def __init__(
        self, here: Path, name: str, settings: dict[str, Any], kills: list[Kill],
        restarts: int | None = None,
    ) -> None:  # fmt: skip
        self.here, self.settings, self.log = here, settings, here / name / "log"
        self.out = here / name / "run"
        self.plan = Plan.make(here / name / "plan", kills)
        self.restarts = restarts
        self.said, self.ends, self.codes = "", ENDS, list[int]()
        self.patience = 280.0
        (here / "robot.py").write_text(ROBOT)
        (here / "robot.xml").write_text(MJCF)

    def blow(self) -> None:
        """Run it by the command line."""
        for _ in range(len(self.plan.kills) + 2):
            self.codes.append(code := self.session())
            assert code in self.ends, (code, self.said)
            assert "Traceback" not in self.said, self.said
            if is_complete(self.out):
                return
            assert code != 0, self.said
        raise AssertionError(f"it goes on for ever: {self.said}")

    def session(self) -> int:
        """Start or resume the run; return the exit code once nobody of its family is left."""
        exists = (self.out / "config.json").exists()
        args = ["--resume", self.out] if exists else [*flags(self.settings), "--out", self.out]
        if exists and ":" in self.settings["task"]:
            args += ["--task", self.settings["task"]]
        args += [] if self.restarts is None else ["--max-restarts", self.restarts]
        with self.log.open("wb") as file:
            child = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, self.plan.folder, "train", "--plain",
                 *map(str, args)],
                cwd=self.here, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(TESTS)}, start_new_session=True,
            )  # fmt: skip
        code = child.wait(self.patience)
        seen = {child.pid, *members(child.pid)}
        self.said += self.log.read_text()
        assert gone(child.pid), (members(child.pid), self.plan.fired)
        assert shared_memory_of(seen) == []
        return code

    def blow_here(self) -> None:
        """Run it in this process, which is not killed: the fork server then need not start anew."""
        more = {} if self.restarts is None else {"max_restarts": self.restarts}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.here)
            if ":" in (task := self.settings["task"]):
                task = registry.add("task", task)
            config = TrainConfig(**{**self.settings, "task": task}, **more)
            install_in_parent(self.plan.folder, patch.setattr)
            while not is_complete(self.out):
                try:
                    exists = (self.out / "config.json").exists()
                    drain(cohort.resume(self.out) if exists else cohort.train(config, out=self.out))
                except PeerLost:
                    if self.restarts != 0:
                        raise
                assert find_peers(os.getpid()) == []


def is_complete(run: Path) -> bool:
    return (run / "result.json").exists()


def calm(here: Path, case: str) -> Path:
    """Return the run of a case that nobody disturbs, which is trained once."""
    storm = here / case / "run"
    if not storm.exists():
        Storm(here, case, in_full(case), []).blow_here()
    return storm
