"""What a run leaves on disk: run folder, journal, checkpoints, run.h5.

Nothing here is ever half-written, and nothing is read without being checked.
"""

from p2p.runs.checkpoint import Checkpoint
from p2p.runs.files import replacing, write_atomically
from p2p.runs.folder import RunFolder

__all__ = ["Checkpoint", "RunFolder", "replacing", "write_atomically"]
