"""The parent's side of tracking: a process for each tracker, started, heard and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from p2p.cohort import launch
from p2p.cohort.events import Noted
from p2p.cohort.forkserver import NO_SIGNAL
from p2p.cohort.tracking.quantities import flat
from p2p.cohort.tracking.tracker import Job, Status, shown
from p2p.core.config import TrainConfig
from p2p.runs import RunFolder

COMMAND = [sys.executable, "-P", "-m", "p2p.cohort.tracking.process"]
PATIENCE = 30.0  # s, without progress, for a tracker to end after the run has
STOPPED_PATIENCE = 5.0  # s, the same if the run was stopped or failed
SAY_AFTER = 2.0  # s, of waiting for a tracker
POLL = 0.05  # s, while waiting
LOWEST_PRIORITY = 19  # the peers' cores are theirs


class Trackers:
    """The processes of the trackers that a run names.

    Args:
        done: iterations that were complete when the session began.
    """

    def __init__(self, run: RunFolder, config: TrainConfig, done: int) -> None:
        self.run, self.config, self.done = run, config, done
        self.running: list[_Process] = []
        self._failed: list[Noted] = []
        self._told = False

    def __enter__(self) -> Trackers:
        config = self.config
        for name in config.track:
            job = Job(
                name, str(self.run.path.absolute()), flat(config.settings), self.done,
                time.time(), config.num_peers, config.cuts_episodes, config.max_episode_steps,
            )  # fmt: skip
            try:
                self.running.append(_Process(job))
            except OSError as error:
                self._failed.append(Noted(f"{name} cannot be started: {error}", is_warning=True))
        return self

    def notes(self) -> Iterator[Noted]:
        """Yield what the trackers have to say, without waiting for it."""
        while self._failed:
            yield self._failed.pop()
        for process in self.running:
            yield from process.notes()

    def finish(
        self, status: Status, scores: Sequence[dict[str, float]], hurry: Callable[[], bool]
    ) -> Iterator[Noted]:
        """Let the trackers log the rest, and wait for that as long as they get on.

        Args:
            scores: the final ones, by rank.
            hurry: says whether somebody does not want to wait any longer.
        """
        self._end(status, scores)
        begun = time.monotonic()
        said = False
        while waiting := [process for process in self.running if process.runs]:
            yield from self.notes()
            now = time.monotonic()
            patience = PATIENCE if status == "finished" else STOPPED_PATIENCE
            late = [p for p in waiting if now - max(begun, p.heard) > patience]
            for process in waiting if status == "finished" and hurry() else late:
                process.kill()
                yield process.left_behind()
            if not said and status == "finished" and now - begun > SAY_AFTER:
                said = True
                names = ", ".join(process.name for process in waiting)
                yield Noted(f"the run is complete; waiting for {names} (Ctrl-C leaves it)")
            time.sleep(POLL)
        yield from self.notes()

    def _end(self, status: Status, scores: Sequence[dict[str, float]]) -> None:
        if not self._told:
            self._told = True
            for process in self.running:
                process.tell({"status": status, "scores": list(scores)})

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End what still runs: at most `STOPPED_PATIENCE` seconds, then by force."""
        self._end("stopped" if kind in (None, GeneratorExit) else "failed", [])
        deadline = time.monotonic() + STOPPED_PATIENCE
        while any(process.runs for process in self.running) and time.monotonic() < deadline:
            time.sleep(POLL)
        for process in self.running:
            process.close()


class _Process:
    """The process of one tracker.

    Attributes:
        heard: when it last said that it had got on, monotonic s.
        logged: iterations that the tracker has.
    """

    def __init__(self, job: Job) -> None:
        self.name, self.heard, self.logged = job.tracker, 0.0, 0
        self._rest, self._lost = b"", False
        self._log = job.folder / f"{job.tracker}.log"
        job.folder.mkdir(exist_ok=True)
        self._messages, theirs = os.pipe()
        os.set_blocking(self._messages, False)
        self._control, stdin = socket.socketpair()
        path = os.pathsep.join(entry for entry in sys.path if entry)  # as for the peers
        environment = {**os.environ, **launch.CHILD_ENVIRONMENT, "PYTHONPATH": path}
        try:
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    [*COMMAND, str(theirs)], env=environment,
                    stdin=stdin.fileno(), stdout=log, stderr=log, pass_fds=[theirs],
                    process_group=0,  # Ctrl-C is for the parent alone
                )  # fmt: skip
        finally:
            os.close(theirs)
            stdin.close()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._child.pid, LOWEST_PRIORITY)
        self.tell(asdict(job))

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._child.poll() is None

    def tell(self, message: dict[str, Any]) -> None:
        """Send one of the two messages that it gets, which fit its socket."""
        with suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n", NO_SIGNAL)

    def notes(self) -> Iterator[Noted]:
        """Yield what it has said."""
        try:
            data = os.read(self._messages, 1 << 16)
        except OSError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for message in map(json.loads, lines):
            self.heard = time.monotonic()
            self.logged = message.get("logged", self.logged)
            if "note" in message:
                yield Noted(message["note"])
            if "warning" in message:
                yield Noted(message["warning"], is_warning=True)
        if self._child.poll() not in (None, 0) and not self._lost:
            self._lost = True
            text = f"{self.name}: its process died (see {shown(self._log)}); trained on without it"
            yield Noted(text, is_warning=True)

    def left_behind(self) -> Noted:
        """Return what to say of a tracker that did not end by itself."""
        text = (
            f"{self.name} was left behind after iteration {self.logged}; the journal has the rest"
        )
        return Noted(text, is_warning=True)

    def kill(self) -> None:
        """End it, and what it has started in its group, by force."""
        self._lost = True
        with suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def close(self) -> None:
        """Kill what is left of it, and close its pipes."""
        self.kill()
        self._control.close()
        os.close(self._messages)
