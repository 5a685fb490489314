"""Follows the journal of a run and passes it on to a tracker, however the tracker behaves."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain, islice
from typing import Any

from p2p.cohort.tracking.quantities import Quantities
from p2p.cohort.tracking.tracker import Job, Point, Status, Tracker, find_tracker, shown
from p2p.core.errors import BadArtefact
from p2p.runs.files import read_json, write_json
from p2p.runs.journal import Journal, Record

RETRY = 60.0  # s, after a failure
SAVE = 2.0  # s, between two notes of how far the tracker is
BATCH = 50  # iterations that are passed on at once, if so many are there


class Follower:
    """The journal of a run, and the tracker that it is passed on to.

    Args:
        tell: called with what the parent should know: a note, a warning, or progress.

    Attributes:
        logged: iterations that the tracker has.
    """

    def __init__(self, job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
        self.job, self.tell = job, tell
        self.journal = Journal(job.folder.parent / "journal.jsonl")
        self._file = job.folder / f"{job.tracker}.json"
        self.tracker: Tracker | None = None
        self.identity, self.logged = self._saved()
        self._noted = self._warned = False
        self._retry_at = self._save_at = 0.0

    def _saved(self) -> tuple[dict[str, Any], int]:
        """Return what earlier sessions have noted."""
        if not self._file.exists():
            return {}, 0
        try:
            kept = read_json(self._file)
            return dict(kept["identity"]), int(kept["iterations"])
        except (BadArtefact, KeyError, TypeError, ValueError):
            return {}, 0

    def _save(self) -> None:
        write_json(self._file, {"identity": self.identity, "iterations": self.logged})
        self._save_at = time.monotonic() + SAVE

    def follow(self) -> None:
        """Pass on what is new; after a failure wait a while, then begin anew where it was."""
        if time.monotonic() < self._retry_at:
            return
        try:
            self._pass_on()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.tracker, self._retry_at = None, time.monotonic() + RETRY
        traceback.print_exc()  # into the log
        if not self._warned:
            self._warned = True
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            log = shown(self._file.with_suffix(".log"))
            text = f"{self.job.tracker}: {reason.rstrip('.')}; trained on without it (see {log})"
            self.tell({"warning": text})

    def _pass_on(self) -> None:
        tracker = self.tracker or self._open()
        for points in self._batches():
            tracker.log(points)
            self.logged = points[-1].iteration + 1
            self.tell({"logged": self.logged})
            if time.monotonic() >= self._save_at:
                tracker.flush()
                self._save()

    def _open(self) -> Tracker:
        """Open the tracker's run, or open it again, and note at once which it is."""
        job = self.job
        tracker = find_tracker(job.tracker)(job, self.identity, self.logged)
        self.identity = tracker.identity
        self.logged = tracker.first(job.done, self.logged)
        self.quantities = Quantities(job.num_peers, job.cut, job.limit)
        self._offset, self._seconds = 0, 0.0
        self._save()
        self.tracker = tracker
        if not self._noted:
            self._noted = True
            self.tell({"note": f"{job.tracker}: {tracker.where}"})
        return tracker

    def _batches(self) -> Iterator[list[Point]]:
        """Yield what the journal has and the tracker lacks."""
        for records, offset in self.journal.parts(self._offset):
            self._offset = offset
            yield from self._points(records)

    def _points(self, records: Iterable[Record]) -> Iterator[list[Point]]:
        points = []
        for record in records:
            values = self.quantities.of(record)
            self._seconds += record.get("seconds") or 0.0
            if record["iteration"] < self.logged:
                continue
            points.append(Point(record["iteration"], record["steps"], self._time(record), values))
            if len(points) == BATCH:
                yield points
                points = []
        if points:
            yield points

    def _time(self, record: Record) -> float:
        """Return when an iteration ended; earlier sessions are put before this one without gaps."""
        if record["iteration"] >= self.job.done:
            return self.job.began + float(record.get("elapsed") or 0.0)
        return self.job.began - (self._before - self._seconds)

    @cached_property
    def _before(self) -> float:
        """Seconds that earlier sessions took."""
        records = chain.from_iterable(records for records, _ in self.journal.parts(0))
        earlier = islice(records, self.job.done)
        return sum(float(record.get("seconds") or 0.0) for record in earlier)

    def finish(self, status: Status, scores: list[Mapping[str, float]]) -> None:
        """Pass on the rest and the final scores, and close the tracker's run."""
        self._retry_at = 0.0
        self.follow()
        if self.tracker is None:
            return
        try:
            summary = self.quantities.final(scores) if status == "finished" else {}
            self.tracker.finish(status, summary)
            self._save()
        except Exception as error:
            self._failed(error)
