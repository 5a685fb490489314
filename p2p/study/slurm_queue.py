"""What Slurm says of jobs: `squeue`, and where it no longer knows them `sacct`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

from p2p.core.errors import P2PError, UsageError
from p2p.study.submissions import Submission

PATIENCE = 120.0  # s, for an answer of Slurm's
QUEUED, ACCOUNTED = "%j|%i|%T|%r", "JobName,JobID,State"  # what is asked of each
RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
)  # fmt: skip


class Job(NamedTuple):
    """A job as Slurm sees it.

    Attributes:
        id: `12_3`, the array's and the index in it.
        state: in capitals, as in `squeue`'s manual; any that is not in `ENDED` is still to end.
        reason: why it waits.
    """

    id: str
    state: str
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it will not run again by itself."""
        return self.state in ENDED


Jobs = dict[tuple[str, int], Job]  # by the submission's name and the index in its array


def ask_slurm(wanted: Sequence[tuple[Submission, int]]) -> Jobs:
    """Return the jobs that Slurm knows of.

    Args:
        wanted: the submission and the index of each.

    Raises:
        UsageError: this is no machine of a Slurm cluster.
        P2PError: Slurm does not answer; whether a job is queued is then unknown.
    """
    if not wanted:
        return {}
    found = _read(_ask("squeue", "-h", "-r", "-t", "all", "-n", _names(wanted), "-o", QUEUED))
    gone = [(one, index) for one, index in wanted if (one.name, index) not in found]
    return {**_remembered(gone), **found} if gone else found


def _names(wanted: Sequence[tuple[Submission, int]]) -> str:
    return ",".join(dict.fromkeys(one.name for one, _ in wanted))


def _remembered(gone: Sequence[tuple[Submission, int]]) -> Jobs:
    """Return the jobs that the accounting knows; none where the cluster has no accounting."""
    since = time.strftime("%Y-%m-%d", time.localtime(min(one.began for one, _ in gone)))
    try:
        text = _ask("sacct", "-n", "-X", "-P", "-S", since, "--name", _names(gone), "-o", ACCOUNTED)
    except P2PError:
        return {}
    ended = _read(text).items()  # of the others, squeue knows more
    return {key: job for key, job in ended if job.has_ended}


def _ask(*command: str) -> str:
    """Return what a command of Slurm's prints.

    Raises:
        UsageError: there is no such command.
        P2PError: it failed.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise UsageError(
            f"there is no {command[0]} here; ask on a machine of a Slurm cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise P2PError(f"{command[0]} gave no answer within {PATIENCE:.0f} s; try later") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise P2PError(f"{command[0]} failed: {said}; nothing was submitted")
    return done.stdout


def _read(text: str) -> Jobs:
    """Read lines of `name|job|state` or `name|job|state|reason`."""
    found = {}
    for line in text.splitlines():
        name, job, state, *rest = line.split("|")
        _, _, index = job.partition("_")
        if index.isdecimal():  # not of what is no element of an array
            reason = rest[0] if rest and rest[0] != "None" else ""
            found[name, int(index)] = Job(job, state.split()[0], reason)
    return found
