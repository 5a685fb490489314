"""What the peers report, put together and written down: journal, checkpoints, result."""

from __future__ import annotations

import time
from typing import Any

from p2p.cohort.events import Checkpointed, Event, Finished, Iterated
from p2p.core.config import TrainConfig
from p2p.peer import reports
from p2p.runs import RunFolder
from p2p.runs.files import write_atomically

H5_REST = 100  # times what writing run.h5 took, to pass before the next time


class Recorder:
    """Puts the peers' reports together and writes them down.

    Attributes:
        completed: iterations that all peers have reported.
        stopped: whether all peers have left since they were asked to.
    """

    def __init__(self, run: RunFolder, config: TrainConfig, done: int) -> None:
        self.run, self.config, self.completed = run, config, done
        self.stopped = False
        self.first = done
        self.before = sum(record["seconds"] for record in run.records())  # s, of earlier sessions
        self.start = self.last = time.perf_counter()
        self.h5_due = 0.0  # when run.h5 may be written next
        self.h5_stale = False
        self.parts: dict[tuple[type, int], dict[int, Any]] = {}

    def take_in(self, rank: int, report: Any) -> Event | None:
        """Note what peer `rank` reports; once all have, write it down and return what happened."""
        parts = self.parts.setdefault((type(report), report[0]), {})
        parts[rank] = report
        if len(parts) < self.config.num_peers:
            return None
        del self.parts[type(report), report[0]]
        return self._complete([parts[k] for k in range(self.config.num_peers)])

    def _complete(self, parts: list[Any]) -> Event | None:
        """Write down what all peers have now reported, by rank."""
        first = parts[0]
        if isinstance(first, reports.Iteration):
            record = self._record(first.iteration, [part.metrics for part in parts])
            self.run.append(record)
            self.completed = first.iteration + 1
            return Iterated(record)
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
            self.stopped = True
            self._write_h5(last=True)
            return None
        scores = [part.score for part in parts if part.score is not None]
        seconds = self.before + time.perf_counter() - self.start
        steps = self.completed * self.config.steps_per_iteration
        self._write_h5(last=True)
        self.run.save_result({"steps": steps, "seconds": seconds, "scores": scores})
        return Finished(self.run, scores, seconds, steps)

    def _write_h5(self, *, last: bool) -> None:
        """Write run.h5, unless it holds all; if not the last time, only now and then.

        It is rebuilt whole, so what it costs grows with the run, and the peers feel what this
        process takes of their cores: of a thousand HalfCheetah iterations 2 %.
        """
        begun = time.perf_counter()
        if not self.h5_stale or (begun < self.h5_due and not last):
            return
        self.run.write_h5()
        self.h5_stale = False
        ended = time.perf_counter()
        self.h5_due = ended + H5_REST * (ended - begun)

    def _record(self, iteration: int, peers: list[dict[str, Any]]) -> dict[str, Any]:
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        size = self.config.steps_per_iteration
        return {
            "iteration": iteration,
            "steps": (iteration + 1) * size,
            "seconds": seconds,
            "elapsed": now - self.start,
            "steps_per_second": (iteration + 1 - self.first) * size / (now - self.start),
            "peers": peers,
        }
