"""What a study's folder remembers of the jobs of its runs, in `slurm/`.

    <name>.json       a submission, written before it is submitted: which runs it holds, by index
    <run>.status      the last job of a run, written by that job when it begins and when it ends
    <array>_submission.sh, <array>_<index>_0_log.out   by submitit: the script, and a job's log

A submission's name is that of its jobs in the cluster's queue, and no other has it. So they are
found there whatever has become of the process that submitted them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from p2p.core import registry
from p2p.core.errors import BadArtefact
from p2p.runs.files import disk_errors, read_json, write_json
from p2p.study.plan import Plan, PlannedRun

FOLDER = "slurm"


@dataclass(frozen=True)
class Submission:
    """Runs that were submitted together, as one array of jobs.

    Attributes:
        name: of the jobs; unique.
        number: submissions of a study are counted from 1.
        began: when it was submitted, s since the epoch.
        runs: the names of its runs, by their index in the array.
        job: id of the array; None if the submitter has not lived to write it.
    """

    name: str
    number: int
    began: float
    runs: Sequence[str]
    job: str | None = None


@dataclass(frozen=True)
class Status:
    """What a run's last job has said of itself.

    Attributes:
        submission: its name.
        job: id of the job.
        host: where it ran.
        log: its log.
        exit_code: None until it has ended, and for good if it was killed.
        error: why it failed, one line.
        idle: how many sessions in a row have ended by a notice without having gained anything.
    """

    submission: str
    job: str
    host: str
    log: str
    exit_code: int | None = None
    error: str = ""
    idle: int = 0


class Submissions:
    """The submissions of a study.

    Args:
        out: the study's folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    def make_folder(self) -> None:
        """Make the folder, and that of the study.

        Raises:
            NoRoom: it cannot be made.
        """
        with disk_errors("study folder", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Submission]:
        """Return all of them, oldest first.

        Raises:
            BadArtefact: a file is damaged.
        """
        found = [read_submission(file) for file in self.folder.glob("*.json")]
        return sorted(found, key=lambda one: (one.number, one.began))

    def create(self, plan: Plan, runs: Sequence[PlannedRun], number: int) -> Submission:
        """Write what the jobs of these runs need to know, and return the submission.

        Raises:
            NoRoom: the folder cannot be written.
        """
        name = f"p2p-{plan.study.name}-{number}-{secrets.token_hex(3)}"
        made = Submission(name, number, time.time(), [run.name for run in runs])
        jobs = [
            {
                "path": str(run.path.absolute()),
                "settings": run.config.settings,
                **run.to_measure,
            }
            for run in runs
        ]
        write_json(self.file_of(made.name), {**asdict(made), "jobs": jobs})
        return made

    def note_job(self, submission: Submission, job: str) -> Submission:
        """Add the id of the array that was made of it, and return it."""
        file = self.file_of(submission.name)
        write_json(file, {**read_json(file), "job": job})
        return replace(submission, job=job)

    def file_of(self, name: str) -> Path:
        """Return the file of a submission."""
        return self.folder / f"{name}.json"

    def log_of(self, job: str) -> Path:
        """Return the log of a job, `12_3`, as submitit names it."""
        return self.folder / f"{job}_0_log.out"

    def status_of(self, run: str) -> Status | None:
        """Return what the last job of a run has said; None if none has begun.

        Raises:
            BadArtefact: the file is damaged.
        """
        file = self.folder / f"{run}.status"
        return Status(**_fields(Status, file)) if file.exists() else None

    def write_status(self, run: str, status: Status) -> None:
        """Replace the status of a run.

        Raises:
            NoRoom: it cannot be written.
        """
        write_json(self.folder / f"{run}.status", asdict(status))


def read_submission(file: Path) -> Submission:
    """Read a submission.

    Raises:
        BadArtefact: the file is damaged.
    """
    return Submission(**_fields(Submission, file))


def stored_sources() -> list[list[str]]:
    """Return the sources of the user's classes that this process was told of, as JSON has them.

    They go to a job by its command, not by a file: no folder has code loaded.
    """
    return [list(source) for source in registry.sources()]


def _fields(kind: type[Submission] | type[Status], file: Path) -> dict[str, Any]:
    kept = read_json(file)
    known = [field.name for field in fields(kind)]
    if missing := [name for name in known if name not in kept]:
        raise BadArtefact(f"{file} is damaged: it lacks {', '.join(missing)}; remove it")
    return {name: kept[name] for name in known}
