"""What is kept of a divergence: the state and the samples of the peer that diverged."""

from __future__ import annotations

from p2p.core.errors import Diverged, NoRoom, P2PError
from p2p.runs import RunFolder, write_atomically
from p2p.runs.checkpoints import Checkpoints

DUMPS = "diverged-peer-*.safetensors"


def what_is_left(run: RunFolder, rank: int = 0, error: P2PError | None = None) -> str:
    """Return what to say of the run folder after a divergence; keep what the peer has sent of it.

    Args:
        rank: of the peer.
        error: that it sent.
    """
    left = "; there was no checkpoint yet"
    if Checkpoints(run.path).newest() is not None:
        left = f"; the last valid checkpoint is in {run.path}/checkpoints"
    if not (isinstance(error, Diverged) and error.dump):
        return left
    path = run.path / DUMPS.replace("*", str(rank))
    try:
        write_atomically(path, error.dump, "dump")
    except NoRoom as full:
        return f"{left}; {full}"
    return f"{left}; what diverged is in {path.name}"
