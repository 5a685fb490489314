"""The job of one run on a Slurm cluster: start the run or go on with it, then test it.

    python -m p2p.study.slurm_job SUBMISSION SOURCES

SUBMISSION is the file of `p2p.study.submissions`, in which SLURM_ARRAY_TASK_ID says which run is
meant, and SOURCES the user's classes as JSON. Nothing is pickled.

SIGUSR1 and SIGUSR2 are notices: the time limit is near, or another job takes the place. The run
then ends with a checkpoint and the job puts itself into the queue again. SIGTERM and SIGINT end it
likewise, but for Slurm to decide: `scancel` is for good, `scontrol requeue`, preemption and the
loss of a node are not. A run that fails by itself is never put into the queue again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from p2p.cohort import launch
from p2p.core.errors import Interrupted, P2PError, UsageError
from p2p.core.platform import NOTICES, STOP_SIGNALS, num_cores
from p2p.core.signals import provisional
from p2p.runs.files import read_json
from p2p.study.run_process import end_now, train_and_test
from p2p.study.submissions import Status, Submissions

REPORT_EVERY = 60.0  # s, between two lines of progress in the log
MAX_IDLE = 3  # sessions in a row that end by a notice without having gained anything
NO_TIME = (
    f"{MAX_IDLE} jobs in a row reached their time limit before anything was gained; "
    "give them a longer --time"
)


class Job:
    """This process's job.

    Args:
        submission: the file of the submission.
        index: of the run in it.
        job: its id.
    """

    def __init__(self, submission: Path, index: int, job: str) -> None:
        kept = read_json(submission)
        self.given: dict[str, Any] = kept["jobs"][index]
        self.run: str = kept["runs"][index]
        self.submissions = Submissions(submission.parent.parent)
        before = self.submissions.status_of(self.run)
        log = str(self.submissions.log_of(job))
        host = socket.gethostname()
        self.status = Status(kept["name"], job, host, log, idle=before.idle if before else 0)
        if before is not None and before.submission != kept["name"]:  # a person has sent it again
            self.status = replace(self.status, idle=0)
        self._gained = False
        self._said = float("-inf")

    def begin(self) -> None:
        """Write that it has begun."""
        self._write()
        print(
            f"{self.run}: job {self.status.job} on {self.status.host}, CPUs: {cores()}", flush=True
        )

    def progress(self, **message: Any) -> None:
        """Note a message of the run, and write a line of progress now and then."""
        self._gained |= message.get("seconds") is not None or message.get("tested", 0.0) > 0.0
        if time.monotonic() - self._said < REPORT_EVERY:
            return
        self._said = time.monotonic()
        if "tested" in message:
            print(f"tests: {message['tested']:.0%}", flush=True)
        else:
            print(f"{message['steps']:,} steps", flush=True)

    def stopped(self, number: int) -> int:
        """Write that a signal has stopped it; after a notice, put it into the queue again.

        Returns:
            The exit code.
        """
        if number not in NOTICES:
            return self.ended(128 + number)
        idle = 0 if self._gained else self.status.idle + 1
        self.status = replace(self.status, idle=idle)
        if idle >= MAX_IDLE:
            return self.ended(UsageError.exit_code, NO_TIME)
        code = self.ended(128 + number)
        requeue = ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]]
        print("$", *requeue, flush=True)
        try:
            subprocess.run(requeue, check=True, timeout=60, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"not put into the queue again: {error}; p2p study submits it", file=sys.stderr)
        return code

    def ended(self, exit_code: int, error: str = "") -> int:
        """Write how it has ended, and return its exit code."""
        self.status = replace(self.status, exit_code=exit_code, error=error)
        self._write()
        return exit_code

    @provisional
    def end_now(self, number: int, frame: FrameType | None) -> None:
        """End at a signal at which there is nothing to save.

        A job that puts itself into the queue again gets Slurm's SIGTERM for that: what it has said
        before stands.
        """
        if self.status.exit_code is None:
            self.stopped(number)
        else:
            self._write()  # which the signal may have interrupted
        end_now(number, frame)

    def _write(self) -> None:
        try:
            self.submissions.write_status(self.run, self.status)
        except P2PError as error:  # such as of a full disk: the run says so itself, if it matters
            print(f"warning: {error}", file=sys.stderr)


def main() -> int:
    """Train and test the run; return the exit code."""
    array, index = os.environ["SLURM_ARRAY_JOB_ID"], os.environ["SLURM_ARRAY_TASK_ID"]
    job = Job(Path(sys.argv[1]), int(index), f"{array}_{index}")
    for number in STOP_SIGNALS:  # until the run handles them, there is nothing to save
        signal.signal(number, job.end_now)
    job.begin()
    given = {**job.given, "sources": json.loads(sys.argv[2])}
    try:
        train_and_test(given, Path(given["path"]), cores(), job.progress)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return job.stopped(stopped.signum)
    except P2PError as error:
        print(f"error: {error}", file=sys.stderr)
        return job.ended(error.exit_code, str(error))
    except BaseException as error:
        job.ended(P2PError.exit_code, f"{type(error).__name__}: {' '.join(str(error).split())}")
        raise
    finally:
        launch.kill_server()
    return job.ended(0)


def cores() -> int:
    """Return how many cores the job has, also where nothing keeps it from using others."""
    return min(num_cores(), int(os.environ.get("SLURM_CPUS_PER_TASK", num_cores())))


if __name__ == "__main__":
    sys.exit(main())
