"""Trackers that are killed: a run goes on, with the same bits, and says so in one line."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from storm_runs import flags, gone
from test_storms import numbers
from test_tracking import INSTALLED, SMALL, _logged, policies, processes_of, small

import p2p
from p2p.cohort import cohort
from p2p.cohort.events import Event, Finished, Iterated, Noted, Started
from p2p.cohort.tracking import parent
from p2p.core.config import TrainConfig
from p2p.runs import RunFolder

DIED = "{0}: its process died (see {1}/tracking/{0}.log); trained on without it"
MODULE = b"p2p.cohort.tracking.process"
TRACKER = pytest.mark.skipif("tensorboard" not in INSTALLED, reason="needs tensorboardX")


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return policies(p2p.train(small(), tmp_path_factory.mktemp("untracked") / "run").path)


def trackers(folder: Path) -> list[int]:
    """Return the processes whose output goes to a log of a run's trackers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill_tracker(run: Path, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill a run's only tracker."""
    (pid,) = trackers(run)
    os.kill(pid, number)


def wait_for_tracker(run: Path) -> None:
    """Wait until it has opened its own run."""
    deadline = time.monotonic() + 120
    while not (run / "tracking" / "tensorboard.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events_with_a_kill(config: TrainConfig, run: Path, moment: str) -> Iterator[Event]:
    """Yield the events of a run whose tracker is killed at a moment."""
    for event in cohort.train(config, out=run):
        if moment == "start" and isinstance(event, Started):
            kill_tracker(run)
        if moment == "opened" and isinstance(event, Iterated) and event.record["iteration"] == 4:
            wait_for_tracker(run)
            kill_tracker(run)
        if moment == "end" and isinstance(event, Finished):
            kill_tracker(run)
        yield event


@TRACKER
@pytest.mark.parametrize("moment", ["opened", "end", "told"])
def test_a_killed_tracker_costs_one_line(tmp_path, monkeypatch, untracked, moment):
    """Once it was there, at the end of the run, and when it was told of that."""
    run, end = tmp_path / "run", parent.Trackers._end

    def told(*args: Any) -> None:
        if trackers(run):
            kill_tracker(run, signal.SIGSTOP)  # it would be quick to end
            end(*args)
            kill_tracker(run)

    if moment == "told":
        monkeypatch.setattr(parent.Trackers, "_end", told)
    monkeypatch.setattr(parent, "LOWEST_PRIORITY", 0)
    config = small(track=["tensorboard"])
    events = list(events_with_a_kill(config, run, moment))
    warnings = [e.text for e in events if isinstance(e, Noted) and e.is_warning]
    assert warnings == [DIED.format("tensorboard", run)]
    assert policies(run) == untracked
    assert RunFolder.open(run).result() is not None
    assert processes_of(run) == []


@TRACKER
def test_what_a_killed_tracker_lacks_it_gets_when_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(parent, "LOWEST_PRIORITY", 0)
    run, config = tmp_path / "run", small(track=["tensorboard"])
    events = list(events_with_a_kill(config, run, "start"))
    warnings = [e.text for e in events if isinstance(e, Noted) and e.is_warning]
    assert warnings == [DIED.format("tensorboard", run)]
    assert not (run / "tracking" / "tensorboard.json").exists()
    list(cohort.resume(run, total_steps=config.total_steps + 512))
    assert _logged(run / "tracking" / "tensorboard.json") == 7


@TRACKER
def test_a_killed_tracker_ends_no_caller_whom_sigpipe_ends(tmp_path):
    """What it is told at the end of the run goes to where nobody reads any more."""
    code = (
        "import os, signal, time; from pathlib import Path\n"
        "from p2p.cohort.tracking.parent import Trackers; from p2p.core.config import TrainConfig\n"
        "from p2p.runs import RunFolder; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "config = TrainConfig(track=['tensorboard']); run = RunFolder.create(config, Path('run'))\n"
        "with run, Trackers(run, config, 0) as trackers:\n"
        "    os.kill(trackers.running[0]._child.pid, signal.SIGKILL)\n"
        "    while trackers.running[0].runs: time.sleep(0.01)\n"
        "print('ended')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_trackers_killed_at_any_time(
    tmp_path: Path, untracked: dict[str, bytes], capsys: pytest.CaptureFixture[str]
):
    """P2P_KILLS runs of `p2p train`, each with one or two trackers, one of which is killed.

    Each ends with exit code 0 and the bits of any other, and says in one line what was killed.
    """
    goal, seed = numbers(kills=12, seed=1)
    rng = random.Random(seed)
    program = "from p2p.cohort.tracking import parent; parent.LOWEST_PRIORITY = 0; "
    program += "from p2p.cli.start import main; main()"
    environment = {
        **os.environ, "WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
    }  # fmt: skip
    settings = {key: value for key, value in SMALL.items() if key != "task"}
    failures, ends = [], Counter[str]()
    for trial in range(goal):
        names = rng.sample(INSTALLED, rng.randint(1, 2))
        run, delay = tmp_path / f"run-{trial}", rng.uniform(0.0, 2.5)
        named = [part for name in names for part in ("--track", name)]
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", program, "train", "--env", "hopper", "--plain",
             *flags(settings), *named, "--out", run],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        log = run / "tracking" / f"{names[0]}.log"
        while not log.exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        victims = [pid for pid in trackers(log) if MODULE in command_line(pid)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        said, _ = child.communicate(timeout=280)
        warned = [line for line in said.splitlines() if "trained on without it" in line]
        with capsys.disabled():
            print(f"{trial + 1}: {names} after {delay:.1f} s: {len(victims)} killed", flush=True)
        try:
            assert child.returncode == 0, said
            assert len(warned) == len(victims), said
            assert all(names[0] in line for line in warned), said
            assert "Traceback" not in said
            assert policies(run) == untracked
            assert gone(child.pid), "processes outlive it"
            deadline = time.monotonic() + 60  # W&B's own process looks now and then for its parent
            while trackers(run) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert trackers(run) == []
        except AssertionError as failed:
            failures.append(f"{trial}: {names} after {delay:.1f} s: {failed!s:.2000}")
        ends[f"{names[0]}, {len(victims)} killed"] += 1
    with capsys.disabled():
        print(*sorted(ends.items()), *failures, sep="\n")
    assert not failures
