"""What a container or a login session leaves of a machine: cores, memory, open files.

Linux tells it in files and the others in part; what is unknown is None.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 1 << 60  # bytes: version 1 writes a number near 2^63 for "no limit"


def cpu_quota() -> float | None:
    """Return how many cores' worth of time this process's control groups allow; None: no limit."""
    quotas = []
    for folder in _folders("cpu"):
        text = _read(folder / "cpu.max").split()  # version 2: "150000 100000" or "max 100000"
        if not text:
            text = [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        with suppress(ValueError, IndexError, ZeroDivisionError):
            quotas.append(float(text[0]) / float(text[1]))
    return min((quota for quota in quotas if quota > 0), default=None)  # version 1: -1 is none


def memory_limit() -> int | None:
    """Return the bytes of memory that the control groups allow; None: no limit."""
    limits = []
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):  # version 2, 1
            with suppress(ValueError):
                limits.append(int(_read(folder / name)))
    return min((limit for limit in limits if limit < UNLIMITED), default=None)


def address_limit() -> int | None:
    """Return the bytes of addresses that this process may have (`ulimit -v`); None: no limit."""
    return _soft_limit("RLIMIT_AS")


def memory() -> int | None:
    """Return the bytes of memory that this machine has."""
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def open_files() -> int | None:
    """Return how many files this process may have open."""
    return _soft_limit("RLIMIT_NOFILE")


def _soft_limit(name: str) -> int | None:
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        soft, _ = resource.getrlimit(getattr(resource, name))
        return None if soft == resource.RLIM_INFINITY else soft
    return None


def free_disk(folder: Path) -> int | None:
    """Return the free bytes of a folder's disk."""
    with suppress(AttributeError, OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    return None


def gibibytes(size: float | None) -> str:
    """Return a size in words, "1.5 GiB" or "64 MiB"."""
    if size is None or not math.isfinite(size):
        return "unknown"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _folders(controller: str) -> Iterator[Path]:
    """Yield the control group that this process is in, and those that it lies in."""
    for line in _read(MEMBERSHIP).splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = CGROUP / controller if names else CGROUP  # version 1 has a tree for each
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
