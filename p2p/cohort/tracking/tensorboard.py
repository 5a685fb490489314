"""TensorBoard's event files, in the run folder's `tensorboard/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams
from tensorboardX.writer import FileWriter

from p2p.cohort.tracking.quantities import Values
from p2p.cohort.tracking.tracker import Job, Point, Status, Tracker, shown

METRICS = ("final/return", "best/return", "train/return")  # beside the hyperparameters


class Run(Tracker):
    """Event files, a new one each session."""

    def __init__(self, job: Job, identity: Mapping[str, Any], logged: int) -> None:
        folder = Path(job.run) / "tensorboard"
        self.identity = {"folder": folder.name}
        self.where = f"tensorboard --logdir {shown(folder)}"
        self._writer = FileWriter(str(folder))
        if logged:
            # Readers drop what earlier files have from this step on.
            purged = self.first(job.done, logged) * job.settings["steps_per_iteration"] + 1
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(session_log=start), step=purged)
        self._last = 0
        self._hparams = hparams(job.settings, dict.fromkeys(METRICS, 0.0))
        for part in self._hparams[:2]:  # the session's end follows with its status
            self._writer.add_summary(part, 0)

    def first(self, done: int, logged: int) -> int:
        """Return the iteration that the session begins with, from which on the files are purged."""
        return min(done, logged)

    def log(self, points: Sequence[Point]) -> None:
        """Add one event an iteration."""
        for point in points:
            self._add(point.values, point.steps, point.time)

    def _add(self, values: Values, steps: int, time: float | None = None) -> None:
        scalars = [Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        self._writer.add_summary(Summary(value=scalars), steps, time)
        self._last = steps

    def flush(self) -> None:
        """Write what was logged."""
        self._writer.flush()

    def finish(self, status: Status, summary: Values) -> None:
        """Add the final scores at the last step, and the session's end for the HParams tab."""
        if summary:
            self._add(summary, self._last)
        if status == "finished":
            self._writer.add_summary(self._hparams[2], 0)
        self._writer.close()
