"""p2p in programs of others: their processes, start methods, signals, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2p.cohort import cohort, launch
from p2p.cohort.events import Iterated
from p2p.core.config import TrainConfig
from p2p.core.errors import PeerLost

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
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_killed_fork_server_is_said_to_be_what_died(tmp_path: Path):
    """The peers die with it; 'peer 0 died: exit code 255' sent readers looking in vain."""
    config = TrainConfig(**{**SMALL, "total_steps": 10**6})
    events = cohort.train(config, out=tmp_path / "run")
    server = launch.start_server()
    assert any(isinstance(event, Iterated) for event in events)
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(PeerLost, match=rf"\(pid {server.pid}\) was killed by SIGKILL"):
        list(events)
    assert launch.start_server().pid != server.pid


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
