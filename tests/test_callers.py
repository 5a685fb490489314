"""p2p in programs of others: their processes, start methods, signals, and how they end."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_interrupt import members

from p2p.cohort import cohort, launch
from p2p.cohort.dump import what_is_left
from p2p.cohort.events import Iterated
from p2p.cohort.forkserver import Process
from p2p.cohort.peer_process import Failed
from p2p.core import limits, machine
from p2p.core.config import TrainConfig
from p2p.core.errors import Diverged, PeerLost
from p2p.runs import RunFolder

SMALL = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 512, "num_epochs": 1,
    "num_minibatches": 4, "total_steps": 512, "final_episodes": 0, "milestones": 0,
}  # fmt: skip
PROGRAM = f"""
import multiprocessing as mp, os, signal, sys
from multiprocessing import context
import p2p

def train(out):
    return len(p2p.train(p2p.TrainConfig(**{SMALL!r}), out).records())

def state(_=0):
    handlers = map(signal.getsignal, (signal.SIGTERM, signal.SIGINT))
    return os.environ.get("OMP_NUM_THREADS"), *handlers

def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

if __name__ == "__main__":
    BODY
"""
FRESH = "(None, signal.SIG_DFL, signal.default_int_handler)"
CASES = {
    "their pools, before and after": (
        "assert train('a') == 1; mp.set_start_method('forkserver')\n"
        f"    with mp.Pool(1) as p, mp.get_context('fork').Pool(1) as forks:\n"
        f"        assert p.map(state, [0]) == [{FRESH}]; assert forks.map(train, 'b') == [1]"
    ),
    "joblib's start method, signals ignored and blocked": (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "    signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "    context._default_context._actual_context = type('Loky', (context.ForkContext,),"
        " {'_name': 'loky'})(); assert train('a') == 1"
    ),
    "somebody who reaps all children": (
        "signal.signal(signal.SIGCHLD, reap); assert train('a') == 1 == train('b')"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_and_its_caller_leave_each_other_alone(tmp_path: Path, case: str):
    (tmp_path / "program.py").write_text(PROGRAM.replace("BODY", CASES[case]))
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"], cwd=tmp_path, env=env,
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_killed_fork_server_is_said_to_be_what_died(tmp_path: Path):
    """The peers die with it; 'peer 0 died: exit code 255' sent readers looking in vain."""
    config = TrainConfig(**{**SMALL, "total_steps": 10**6, "max_restarts": 0})
    events = cohort.train(config, out=tmp_path / "run")
    assert any(isinstance(event, Iterated) for event in events)
    server = launch.prepare(config.engine)
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(PeerLost, match=rf"\(pid {server.pid}\) died: signal SIGKILL"):
        list(events)
    assert launch.prepare(config.engine).pid != server.pid


def test_nothing_outlives_a_parent_that_is_killed_while_the_fork_server_imports(tmp_path: Path):
    """It held the parent's stdout for as long as imports and compilation took."""
    (tmp_path / "slow.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    code = (
        "from p2p.cohort import launch; server = launch.start_server('slow')\n"
        "server.Process(target=print).start()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "importing\n"
        parent.kill()
        began = time.monotonic()
        assert parent.stdout.read() == ""  # returns once nobody holds its stdout
    assert time.monotonic() - began < 10


LIMITS = {
    "ulimit -v 300000": r"out of memory \(limited to 293 MiB by ulimit -v\)",
    "ulimit -v 700000": r"out of memory \(limited to 684 MiB by ulimit -v\)",
    "ulimit -n 12": r"too many open files \(at most 12\); ulimit -n 1024|too many open files",
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_of_the_shell_is_one_line_that_names_it(tmp_path: Path, limit: str):
    """The tracebacks of numba, of MuJoCo and of a peer said nothing of memory or files."""
    code = "from p2p.cli.start import main; main()"
    sized = "--env hopper --peers 2 --total-steps 512 --steps-per-iteration 512"
    command = f"{limit}; exec {sys.executable} -P -c '{code}' train {sized} --out run"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    *_, last = done.stderr.splitlines()
    assert re.search(LIMITS[limit], last), done.stderr
    assert last[:7] == "error: "
    # 4 where a C library ends a peer that has come so far: the line still names the limit
    assert done.returncode in ((4, 6) if limit == "ulimit -v 700000" else (6,))
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_a_limit_may_have_ended_says_so(monkeypatch):
    """Of the kernel's own kill there is only a signal."""
    monkeypatch.setattr(machine, "memory_limit", lambda: 2**29)
    assert "limited to 512 MiB by control group" in limits.after_death(-signal.SIGKILL)
    monkeypatch.setattr(machine, "memory_limit", lambda: None)
    assert "dmesg" in limits.after_death(-signal.SIGKILL)
    assert limits.after_death(-signal.SIGSEGV) == limits.after_death(1) == ""


def test_no_checkpoint_is_promised_where_there_is_none(tmp_path: Path):
    run = RunFolder.create(TrainConfig(**SMALL), tmp_path / "run")
    failed = Failed(Diverged("peer 0 diverged"), "peer 0 diverged")
    with run, pytest.raises(Diverged, match="diverged; there was no checkpoint yet"):
        cohort.raise_failure(0, failed, what_is_left(run))
    with run:
        run.save_checkpoint(1, {}, {})
    with pytest.raises(Diverged, match="diverged; the last valid checkpoint is in"):
        cohort.raise_failure(0, failed, what_is_left(run))


def test_a_run_that_fails_before_it_has_trained_leaves_no_folder(tmp_path: Path, monkeypatch):
    def fail(*_):
        raise PeerLost("no process")

    monkeypatch.setattr(Process, "start", fail)
    with pytest.raises(PeerLost, match="no process"):
        list(cohort.train(TrainConfig(**SMALL), out=tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_nothing_outlives_a_parent_killed_at_any_time_of_its_start(tmp_path: Path):
    """Nor holds its stdout: within 3 s all of its session is gone."""
    rng = random.Random(int(os.environ.get("P2P_SEED", "1")))
    code = "from p2p.cli.start import main; main()"
    for trial in range(int(os.environ.get("P2P_KILLS", "40"))):
        command = [sys.executable, "-P", "-c", code, "train", "--env", "hopper", "--plain"]
        delay = rng.uniform(0.0, 6.0)
        parent = subprocess.Popen(
            [*command, "--total-steps", "1000000", "--out", f"run-{trial}"], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        time.sleep(delay)
        parent.kill()
        began = time.monotonic()
        parent.communicate()
        took = time.monotonic() - began
        while (left := members(parent.pid)) and time.monotonic() - began < 60:
            time.sleep(0.05)
        gone = time.monotonic() - began
        assert max(took, gone) < 3, (trial, delay, took, gone, left)
