"""The events of a run, for whatever displays it, in the order in which they happen.

`Noted` comes at any time between Started and the end, also after Finished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.runs import RunFolder


@dataclass(frozen=True)
class Started:
    """The run folder exists and the peers are starting."""

    run: RunFolder
    config: TrainConfig
    resumed_from: int  # iterations already completed
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Iterated:
    """All peers have completed an iteration; `record` is its line in the journal."""

    record: dict[str, Any]


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint was written."""

    path: Path
    iteration: int  # iterations completed


@dataclass(frozen=True)
class Noted:
    """Something to say beside the run: where a tracker logs, or that it fails."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Finished:
    """Training reached its last iteration."""

    run: RunFolder
    scores: list[dict[str, float]]  # by rank; empty if final_episodes is 0
    seconds: float  # of all sessions
    steps: int


Event = Started | Iterated | Checkpointed | Noted | Finished
