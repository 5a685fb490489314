"""Trains and tests the runs of a plan, as many at a time as fit, each in a process of its own."""

from __future__ import annotations

import heapq
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from p2p.core.config import TrainConfig
from p2p.core.errors import Interrupted, P2PError, PeerLost
from p2p.core.signals import StopSignals
from p2p.runs.files import disk_errors
from p2p.runs.lock import FolderLock
from p2p.study.plan import Plan, PlannedRun, State

COMMAND = [sys.executable, "-P", "-m", "p2p.study.run"]
POLL = 0.5  # s, between looks at a wish to stop
INTERRUPTED = (128 + signal.SIGINT, -signal.SIGINT)  # the latter: before it took over SIGINT
TYPICAL = {  # bare mj_step on one core, steps/s; only their order and ratios matter here
    "hopper": 7000, "walker2d": 5300, "halfcheetah": 16000, "ant": 3000, "humanoid": 2500,
}  # fmt: skip


@dataclass(frozen=True)
class Room:
    """What the runs share: the cores, or a number of places.

    Attributes:
        size: cores, or runs at a time.
        packed: a run takes one place, whatever its peers; else a core for each of its peers.
    """

    size: int
    packed: bool

    def takes(self, config: TrainConfig) -> int:
        """Return how much of it a run takes; all of it at most."""
        return 1 if self.packed else min(config.num_peers, self.size)


def find_room(jobs: int | None = None) -> Room:
    """Return the room that there is: `jobs` runs at a time, or this machine's cores.

    By cores is the default as it is faster: two peers that have a core each meet at once, while
    those of two runs on the same two cores keep waiting for one that is not running.
    """
    return Room(jobs or len(os.sched_getaffinity(0)), packed=jobs is not None)


def run_study(plan: Plan, jobs: int | None = None) -> Iterator[PlannedRun]:
    """Train and test what is not complete; a run that fails does not stop the others.

    The longest run that fits starts first.

    Args:
        jobs: runs at a time; default as many as the cores have room for.

    Yields:
        A run whenever something about it has changed.

    Raises:
        UsageError: another process runs this study there, or a run has too many peers.
        NoRoom: the folder cannot be written.
        Interrupted: SIGINT, SIGTERM or SIGHUP, once all running ones have left a checkpoint.
    """
    _check_peers(plan)
    with disk_errors("study folder", plan.out):
        (plan.out / "logs").mkdir(parents=True, exist_ok=True)
    lock = FolderLock(plan.out)
    lock.acquire()
    try:
        with StopSignals() as signals, Processes(plan) as processes:
            yield from _schedule(plan, processes, find_room(jobs), signals)
    finally:
        lock.release()
    if signals.received is not None and plan.count(State.COMPLETE) < len(plan.runs):
        raise Interrupted(
            f"{plan.count(State.COMPLETE)} of {len(plan.runs)} runs are complete, "
            f"the others continue from their checkpoints in {plan.out}",
            signals.received,
        )


def _check_peers(plan: Plan) -> None:
    """Refuse runs of more peers than make sense, before the first run starts."""
    cores = len(os.sched_getaffinity(0))
    if many := [run for run in plan.runs if run.config.num_peers > cores]:
        from p2p.cohort.cohort import check_peers  # imports torch, which we have no other use for

        for run in many:
            check_peers(run.config)


def _schedule(
    plan: Plan, processes: Processes, room: Room, signals: StopSignals
) -> Iterator[PlannedRun]:
    waiting = [run for run in plan.runs if run.state is State.WAITING]
    told = False
    while processes.running or (waiting and signals.received is None):
        taken = sum(room.takes(process.run.config) for process in processes.running.values())
        if signals.received is None and (run := next_run(waiting, room, room.size - taken)):
            yield processes.start(run, room.takes(run.config))
            continue
        yield from processes.follow()
        if signals.received is not None and not told:
            yield from processes.stop()
            told = True


def next_run(waiting: list[PlannedRun], room: Room, free: int) -> PlannedRun | None:
    """Take the longest run that fits from those that wait; None if none does.

    A run that is too large is overtaken: cores that wait for it would be lost.
    """
    fitting = [run for run in waiting if room.takes(run.config) <= free]
    run = max(fitting, key=lambda run: typical_seconds(run, room), default=None)
    if run is not None:
        waiting.remove(run)
    return run


