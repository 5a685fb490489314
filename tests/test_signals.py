"""Stop signals: a first one is a wish, and what follows it; and a run that limits its own time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from test_cohort import small
from test_interrupt import members
from test_study import P2P, TINY, p2p, plan, played, study_file, wait_for  # noqa: F401

from p2p.cli.interrupt import Interrupts
from p2p.cohort import api
from p2p.core import signals
from p2p.core.errors import Interrupted
from p2p.core.platform import STOP_SIGNALS
from p2p.core.signals import StopSignals
from p2p.runs import RunFolder
from p2p.study import State, run_study

SIGNALS = ("SigBlk", "SigIgn")
USR1, USR2, TERM, INT = signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT


@pytest.fixture
def receive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int | None]]:
    """Send signals a minute apart; return the exit code of the one that ended the process."""
    now, ended = [0.0], []
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(StopSignals, "end_now", ended.append)

    def send(*numbers: signal.Signals) -> int | None:
        with StopSignals() as stop:
            for number in numbers:
                now[0] += 60
                signal.raise_signal(number)
            assert stop.received == numbers[0]
        return ended[0] if ended else None

    return send


@pytest.mark.parametrize("notice", [USR1, USR2])
def test_a_time_limit_that_passes_does_not_cut_the_iteration(receive, notice):
    """Slurm announces the limit, and sends SIGTERM at it; an iteration may be longer than that."""
    assert receive(notice, notice, TERM, notice) is None


@pytest.mark.parametrize("sent", [(INT, INT), (TERM, TERM), (TERM, INT), (USR1, INT, INT)])
def test_who_insists_ends_the_run_at_once(receive, sent):
    assert receive(*sent) == 128 + sent[-1]


def test_a_signal_that_has_another_meaning_keeps_it():
    """Such as that of a library's user who has put p2p.train into a job of submitit's."""
    heard = []
    before = signal.signal(USR2, lambda *_: heard.append(USR2))
    try:
        with StopSignals() as stop:
            signal.raise_signal(USR2)
            assert (heard, stop.received) == ([USR2], None)
            signal.raise_signal(USR1)
            assert stop.received == USR1
    finally:
        signal.signal(USR2, before)


def test_a_ctrl_c_that_a_library_swallowed_before_is_a_stop_request():
    """What a handler raises may end in an import, a destructor or a callback of C."""
    handler = Interrupts()
    before = signal.signal(INT, handler)
    try:
        with handler.working(), suppress(KeyboardInterrupt):
            signal.raise_signal(INT)
        with StopSignals() as stop:
            assert stop.received == INT
    finally:
        signal.signal(INT, before)


def test_a_run_ends_with_a_checkpoint_once_its_time_is_over(tmp_path):
    """For the library that is an end like another; `p2p.resume` goes on for its own time."""
    run = api.train(small(total_steps=10**6), tmp_path / "run", max_time=0.1)
    done = len(run.records())
    checkpoint = run.load_checkpoint()
    assert checkpoint is not None
    assert 0 < checkpoint.iteration == done < 100
    ends = iter([None] * 2 + [False])
    api.resume(run, max_time=3600, report=lambda _: next(ends, None))
    assert len(run.records()) > done


def test_the_command_says_by_its_exit_code_that_its_time_is_over(tmp_path):
    settings = ["--env", "hopper", "--method", "ppo", "--steps-per-iteration", "256",
                "--num-epochs", "1", "--num-minibatches", "4", "--total-steps", "1M"]  # fmt: skip
    done = p2p("train", *settings, "--out", tmp_path / "run", "--max-time", "1s", "--plain")
    assert done.exit_code == 128 + signal.SIGALRM
    checkpoint = RunFolder.open(tmp_path / "run").load_checkpoint()
    assert checkpoint is not None
    assert f"stopped after iteration {checkpoint.iteration} of 3907" in done.stderr


def test_a_batch_system_that_signals_all_of_a_studys_processes_leaves_none_failed(tmp_path):
    """A study within a job: its runs hear the signal themselves, and then from the scheduler."""
    file = study_file(tmp_path, 'method = "ppo"\nseed = 1', head=TINY.replace("1024", "1_000_000"))
    running = subprocess.Popen(
        [*P2P, "study", file, "--out", tmp_path / "out"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    run = tmp_path / "out" / "hopper-ppo-seed=1"
    wait_for(lambda: (run / "journal.jsonl").exists())
    for pid in members(running.pid):
        os.kill(pid, USR2)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 128 + USR2
    assert f"stopped   {run.name}" in said
    assert "failed" not in said
    checkpoint = RunFolder.open(run).load_checkpoint()
    assert checkpoint is not None
    assert checkpoint.iteration == len(RunFolder.open(run).records())


def test_a_run_that_ends_by_that_signal_before_the_scheduler_looks_has_not_failed(tmp_path, played):  # noqa: F811
    made = plan(tmp_path, "seed = 98")
    with pytest.raises(Interrupted, match="0 of 1 runs are complete") as stopped:
        list(run_study(made, 1))
    assert stopped.value.exit_code == 128 + USR2
    assert made.runs[0].state is State.STOPPED


SERVED = """
import os, sys, time
from pathlib import Path
from p2p.cohort import launch
launch.start_server("p2p.cohort.server")
time.sleep(1)
mine = [s.parent for s in Path("/proc").glob("[0-9]*/stat")
        if s.read_text().rsplit(") ", 1)[1].split()[1] == str(os.getpid())]
for process in mine:
    print((process / "status").read_text())
launch.kill_server()
"""


def test_no_process_beside_a_run_ends_by_a_stop_signal():
    """Neither the fork server nor what Python starts with it: all of a job's processes get them."""
    said = subprocess.check_output([sys.executable, "-P", "-c", SERVED], text=True)
    masks = [
        {line[:6]: int(line[8:], 16) for line in one.splitlines() if line[:6] in SIGNALS}
        for one in said.split("Name:")[1:]
    ]
    assert masks
    for mask in masks:
        unheard = mask["SigBlk"] | mask["SigIgn"]
        assert [n.name for n in STOP_SIGNALS if not unheard >> (n - 1) & 1] == []
