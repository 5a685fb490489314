"""Trains and tests the runs of a plan: as many at a time as fit, one process per run."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from p2p.cohort.checks import check_peers
from p2p.core.config import TrainConfig
from p2p.core.errors import Interrupted
from p2p.core.platform import num_cores
from p2p.core.signals import StopSignals
from p2p.envs.task import find_task
from p2p.runs.files import disk_errors
from p2p.runs.lock import FolderLock
from p2p.study.plan import Plan, PlannedRun, State
from p2p.study.processes import RunProcesses


@dataclass(frozen=True)
class Capacity:
    """What the runs share: cores, or a number of runs at a time.

    Attributes:
        size: cores, or runs at a time.
        packed: a run needs 1, however many peers it has; else a core for each of its peers.
    """

    size: int
    packed: bool

    def needed(self, config: TrainConfig) -> int:
        """Return how much of the capacity a run needs; at most all of it."""
        return 1 if self.packed else min(config.num_peers, self.size)


def find_capacity(jobs: int | None = None) -> Capacity:
    """Return the capacity: `jobs` runs at a time, or (None) the cores of this machine.

    Cores are the default because that is faster: two peers with a core each exchange at once,
    while those of two runs on the same two cores wait for a peer that is not scheduled.
    """
    return Capacity(jobs or num_cores(), packed=jobs is not None)


def run_study(plan: Plan, jobs: int | None = None) -> Iterator[PlannedRun]:
    """Train and test the runs that are not complete; a run that fails does not stop the others.

    The longest run that fits starts first.

    Args:
        jobs: runs at a time; default as many as there are cores for.

    Yields:
        A run, whenever its state or progress has changed.

    Raises:
        UsageError: another process runs this study in that folder, or a run has too many peers.
        NoRoom: the folder cannot be written.
        Interrupted: a signal, after every running run wrote a checkpoint.
    """
    _check_peers(plan)
    with disk_errors("study folder", plan.out):
        (plan.out / "logs").mkdir(parents=True, exist_ok=True)
    lock = FolderLock(plan.out)
    lock.acquire()
    try:
        with StopSignals() as signals, RunProcesses(plan) as processes:
            yield from _schedule(plan, processes, find_capacity(jobs), signals)
    finally:
        lock.release()
    if signals.received is not None and plan.count(State.COMPLETE) < len(plan.chosen):
        raise Interrupted(
            f"{plan.count(State.COMPLETE)} of {len(plan.chosen)} runs are complete, "
            f"the others continue from their checkpoints in {plan.out}",
            signals.received,
        )


def _check_peers(plan: Plan) -> None:
    """Raise UsageError, before the first run starts, if one has too many peers."""
    for run in plan.runs:
        check_peers(run.config)


def _schedule(
    plan: Plan, processes: RunProcesses, capacity: Capacity, signals: StopSignals
) -> Iterator[PlannedRun]:
    waiting = [run for run in plan.runs if run.state is State.WAITING]
    stopping = False
    while processes.running or (waiting and signals.received is None):
        taken = sum(capacity.needed(process.run.config) for process in processes.running.values())
        if signals.received is None and (run := next_run(waiting, capacity, capacity.size - taken)):
            yield processes.start(run, capacity.needed(run.config))
            continue
        yield from processes.poll()
        if signals.received is not None and not stopping:
            yield from processes.stop()
            stopping = True


def next_run(waiting: list[PlannedRun], capacity: Capacity, free: int) -> PlannedRun | None:
    """Remove the longest run that fits from `waiting` and return it; None if none fits.

    A run that is too large is overtaken: cores reserved for it would stand idle.
    """
    fitting = [run for run in waiting if capacity.needed(run.config) <= free]
    run = max(fitting, key=lambda run: typical_seconds(run, capacity), default=None)
    if run is not None:
        waiting.remove(run)
    return run


def typical_seconds(run: PlannedRun, capacity: Capacity) -> float:
    """Return about how long the rest of a run takes, in a unit common to all runs."""
    return run.steps_left / _typical_rate(run.config, capacity)


def _typical_rate(config: TrainConfig, capacity: Capacity) -> float:
    return find_task(config.task).steps_per_second * capacity.needed(config)


def seconds_left(runs: Sequence[PlannedRun], jobs: int | None = None) -> float | None:
    """Return how long the rest of the study takes, s; None before the first speed is known.

    A run is assumed to be as fast as running ones of its kind (task, method, peers); without
    any, its speed is scaled by its task's typical speed and the cores that it needs. Tests are
    assumed to be as fast as training, which is slower. The schedule is that of `run_study`.

    Args:
        jobs: runs at a time; None: as many as there are cores for.
    """
    capacity = find_capacity(jobs)
    known = [run for run in runs if run.rate]
    if not known:
        return None
    scale = fmean((run.rate or 0.0) / _typical_rate(run.config, capacity) for run in known)

    def rate(config: TrainConfig) -> float:
        kind = [r.rate for r in known if r.rate and _kind(r.config) == _kind(config)]
        return fmean(kind) if kind else scale * _typical_rate(config, capacity)

    def left(run: PlannedRun) -> float:
        return run.steps_left / (run.rate or rate(run.config))

    running = [run for run in runs if run.state in (State.RUNNING, State.TESTING)]
    ends = [(left(run), capacity.needed(run.config)) for run in running]
    heapq.heapify(ends)
    waiting = [run for run in runs if run.state is State.WAITING]
    now, free = 0.0, capacity.size - sum(cores for _, cores in ends)
    while ends or waiting:
        while run := next_run(waiting, capacity, free):
            cores = capacity.needed(run.config)
            heapq.heappush(ends, (now + left(run), cores))
            free -= cores
        now, cores = heapq.heappop(ends)
        free += cores
    return now


def _kind(config: TrainConfig) -> tuple[str, str, int]:
    return config.task, config.method, config.num_peers
