"""Weights & Biases, as its own environment variables say (WANDB_MODE, WANDB_PROJECT, ...)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from p2p.cohort.tracking.quantities import Values
from p2p.cohort.tracking.tracker import PROJECT, Job, Point, Status, Tracker, shown

EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}


class Run(Tracker):
    """A run of W&B's; its step is the number of environment steps."""

    def __init__(self, job: Job, identity: Mapping[str, Any], logged: int) -> None:
        job.folder.mkdir(exist_ok=True)
        run = wandb.init(
            project=identity.get("project") or os.environ.get("WANDB_PROJECT", PROJECT),
            entity=identity.get("entity"),
            id=identity.get("id"),
            name=os.environ.get("WANDB_NAME", job.name),
            resume="allow" if identity else None,
            dir=os.environ.get("WANDB_DIR", str(job.folder)),
            config=dict(job.settings),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run = run
        self.identity = {"id": run.id, "project": run.project, "entity": run.entity or None}
        offline = Path(run.settings.sync_dir).parent / "offline-run-*"  # those of all sessions
        self.where = run.url if not run.offline else f"wandb sync {shown(offline)}"

    def log(self, points: Sequence[Point]) -> None:
        """Log each iteration at its step; W&B drops steps that it has already."""
        for point in points:
            self._run.log(dict(point.values), step=point.steps)

    def finish(self, status: Status, summary: Values) -> None:
        """Put the final scores into the summary, and close the run and W&B's service."""
        self._run.summary.update(summary)
        self._run.finish(exit_code=EXIT_CODES[status])
        wandb.teardown()
