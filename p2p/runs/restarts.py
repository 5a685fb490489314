"""restarts.jsonl: why and where the peers of a run were started again.

One JSON object a restart: `time` (s since the epoch), `after` (iterations that all peers had
reported), `again_from` (iterations of the checkpoint that they went back to), `why` (a sentence).
"""

from __future__ import annotations

import time
from pathlib import Path

from p2p.runs.journal import Journal

NAME = "restarts.jsonl"


def note_restart(run: Path, after: int, again_from: int, why: str) -> None:
    """Add a restart to those of the run folder `run`.

    Raises:
        NoRoom: the disk is full or cannot be written.
    """
    restart = {"time": time.time(), "after": after, "again_from": again_from, "why": why}
    Journal(run / NAME).append(restart)


def count_restarts(run: Path) -> int:
    """Return how often the peers of a run were started again, over all sessions.

    Raises:
        BadArtefact: the file cannot be read.
    """
    return Journal(run / NAME).count()
