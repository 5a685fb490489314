"""A run on disk: its folder, journal, checkpoints and run.h5.

Writes are atomic, and every file is checked when it is read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2p.runs.checkpoint import Checkpoint
    from p2p.runs.files import replacing, write_atomically
    from p2p.runs.folder import RunFolder

__all__ = ["Checkpoint", "RunFolder", "replacing", "write_atomically"]

_HOME = {
    "Checkpoint": "checkpoint",
    "RunFolder": "folder",
    "replacing": "files",
    "write_atomically": "files",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: a journal's reader needs no MuJoCo."""
    if name not in _HOME:
        raise AttributeError(f"module 'p2p.runs' has no attribute {name!r}")
    return getattr(import_module(f"p2p.runs.{_HOME[name]}"), name)
