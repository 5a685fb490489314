"""What differs between operating systems, kernels and containers, each with a fallback.

Nothing else of p2p asks for cores, priorities at a parent's death, or /dev/shm: where a system
call, a file or a module is missing (macOS, gVisor, a container without /dev/shm), training and
evaluation go on without what it gives.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from p2p.core import machine

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SHARED_MEMORY = Path("/dev/shm")


def _signals(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# By which batch systems announce that a job's time is over, or that another takes its place
NOTICES = _signals("SIGUSR1", "SIGUSR2")
STOP_SIGNALS = (*_signals("SIGINT", "SIGTERM", "SIGHUP"), *NOTICES)


def _drop_refused_call() -> None:
    """Take from `os` a call that a sandbox refuses: numba takes it for one that works, and fails.

    Where it is missing (macOS), libraries count the cores in other ways.
    """
    try:
        os.sched_getaffinity(0)
    except OSError:
        del os.sched_getaffinity
    except AttributeError:
        pass


_drop_refused_call()


def usable_cores() -> set[int]:
    """Return the cores that this process may run on; where nobody says so, all there are."""
    with suppress(AttributeError, OSError):  # no such call: macOS; not permitted: a sandbox
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def core_time() -> float:
    """Return how many cores' time this process has: those that it may run on, within its quota."""
    return min(len(usable_cores()), machine.cpu_quota() or math.inf)


def num_cores() -> int:
    """Return how many processes are worth starting: `core_time`, and one for what is left over."""
    return math.ceil(core_time())


def run_on(cores: Iterable[int]) -> None:
    """Let this process run on these cores alone; do nothing where that cannot be said."""
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, cores)


def signal_at_parents_death(number: int) -> None:
    """Have the kernel send this process a signal when the process that started it ends.

    Only Linux can; elsewhere processes see it by their pipes to the parent.
    """
    if sys.platform != "linux":
        return
    with suppress(AttributeError, OSError):  # a C library or a kernel without it
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)


def free_shared_memory() -> int | None:
    """Return the free bytes of /dev/shm; None where there is none and temporary files serve."""
    with suppress(AttributeError, OSError):
        found = os.statvfs(SHARED_MEMORY)
        return found.f_bavail * found.f_frsize
    return None


def processor() -> str:
    """Return the processor's name as the kernel reports it, else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return os.uname().machine


def load_average() -> float:
    """Return the mean number of running processes in the last minute; 0 where it is unknown."""
    with suppress(AttributeError, OSError):
        return os.getloadavg()[0]
    return 0.0


def _sleep_for_no_time() -> None:
    time.sleep(0)


def _find_yield() -> Callable[[], None]:
    """Return what lets another process run on this core."""
    with suppress(AttributeError, OSError):
        os.sched_yield()
        return os.sched_yield
    return _sleep_for_no_time


yield_core = _find_yield()


def release_memory() -> None:
    """Return freed memory to the system, which glibc keeps for what it may need next."""
    import ctypes

    with suppress(OSError, AttributeError):  # no such call: macOS, musl
        ctypes.CDLL(None).malloc_trim(0)
