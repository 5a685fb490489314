"""Ctrl-C at any moment: a line at once, exit 130, nothing left behind, never a traceback."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from made import make_finished, make_run

from p2p.core.config import TrainConfig
from p2p.runs import RunFolder

# It says when it starts, since Python itself takes a while, and longer on a busy machine.
PROGRAM = (
    "from p2p.cli.start import main; import os; from p2p.cli.interrupt import interrupts\n"
    "interrupts.install(); os.write(1, b'begun\\n'); main()"
)
LONG = ["--env", "hopper", "--peers", "2", "--total-steps", "100_000_000"]
HUGE = ["--steps-per-iteration", "4_194_304"]  # an iteration lasts a minute
SOON = 5.0  # s, on a busy machine; before, it took as long as importing torch did, twice


class Command:
    """A `p2p` command in a session of its own, as a terminal starts it."""

    def __init__(self, here: Path, *args: str | Path) -> None:
        self.temporary = here / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *map(str, args)],
            cwd=here, env={**os.environ, "TMPDIR": str(self.temporary)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "begun\n"

    def interrupt(self) -> None:
        """Send SIGINT to the whole group, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def says(self, words: str, stream: str) -> None:
        """Wait for a line that has these words."""
        file = getattr(self.process, stream)
        for line in file:
            if words in line:
                return
        raise AssertionError(f"it ended and never said {words!r}")

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return exit code and stderr, once all of its session is gone."""
        began = time.monotonic()
        _, said = self.process.communicate(timeout=60)
        assert time.monotonic() - began < SOON
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        deadline = time.monotonic() + SOON
        while (left := members(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == [], "processes outlive it"
        assert list(self.temporary.iterdir()) == [], "temporary files outlive it"
        return self.process.returncode, said


def members(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rsplit(") ", 1)[1].split()[:4]
        except OSError:  # it ended while we looked
            continue
        if int(sid) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Return what starts a command; whatever a test's failure leaves is ended."""
    started = []

    def start(*args: str | Path) -> Command:
        started.append(Command(tmp_path, *args))
        return started[-1]

    yield start
    for one in started:
        for pid in members(one.process.pid):
            os.kill(pid, signal.SIGKILL)
        one.process.communicate()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", num_peers=2)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.15, 0.4, 0.8, 1.6])
def test_training_is_interrupted_at_any_moment(
    tmp_path: Path, command: Callable[..., Command], after: float
):
    """Loading, starting, or in the first iteration, which lasts a minute: there one is asked."""
    started = command("train", *LONG, *HUGE, "--plain")
    time.sleep(after)
    started.interrupt()
    assert select.select([started.process.stderr], [], [], SOON)[0], "it said nothing"
    with suppress(subprocess.TimeoutExpired):  # a second one within a second would be an echo
        started.process.wait(1.1)
    if started.process.poll() is None:
        started.interrupt()
    code, said = started.ended()
    assert code == 130
    assert said.startswith(("interrupted", "stopping after this iteration", "compiling"))
    if "stopping" not in said:
        assert not (tmp_path / "runs").exists(), "nothing was trained: no run is left"


def test_a_first_ctrl_c_in_training_is_acknowledged_and_a_second_ends_at_once(
    tmp_path: Path, command: Callable[..., Command]
):
    started = command("train", *LONG, *HUGE, "--plain")
    started.says("unstable", "stdout")  # the header: peers are starting
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("runs/*/milestones/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    started.interrupt()
    started.says("stopping after this iteration, with a checkpoint; Ctrl-C again", "stderr")
    assert time.monotonic() - began < 1
    time.sleep(1.1)
    started.interrupt()
    assert started.ended()[0] == 130


def test_a_run_that_is_resumed_stays_as_it_was(tmp_path: Path, command: Callable[..., Command]):
    """Interrupted while its peers start; the checkpoint is there as before."""
    path = make_finished(tmp_path / "run", num_peers=2, total_steps=10**8)
    with RunFolder.open(path) as opened:
        opened.save_checkpoint(1, {}, {})
    before = {file: file.read_bytes() for file in path.rglob("*.safetensors")}
    started = command("train", "--resume", "run", "--plain")
    time.sleep(0.4)
    started.interrupt()
    assert started.ended()[0] == 130
    assert {file: file.read_bytes() for file in path.rglob("*.safetensors")} == before


@pytest.mark.parametrize("after", [0.1, 0.6])
def test_an_evaluation_is_interrupted_at_any_moment(
    command: Callable[..., Command], run: Path, after: float
):
    started = command("eval", run, "--domains", "1000", "--episodes", "50", "--plain")
    time.sleep(after)
    started.interrupt()
    code, said = started.ended()
    assert code == 130
    assert "interrupted" in said


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\n[settings]\ntotal_steps = 100_000_000\n'
        '[[grid]]\ntask = "hopper"\nmethod = "p2pdrl"\nseed = [0]\n'
    )
    return file


@pytest.mark.parametrize("after", [0.3, 1.5])
def test_a_study_is_interrupted_at_any_moment(
    command: Callable[..., Command], study: Path, after: float
):
    started = command("study", study, "--out", "mine", "--plain")
    time.sleep(after)
    started.interrupt()
    code, said = started.ended()
    assert code == 130
    assert "interrupted" in said


@pytest.mark.parametrize("after", [0.3, 1.5])
def test_a_benchmark_is_interrupted_at_any_moment(command: Callable[..., Command], after: float):
    started = command("bench", "--only", "physics,train", "--tasks", "hopper")
    time.sleep(after)
    started.interrupt()
    code, said = started.ended()
    assert code == 130
    assert "interrupted" in said


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_as_python_ends_does_not_change_the_exit_code(name: str):
    """It then was the default effect, as the second Ctrl-C of an evaluation in its last 20 ms."""
    program = (
        "import os, signal, sys; from p2p.cli.interrupt import interrupts; interrupts.install()\n"
        "class Late:\n"
        f"    def __del__(self, kill=os.kill, me=os.getpid()): kill(me, {signal.Signals[name]})\n"
        "late = Late(); print('begun'); sys.exit(130)"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", program], check=False, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"begun\n", b"")


def test_a_goal_that_is_far_away_is_what_these_runs_have():
    """Else they would end by themselves, and the tests above say nothing."""
    assert TrainConfig(total_steps=100_000_000).num_iterations > 10_000
