"""`p2p.train`: training in one call, for use as a library."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from p2p.cohort import launch
from p2p.cohort.events import Noted, Started
from p2p.cohort.tracking import check_installed
from p2p.core.config import TrainConfig, build_config
from p2p.runs import RunFolder


def train(
    config: TrainConfig, out: str | Path | None = None, *, track: Sequence[str] = ()
) -> RunFolder:
    """Train a cohort and return its run folder.

    Args:
        config: the settings.
        out: the run folder to create; default a new one under `runs/`.
        track: trackers to log to, in place of `config.track`: "tensorboard", "wandb", ...

    Raises:
        P2PError: see `p2p.cohort.cohort.train`.
    """
    if track:
        config = config.model_copy(update={"track": build_config(track=list(track)).track})
    check_installed(config.track)
    launch.prepare(config.engine)
    from p2p.cohort import cohort  # imports torch while the fork server does, too

    for event in cohort.train(config, out=Path(out) if out is not None else None):
        if isinstance(event, Started):
            run = event.run
        elif isinstance(event, Noted) and event.is_warning:
            warnings.warn(event.text, stacklevel=2)
    return run
