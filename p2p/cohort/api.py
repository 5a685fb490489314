"""Training as a library: one call."""

from __future__ import annotations

from pathlib import Path

from p2p.cohort import launch
from p2p.cohort.events import Started
from p2p.core.config import TrainConfig
from p2p.runs import RunFolder


def train(config: TrainConfig, out: str | Path | None = None) -> RunFolder:
    """Train a cohort and return its run folder.

    Args:
        config: the settings.
        out: the folder to make; default a new one under `runs/`.

    Raises:
        P2PError: see `p2p.cohort.cohort.train`.
    """
    launch.prepare(config.engine)
    from p2p.cohort import cohort  # imports torch, which the fork server is doing meanwhile

    for event in cohort.train(config, out=Path(out) if out is not None else None):
        if isinstance(event, Started):
            run = event.run
    return run
