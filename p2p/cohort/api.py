"""`p2p.train`: training in one call, for use as a library."""

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
        out: the run folder to create; default a new one under `runs/`.

    Raises:
        P2PError: see `p2p.cohort.cohort.train`.
    """
    launch.prepare(config.engine)
    from p2p.cohort import cohort  # imports torch while the fork server does, too

    for event in cohort.train(config, out=Path(out) if out is not None else None):
        if isinstance(event, Started):
            run = event.run
    return run
