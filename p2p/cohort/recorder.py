"""Merges the peers' reports and writes them to the run folder: journal, checkpoints, result."""

from __future__ import annotations

import time
from typing import Any

from p2p.cohort.best import BestPolicies
from p2p.cohort.events import Checkpointed, Event, Finished, Iterated
from p2p.core.config import TrainConfig
from p2p.peer import reports
from p2p.runs import RunFolder
from p2p.runs import hdf5 as hdf5  # now: the first checkpoint must not wait for its import
from p2p.runs.files import write_atomically
from p2p.runs.restarts import count_restarts

H5_PAUSE = 100  # times the duration of writing run.h5, until it is written again
H5_GROWTH = 0.1  # of its rows, until it is written again: a row is written 11 times at most


class Recorder:
    """Merges the reports of all peers and writes them to the run folder.

    Attributes:
        completed: iterations that all peers have reported.
        stopped: the signal by which a stop was requested, once all peers have ended for that.
    """

    def __init__(self, run: RunFolder, config: TrainConfig, done: int) -> None:
        self.run, self.config, self.completed = run, config, done
        self.stopped = 0
        self.resumed_from = done
        self.earlier_seconds = 0.0
        self.best = BestPolicies(run)
        for record in run.journal.stream():
            self.earlier_seconds += record.get("seconds") or 0.0
            self.best.note(record)
        self.start = self.last = time.perf_counter()
        self.h5_due = 0.0  # when run.h5 may be written next
        self.h5_stale = False
        self.pending: dict[tuple[type, int], dict[int, Any]] = {}  # reports by rank

    def go_back(self, done: int) -> None:
        """Expect what follows iteration `done` again, once the journal ends there.

        The time that was lost counts for the next record.
        """
        self.pending.clear()
        self.completed, self.best, elapsed = done, BestPolicies(self.run), 0.0
        for record in self.run.journal.stream():
            self.best.note(record)
            elapsed = record["elapsed"]
        self.last = self.start + (elapsed if done > self.resumed_from else 0.0)

    def add(self, rank: int, message: Any) -> Event | None:
        """Add a message of peer `rank`; once all peers have sent theirs, write and return it."""
        key = type(message), message[0]
        parts = self.pending.setdefault(key, {})
        parts[rank] = message
        if len(parts) < self.config.num_peers:
            return None
        del self.pending[key]
        return self._write([parts[k] for k in range(self.config.num_peers)])

    def _write(self, parts: list[Any]) -> Event | None:
        """Write one message of each peer, by rank; return the event that it makes, if any."""
        first = parts[0]
        if isinstance(first, reports.Iteration):
            record = self._record(first.iteration, [part.metrics for part in parts])
            self.run.append(record)
            self.completed = first.iteration + 1
            return Iterated(record)
        if isinstance(first, reports.Tested):
            for rank, part in enumerate(parts):
                self.best.keep(rank, part)
            return None
        if isinstance(first, reports.Milestone):
            self.run.save_milestone(first.iteration, reports.join_peers(parts))
            return None
        if isinstance(first, reports.Checkpoint):
            path = self.run.save_checkpoint(first.iteration, reports.join_peers(parts), {})
            for rank, part in enumerate(parts):
                write_atomically(self.run.policy_path(rank), part.policy, "policy")
            self.h5_stale = True
            self._write_h5(last=False)
            return Checkpointed(path, first.iteration)
        if isinstance(first, reports.Stopped):
            self.stopped = first.signum
            self._write_h5(last=True)
            return None
        scores = [part.score for part in parts if part.score is not None]
        seconds = self.earlier_seconds + time.perf_counter() - self.start
        steps = self.completed * self.config.steps_per_iteration
        self._write_h5(last=True)
        restarts = count_restarts(self.run.path)
        told = {"restarts": restarts} if restarts else {}
        self.run.save_result({"steps": steps, "seconds": seconds, "scores": scores, **told})
        return Finished(self.run, scores, seconds, steps)

    def _write_h5(self, *, last: bool) -> None:
        """Write run.h5 if it is out of date, and the last attempt was long enough ago.

        The file is replaced as a whole, which costs the more the longer the run. So it waits until
        the run has grown by a tenth, too: over a run the cost of a row does not grow with the run.

        Args:
            last: the run ends: write it now.
        """
        begun = time.perf_counter()
        new = self.completed - self.run.h5.rows
        early = begun < self.h5_due or new < H5_GROWTH * self.completed
        if not self.h5_stale or (early and not last):
            return
        self.run.write_h5()
        self.h5_stale = False
        ended = time.perf_counter()
        self.h5_due = ended + H5_PAUSE * (ended - begun)

    def _record(self, iteration: int, peers: list[dict[str, Any]]) -> dict[str, Any]:
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        size = self.config.steps_per_iteration
        return {
            "iteration": iteration,
            "steps": (iteration + 1) * size,
            "seconds": seconds,
            "elapsed": now - self.start,
            "steps_per_second": (iteration + 1 - self.resumed_from) * size / (now - self.start),
            "peers": peers,
        }
