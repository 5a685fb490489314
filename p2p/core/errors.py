"""The errors, each with the exit code of the command line.

A message is one line: what happened, where, and what to do.
"""

from __future__ import annotations


class P2PError(Exception):
    """An error that a user can act on; printed as one line, without a traceback."""

    exit_code = 1


class UsageError(P2PError):
    """A setting or an argument is wrong (exit 2)."""

    exit_code = 2


class Diverged(P2PError):
    """Numbers became non-finite, and again after a rollback (exit 3).

    Attributes:
        dump: the peer's state and samples then, as a safetensors file; empty if there is none.
    """

    exit_code = 3

    def __init__(self, message: str, dump: bytes = b"") -> None:
        super().__init__(message)
        self.dump = dump


class PeerLost(P2PError):
    """A peer died or hangs; the message names the peer, its signal and its phase (exit 4)."""

    exit_code = 4


class BadArtefact(P2PError):
    """A checkpoint, policy or run folder is unreadable, damaged or foreign (exit 5)."""

    exit_code = 5


class NoRoom(P2PError):
    """Disk, memory or shared memory is full, a limit is reached, or not writable (exit 6)."""

    exit_code = 6


class Interrupted(P2PError):
    """A signal stopped the run after a checkpoint (exit 128 + signal)."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.exit_code = 128 + signum
