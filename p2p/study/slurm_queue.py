"""What Slurm says of jobs: `squeue`, and where it no longer knows them `sacct`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from p2p.core.errors import P2PError, UsageError
from p2p.study.submissions import Submission

PATIENCE = 120.0  # s, for an answer of Slurm's
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


Jobs = Mapping[tuple[str, int], Job]  # by the submission's name and the index in its array


def ask_slurm(submissions: Sequence[Submission]) -> dict[tuple[str, int], Job]:
    """Return the jobs of submissions that Slurm knows of.

    Raises:
        UsageError: this is no machine of a Slurm cluster.
        P2PError: Slurm does not answer; whether a job is queued is then unknown.
    """
    if not submissions:
        return {}
    names = ",".join(one.name for one in submissions)
    found = _read(_ask("squeue", "-h", "-r", "-t", "all", "-n", names, "-o", "%j|%i|%T|%r"))
    return {**_remembered(submissions), **found}


def _remembered(submissions: Sequence[Submission]) -> dict[tuple[str, int], Job]:
    """Return the jobs that the accounting knows; none where the cluster has no accounting."""
    names = ",".join(one.name for one in submissions)
    since = time.strftime("%Y-%m-%d", time.localtime(min(one.began for one in submissions)))
    try:
        text = _ask(
            "sacct", "-n", "-X", "-P", "-S", since, "--name", names, "-o", "JobName,JobID,State"
        )
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


def _read(text: str) -> dict[tuple[str, int], Job]:
    """Read lines of `name|job|state` or `name|job|state|reason`."""
    found = {}
    for line in text.splitlines():
        name, job, state, *rest = line.split("|")
        _, _, index = job.partition("_")
        if index.isdecimal():  # not of what is no element of an array
            reason = rest[0] if rest and rest[0] != "None" else ""
            found[name, int(index)] = Job(job, state.split()[0], reason)
    return found
