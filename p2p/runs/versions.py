"""Versions that a run's bits depend on, and the machine."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from p2p.core.platform import num_cores, processor
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
        "cpu": processor(),
        "cpus": num_cores(),
    }
