"""A run in half a line, for `repr`: cheap, and never an error."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from statistics import fmean

from p2p.core.config import TrainConfig
from p2p.core.errors import P2PError
from p2p.runs.checkpoint import PATTERN, iteration_of
from p2p.runs.files import read_json


def describe(path: Path, config: TrainConfig) -> str:
    """Return task, method, peers, seed, and how far the run at `path` is."""
    peers = f"{config.num_peers} peer{'s' if config.num_peers > 1 else ''}"
    return f"{config.task}, {config.method}, {peers}, seed {config.seed}, {_state(path, config)}"


def _state(path: Path, config: TrainConfig) -> str:
    with suppress(P2PError, OSError, KeyError, TypeError, ValueError):
        if (path / "result.json").exists():
            result = read_json(path / "result.json")
            scores = [score["mean"] for score in result["scores"]]
            shown = f", score {fmean(scores):,.0f}" if scores else ""
            if result["steps"] >= config.whole_steps:
                return f"finished: {result['steps']:,} steps{shown}"
        saved = [iteration_of(file) for file in (path / "checkpoints").glob(PATTERN)]
        done = max(saved, default=0) * config.steps_per_iteration
        return f"saved at {done:,} of {config.whole_steps:,} steps"
    return "damaged"
