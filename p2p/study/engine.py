"""Where the runs of a study are trained and tested: on this machine, or on a cluster.

An engine takes a plan, sees to the runs that are not complete, and says what has become of them.
What they leave is the same everywhere: run folders, from which the plan and the tables are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from p2p.core.platform import num_cores
from p2p.study.plan import Plan, PlannedRun
from p2p.study.schedule import run_study, seconds_left


class Submitted(Protocol):
    """What an engine has given to a cluster in this call."""

    @property
    def job(self) -> str | None: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def runs(self) -> Sequence[str]: ...  # noqa: D102


class Engine(Protocol):
    """Where the runs of a study are trained and tested."""

    @property
    def stays(self) -> bool:
        """Whether `run` ends when the runs have; else they go on by themselves."""

    @property
    def where(self) -> str:
        """Where the runs are, for the first line of a view."""

    @property
    def submitted(self) -> Sequence[Submitted]:
        """What was given to a cluster."""

    def run(self, plan: Plan) -> Iterator[PlannedRun]:
        """See to the runs that are not complete; yield a run whenever it has changed.

        Raises:
            P2PError: that of the study; what becomes of a run stands in its state.
        """

    def seconds_left(self, runs: Sequence[PlannedRun]) -> float | None:
        """Return how long the rest takes, s; None if that is unknown."""


@dataclass(frozen=True)
class LocalEngine:
    """This machine: as many runs at a time as fit.

    Attributes:
        jobs: runs at a time; None: as many as there are cores for.
    """

    jobs: int | None = None
    stays: bool = True
    submitted: Sequence[Submitted] = ()

    @property
    def where(self) -> str:
        """Say how many runs share how many cores."""
        cores = num_cores()
        return (
            f"{self.jobs} at a time" if self.jobs
            else f"{cores} {'core' if cores == 1 else 'cores'}, one per peer"
        )  # fmt: skip

    def run(self, plan: Plan) -> Iterator[PlannedRun]:
        """Train and test the runs; see `run_study`."""
        return run_study(plan, self.jobs)

    def seconds_left(self, runs: Sequence[PlannedRun]) -> float | None:
        """Return how long the rest of the schedule takes, s."""
        return seconds_left(runs, self.jobs)
