"""The processes of a study's runs: started, polled, stopped, reaped."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from p2p.core import registry
from p2p.core.errors import P2PError, PeerLost
from p2p.core.platform import STOP_SIGNALS
from p2p.core.signals import is_stopping
from p2p.runs.files import disk_errors
from p2p.study.plan import Plan, PlannedRun, State

COMMAND = [sys.executable, "-P", "-m", "p2p.study.run_process"]
POLL = 0.5  # s, between two checks for a stop request
# By the scheduler's SIGINT (the negative: before it was handled), or by a batch system's signal
# to all processes of a job
INTERRUPTED = (-signal.SIGINT, *(128 + number for number in STOP_SIGNALS))


class RunProcesses:
    """The processes of the runs that are being trained or tested."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running: dict[int, RunProcess] = {}  # by their `pipe`
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> RunProcesses:
        return self

    def start(self, run: PlannedRun, cores: int) -> PlannedRun:
        """Start the process that trains `run`, and then tests it with `cores` processes."""
        process = RunProcess(run, self.plan.out / "logs" / f"{run.name}.log", cores)
        self.running[process.pipe] = process
        self._selector.register(process.pipe, selectors.EVENT_READ)
        run.state = State.TESTING if run.trained else State.RUNNING
        return run

    def poll(self) -> Iterator[PlannedRun]:
        """Wait for messages, at most `POLL` seconds; yield the runs that have changed."""
        for key, _ in self._selector.select(POLL):
            process = self.running[key.fd]
            if not process.read():
                self._selector.unregister(key.fd)
                del self.running[key.fd]
                process.reap()
            yield process.run

    def stop(self) -> Iterator[PlannedRun]:
        """Ask every run to write a checkpoint and end; yield the runs."""
        for process in self.running.values():
            process.child.send_signal(signal.SIGINT)
            process.run.state = State.STOPPING
            yield process.run

    def __exit__(self, *exc: object) -> None:
        """End every process; one that still runs writes a checkpoint first."""
        for process in self.running.values():
            process.child.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.child.wait()
            os.close(process.pipe)
        self._selector.close()


class RunProcess:
    """The process of one run, and the pipe that it sends its progress through.

    Attributes:
        pipe: file descriptor of the reading end.
    """

    def __init__(self, run: PlannedRun, log: Path, cores: int) -> None:
        self.run, self.log = run, log
        self._rest, self._iterations = b"", 0
        self.pipe, theirs = os.pipe()
        args = [str(theirs), str(os.getpid()), str(run.path), str(cores)]
        try:
            with disk_errors("log", log):
                file = log.open("wb")
            with file:
                self.child = subprocess.Popen(
                    [*COMMAND, *args],
                    stdin=subprocess.PIPE, stdout=file, stderr=file, pass_fds=[theirs],
                    process_group=0,  # Ctrl-C is for the scheduler alone
                )  # fmt: skip
        finally:
            os.close(theirs)
        assert self.child.stdin is not None
        with suppress(BrokenPipeError), self.child.stdin as stdin:
            given = {"settings": run.config.settings, "sources": registry.sources()}
            given |= run.to_measure
            stdin.write(json.dumps(given).encode())

    def read(self) -> bool:
        """Read its messages; return False after it has closed its pipe."""
        data = os.read(self.pipe, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._handle(json.loads(line))
        return bool(data)

    def _handle(self, message: dict[str, Any]) -> None:
        run = self.run
        if "error" in message:
            run.error, run.exit_code = message["error"], message["exit_code"]
            return
        if "tested" in message:
            run.tested, run.test_rate = message["tested"], message["steps_per_second"]
            if run.state is State.RUNNING:
                run.state, run.steps = State.TESTING, run.total_steps
            return
        run.steps = message["steps"]
        if message["seconds"] is not None:
            if self._iterations == 1:  # the first one's time includes the start of the peers
                run.recent.clear()
            self._iterations += 1
            run.recent.append(message["seconds"])

    def reap(self) -> None:
        """Wait for its end, and set the state of its run."""
        os.close(self.pipe)
        run, code = self.run, self.child.wait()
        try:
            run.refresh()
        except P2PError as error:
            run.error, run.exit_code = str(error), error.exit_code
        if run.state is State.COMPLETE:
            with suppress(OSError):
                self.log.unlink()
        elif code in INTERRUPTED and (run.state is State.STOPPING or is_stopping()):
            run.state, run.error, run.exit_code = State.STOPPED, "", 0
        else:
            run.state = State.FAILED
            if not run.error:
                run.error, run.exit_code = self._exit_reason(code)

    def _exit_reason(self, code: int) -> tuple[str, int]:
        """Return why a process ended that sent no error, and the exit code for it."""
        if code < 0:
            name = signal.Signals(-code).name
            return f"its process was killed by {name}", PeerLost.exit_code
        lines: list[str] = []
        with suppress(OSError):  # its folder was removed, or lies on a disk that is gone
            lines = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        return f"{last.strip()} (see {self.log})", code or P2PError.exit_code
