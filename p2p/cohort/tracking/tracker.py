"""What a tracker is to the process that feeds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from p2p.cohort.tracking.quantities import Values

PROJECT = "p2p"  # of those that have projects or experiments, unless their own variables name one
Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Job:
    """What the process of a tracker is told at its start, as JSON.

    Attributes:
        tracker: its name.
        run: the run folder, absolute.
        settings: of the run, flat.
        done: iterations that were complete when the session began.
        began: when that was, s since the epoch.
        num_peers, cut, limit: as `Quantities` takes them.
    """

    tracker: str
    run: str
    settings: dict[str, Any]
    done: int
    began: float
    num_peers: int
    cut: bool
    limit: int

    @property
    def name(self) -> str:
        """What the run is called."""
        return Path(self.run).name

    @property
    def folder(self) -> Path:
        """Where trackers keep their files."""
        return Path(self.run) / "tracking"


class Point(NamedTuple):
    """The numbers of one iteration.

    Attributes:
        iteration: counted from 0.
        steps: environment steps over all peers, the x axis.
        time: when the iteration ended, s since the epoch.
    """

    iteration: int
    steps: int
    time: float
    values: Values


class Tracker(ABC):
    """A run as a tracker sees it, open for writing.

    Attributes:
        identity: what a later session needs to continue this run there; JSON.
        where: where to look at it.
    """

    identity: dict[str, Any]
    where: str

    @abstractmethod
    def __init__(self, job: Job, identity: Mapping[str, Any], logged: int) -> None:
        """Open the run, a new one if `identity` is empty.

        Args:
            logged: iterations that earlier sessions have logged.
        """

    def first(self, done: int, logged: int) -> int:
        """Return the iteration to log next; what is logged already stays as it is.

        A resumed run repeats the iterations since its checkpoint with the same numbers.
        """
        return logged

    @abstractmethod
    def log(self, points: Sequence[Point]) -> None:
        """Log the numbers of one or more iterations."""

    def flush(self) -> None:
        """Write what was logged."""

    @abstractmethod
    def finish(self, status: Status, summary: Values) -> None:
        """Log final scores, if training has reached its end, and close the run."""


def shown(path: Path) -> str:
    """Return a path as a user would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def find_tracker(name: str) -> type[Tracker]:
    """Import and return the class of a tracker; it may take seconds."""
    found: type[Tracker] = import_module(f"p2p.cohort.tracking.{name}").Run
    return found
