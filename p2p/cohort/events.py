"""The events of a run, for whatever displays it, in the order in which they happen.

`Noted` comes at any time between Started and the end, also after Finished. As text an event is one
line, so that `p2p.train(config, report=print)` shows a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.runs import RunFolder


@dataclass(frozen=True)
class Started:
    """The run folder exists and the peers are starting; again, after one of them was lost."""

    run: RunFolder
    config: TrainConfig
    resumed_from: int  # iterations already completed
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        config, notes = self.config, "".join(f"; {note}" for note in self.notes)
        begun = f" after iteration {self.resumed_from:,}" if self.resumed_from else ""
        return (
            f"{'resumed' if begun else 'started'} {self.run.path}{begun}: {config.task}, "
            f"{config.method}, {config.num_peers} peers, {config.whole_steps:,} steps{notes}"
        )


@dataclass(frozen=True)
class Iterated:
    """All peers have completed an iteration; `record` is its line in the journal."""

    record: dict[str, Any]

    def __str__(self) -> str:
        ended = [episode[0] for peer in self.record["peers"] for episode in peer["episodes"]]
        shown = "no episode ended"
        if ended:
            shown = f"return {fmean(ended):,.0f} over {len(ended)} episodes"
        return (
            f"iteration {self.record['iteration'] + 1:,}: {self.record['steps']:,} steps, {shown}, "
            f"{self.record['steps_per_second']:,.0f} steps/s"
        )


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint was written."""

    path: Path
    iteration: int  # iterations completed

    def __str__(self) -> str:
        return f"checkpoint after iteration {self.iteration:,}"


@dataclass(frozen=True)
class Noted:
    """Something to say beside the run: where a tracker logs, that it fails, or a restart."""

    text: str
    is_warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.is_warning else 'note'}: {self.text}"


@dataclass(frozen=True)
class Finished:
    """Training reached its last iteration."""

    run: RunFolder
    scores: list[dict[str, float]]  # by rank; empty if final_episodes is 0
    seconds: float  # of all sessions
    steps: int

    def __str__(self) -> str:
        means = [score["mean"] for score in self.scores]
        shown = f", score {fmean(means):,.0f}" if means else ""
        return f"finished {self.run.path}: {self.steps:,} steps in {self.seconds:,.0f} s{shown}"


Event = Started | Iterated | Checkpointed | Noted | Finished
