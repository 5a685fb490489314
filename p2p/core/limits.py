"""Limits that a shell, a container or a batch system sets: which one was hit, in one line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from p2p.core import machine
from p2p.core.errors import NoRoom, PeerLost

OUT_OF_MEMORY = re.compile(
    r"(?:cannot|could not|failed to) (?:allocate|map segment)|out of memory|bad_alloc|"
    r"not enough memory|insufficient memory",
    re.IGNORECASE,
)
NO_THREAD = re.compile(r"can't start new thread|resource temporarily unavailable", re.IGNORECASE)
FILES = (errno.EMFILE, errno.ENFILE)
PEER = "a peer needs about 1 GiB of addresses, and 0.3 of memory"


def explained(error: BaseException) -> NoRoom | None:
    """Return what to say of an error that a limit has caused; None of any other.

    Libraries turn a failed allocation into errors of many kinds, the first cause of which tells.
    """
    if isinstance(error, NoRoom | PeerLost):  # whose words may speak of memory
        return None
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, OSError) and cause.errno in FILES:
            return NoRoom(f"too many open files{_at_most(machine.open_files())}; ulimit -n 1024")
        if isinstance(cause, MemoryError) or OUT_OF_MEMORY.search(str(cause)):
            return NoRoom(f"out of memory{memory_limits()}: {PEER}; allow more, or use fewer peers")
        if isinstance(cause, RuntimeError | BlockingIOError) and NO_THREAD.search(str(cause)):
            return NoRoom("no more processes or threads are allowed; raise ulimit -u or pids.max")
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def explaining() -> Iterator[None]:
    """Raise NoRoom in place of an error that a limit has caused."""
    try:
        yield
    except Exception as error:
        if (told := explained(error)) is not None:
            raise told from error
        raise


def memory_limits() -> str:
    """Return the limits of memory that this process has, in parentheses; empty if it has none."""
    found = {"ulimit -v": machine.address_limit(), "control group": machine.memory_limit()}
    total = machine.memory()
    told = [
        f"{machine.gibibytes(size)} by {name}"
        for name, size in found.items()
        if size is not None and (total is None or size < total)
    ]
    return f" (limited to {', '.join(told)})" if told else ""


def after_death(code: int | None) -> str:
    """Return what may have ended a process with this exit code; empty if nothing hints at it."""
    if code is not None and (limits := memory_limits()):
        return f"; out of memory{limits}? {PEER}"
    return "; was the machine out of memory (dmesg)?" if code == -9 else ""


def _at_most(number: int | None) -> str:
    return "" if number is None else f" (at most {number})"
