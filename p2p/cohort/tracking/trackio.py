"""trackio, in its local database, or on a Space or server that its own variables name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import trackio

from p2p.cohort.tracking.quantities import Values
from p2p.cohort.tracking.tracker import PROJECT, Job, Point, Status, Tracker


class Run(Tracker):
    """A run of trackio's, which knows runs by their names alone."""

    def __init__(self, job: Job, identity: Mapping[str, Any], logged: int) -> None:
        name = identity.get("name") or f"{job.name}-{secrets.token_hex(3)}"
        project = identity.get("project") or os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run = trackio.init(
            project=project, name=name, config=dict(job.settings), resume="allow", embed=False,
            auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip
        self.identity = {"project": project, "name": name}
        self.where = f"trackio show --project {project}, run {name}"
        self._steps = 0

    def log(self, points: Sequence[Point]) -> None:
        """Log each iteration at its step."""
        for point in points:
            self._run.log(dict(point.values), step=point.steps)
            self._steps = point.steps

    def finish(self, status: Status, summary: Values) -> None:
        """Log the final scores, and close the run."""
        if summary:
            self._run.log(dict(summary), step=self._steps)
        self._run.finish()
