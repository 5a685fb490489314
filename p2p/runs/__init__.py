"""A run on disk: its folder, journal, checkpoints and run.h5.

Writes are atomic, and every file is checked when it is read.
"""

from p2p.runs.checkpoint import Checkpoint
from p2p.runs.files import replacing, write_atomically
from p2p.runs.folder import RunFolder

__all__ = ["Checkpoint", "RunFolder", "replacing", "write_atomically"]
