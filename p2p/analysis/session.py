"""What evaluation and gradient variance share: one call of an analysis.

A session reads what the files beside the runs hold, works through what is missing on all cores,
saves every ten seconds, and stops at a signal. A result is a function of its key, so nothing is
measured twice, and the number of processes changes no bit.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from p2p.analysis.file import ResultFile
from p2p.analysis.pool import Pool, WorkerReport
from p2p.core.errors import Interrupted, PeerLost, UsageError
from p2p.core.platform import num_cores
from p2p.core.signals import StopSignals
from p2p.runs.files import advising

SAVE_EVERY = 10.0  # s

K = TypeVar("K")  # what a result is a function of
V = TypeVar("V")  # the result
J = TypeVar("J")  # a job: an episode to run, a checkpoint to measure at


class Progress(NamedTuple):
    """How far an analysis is."""

    done: int  # jobs, episodes or checkpoints, that ended in this call
    total: int  # jobs of this call; what was kept from before is not among them
    steps: int
    share: float  # 0..1
    seconds: float


class Target(ABC, Generic[K, V]):
    """A run in a session, and the keys of all its results.

    Attributes:
        file: where its results are kept; None if nowhere.
        advice: what to do if the file cannot be written.
    """

    file: ResultFile[K, V] | None
    advice: ClassVar[str]

    @abstractmethod
    def keys(self) -> Iterator[K]:
        """Yield the key of every result that it needs; some may come twice."""

    def own(self, rows: Mapping[K, V]) -> dict[K, V]:
        """Return those of `rows` that it needs."""
        return {key: rows[key] for key in self.keys() if key in rows}

    def keep(self, rows: Mapping[K, V]) -> None:
        """Write those of `rows` that it needs to its file.

        Raises:
            NoRoom: the file cannot be written.
        """
        own = self.own(rows)
        if self.file is None or own.keys() <= self.file.rows.keys():
            return
        with advising(self.advice):
            self.file.keep(own)


class Session(ABC, Generic[K, V, J]):
    """One call of an analysis: what is known, what is missing, and what it took.

    Attributes:
        work: what was done with the jobs, in messages: "episodes were run".
        rows: all results that are known.
        done, total, steps: jobs that ended, jobs of this call, environment steps.
        reused: results that had been known before.
    """

    work: ClassVar[str]
    targets: Sequence[Target[K, V]]

    def __init__(
        self,
        targets: Sequence[Target[K, V]],
        workers: int,
        report: Callable[[Progress], None] | None,
    ) -> None:
        self.targets, self.workers, self.report = targets, workers, report
        self.rows: dict[K, V] = {}
        self.done = self.total = self.steps = self.reused = 0
        self._begun = time.perf_counter()

    @abstractmethod
    def missing(self) -> list[list[J]]:
        """Return the jobs that `rows` lacks, in batches of one pool each, and set `reused`."""

    @abstractmethod
    def pool(self, jobs: Sequence[J]) -> Pool:
        """Return the pool of a batch; it reports jobs by their index."""

    @abstractmethod
    def take(self, job: J, found: Any) -> None:
        """Add what a job found to `rows`."""

    @property
    @abstractmethod
    def share(self) -> float:
        """Share of the work that is done, 0..1."""

    @property
    def seconds(self) -> float:
        """Time since the session began, s."""
        return time.perf_counter() - self._begun

    def run(self) -> None:
        """Work through all that is missing.

        Raises:
            NoRoom: the results cannot be written.
            Interrupted: a signal; what was found is kept.
            PeerLost: a process died; what was found is kept.
        """
        for target in self.targets:
            if target.file is not None:
                self.rows |= target.file.rows
        batches = self.missing()
        self.total = sum(map(len, batches))
        self._save()  # first, so that it fails before the work if it fails
        for jobs in batches:
            self._work(jobs)

    def _work(self, jobs: Sequence[J]) -> None:
        """Work through a batch on all cores, and save now and then."""
        saved = time.perf_counter()
        try:
            with StopSignals() as signals, self._started(jobs, signals) as pool:
                for report in pool.reports():
                    self._note(report, jobs)
                    if signals.received is not None:
                        raise Interrupted(self._so_far(), signals.received)
                    if time.perf_counter() - saved > SAVE_EVERY:
                        self._save()
                        saved = time.perf_counter()
        except PeerLost as lost:
            raise PeerLost(f"{lost}; {self._so_far()}") from None
        finally:
            self._save()

    @contextmanager
    def _started(self, jobs: Sequence[J], signals: StopSignals) -> Iterator[Pool]:
        """Start the pool of a batch, which waits for imports: a signal interrupts that."""
        pool = self.pool(jobs)
        try:
            with signals.raising(self._so_far()):
                pool.__enter__()
            yield pool
        finally:
            pool.__exit__()

    def _note(self, report: WorkerReport, jobs: Sequence[J]) -> None:
        """Add what a process reports, and tell the caller how far the session is."""
        for number, found in report.ended:
            self.take(jobs[number], found)
        self.steps += report.steps
        self.done += len(report.ended)
        if self.report is not None:
            progress = Progress(self.done, self.total, self.steps, self.share, self.seconds)
            self.report(progress)

    def _save(self) -> None:
        for target in self.targets:
            target.keep(self.rows)

    def _so_far(self) -> str:
        kept = all(target.file is not None for target in self.targets)
        then = "the same command goes on from there" if kept else "nothing is kept"
        return f"{self.done} of {self.total} {self.work}; {then}"


def check_workers(workers: int | None) -> int:
    """Return the number of processes; by default one a core.

    Raises:
        UsageError: it is below 1.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers=} must be at least 1")
    return workers or num_cores()
