"""Versions that a run's bits depend on, and the machine."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from p2p.core.version import DISTRIBUTION

PACKAGES = ("p2p", "torch", "mujoco", "gymnasium", "numpy", "numba", "scipy", "h5py", "safetensors")


def collect_versions() -> dict[str, Any]:
    """Return versions by package, and platform, processor and CPUs; imports no package."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(DISTRIBUTION if package == "p2p" else package)
    return {
        **found,
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
    }


def _cpu_model() -> str:
    """Return the processor's name as the kernel reports it, else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()