class Processes:
    """The processes of the runs that are being trained."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running: dict[int, Process] = {}  # by the end of its pipe that we read
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Processes:
        return self

    def start(self, run: PlannedRun, cores: int) -> PlannedRun:
        """Start a process that trains `run`, and tests it with `cores` processes."""
        process = Process(run, self.plan.out / "logs" / f"{run.name}.log", cores)
        self.running[process.pipe] = process
        self._selector.register(process.pipe, selectors.EVENT_READ)
        run.state = State.TESTING if run.trained else State.RUNNING
        return run

    def follow(self) -> Iterator[PlannedRun]:
        """Wait a moment for something to happen; yield the runs that it happened to."""
        for key, _ in self._selector.select(POLL):
            process = self.running[key.fd]
            if not process.read():
                self._selector.unregister(key.fd)
                del self.running[key.fd]
                process.end()
            yield process.run

    def stop(self) -> Iterator[PlannedRun]:
        """Ask all to leave a checkpoint and end; yield them."""
        for process in self.running.values():
            process.child.send_signal(signal.SIGINT)
            process.run.state = State.STOPPING
            yield process.run

    def __exit__(self, *exc: object) -> None:
        """Leave no process behind; one that is still there leaves a checkpoint first."""
        for process in self.running.values():
            process.child.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.child.wait()
            os.close(process.pipe)
        self._selector.close()


class Process:
    """One run's process and the pipe that it tells its progress through.

    Attributes:
        pipe: file descriptor of the end that we read.
    """

    def __init__(self, run: PlannedRun, log: Path, cores: int) -> None:
        self.run, self.log = run, log
        self._rest, self._iterations = b"", 0
        self.pipe, theirs = os.pipe()
        args = [str(theirs), str(os.getpid()), str(run.path), str(cores)]
        if run.evaluate is not None:
            args.append(run.evaluate.model_dump_json())
        try:
            with disk_errors("log", log):
                file = log.open("wb")
            with file:
                self.child = subprocess.Popen(
                    [*COMMAND, *args],
                    stdin=subprocess.PIPE, stdout=file, stderr=file, pass_fds=[theirs],
                    process_group=0,  # a Ctrl-C is for us: a second one would kill them
                )  # fmt: skip
        finally:
            os.close(theirs)
        assert self.child.stdin is not None
        with suppress(BrokenPipeError), self.child.stdin as stdin:
            stdin.write(run.config.model_dump_json().encode())

    def read(self) -> bool:
        """Take in what it tells; return False once it has closed its pipe."""
        data = os.read(self.pipe, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return bool(data)

    def _take(self, message: dict[str, Any]) -> None:
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
            if self._iterations == 1:  # the first one's time holds the start of the peers
                run.recent.clear()
            self._iterations += 1
            run.recent.append(message["seconds"])

    def end(self) -> None:
        """See how it ended."""
        os.close(self.pipe)
        run, code = self.run, self.child.wait()
        try:
            run.refresh()
        except P2PError as error:
            run.error, run.exit_code = str(error), error.exit_code
        if run.state is State.COMPLETE:
            self.log.unlink(missing_ok=True)
        elif run.state is State.STOPPING and code in INTERRUPTED:
            run.state, run.error, run.exit_code = State.STOPPED, "", 0
        else:
            run.state = State.FAILED
            if not run.error:
                run.error, run.exit_code = self._last_words(code)

    def _last_words(self, code: int) -> tuple[str, int]:
        """Return why a process ended that could not tell."""
        if code < 0:
            name = signal.Signals(-code).name
            return f"its process was killed by {name}", PeerLost.exit_code
        lines = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        return f"{last.strip()} (see {self.log})", code or P2PError.exit_code


def typical_seconds(run: PlannedRun, room: Room) -> float:
    """Return about how long the rest of a run takes, in a unit that is the same for all."""
    return run.steps_left / _typical_rate(run.config, room)


def _typical_rate(config: TrainConfig, room: Room) -> float:
    return TYPICAL[config.task] * room.takes(config)


def seconds_left(runs: Sequence[PlannedRun], jobs: int | None = None) -> float | None:
    """Return how long the rest of the study takes; None before the first speed is known.

    Runs of a kind are taken to be as fast as those of it that run; other kinds, by the
    ratio of their tasks' typical speeds and of the cores that they take. Tests are taken to
    be as fast as training, which is slower. The schedule is that of `run_study`.

    Args:
        jobs: runs at a time; None: as many as the cores have room for.
    """
    room = find_room(jobs)
    known = [run for run in runs if run.rate]
    if not known:
        return None
    scale = fmean((run.rate or 0.0) / _typical_rate(run.config, room) for run in known)

    def rate(config: TrainConfig) -> float:
        kind = [r.rate for r in known if r.rate and _kind(r.config) == _kind(config)]
        return fmean(kind) if kind else scale * _typical_rate(config, room)

    def left(run: PlannedRun) -> float:
        return run.steps_left / (run.rate or rate(run.config))

    at_work = [run for run in runs if run.state in (State.RUNNING, State.TESTING)]
    ends = [(left(run), room.takes(run.config)) for run in at_work]
    heapq.heapify(ends)
    waiting = [run for run in runs if run.state is State.WAITING]
    now, free = 0.0, room.size - sum(cores for _, cores in ends)
    while ends or waiting:
        while run := next_run(waiting, room, free):
            cores = room.takes(run.config)
            heapq.heappush(ends, (now + left(run), cores))
            free -= cores
        now, cores = heapq.heappop(ends)
        free += cores
    return now


def _kind(config: TrainConfig) -> tuple[str, str, int]:
    return config.task, config.method, config.num_peers
