"""Results of a study: a row per trained run, and statistics over seeds.

A *measure* is a number that each peer of a run has, such as its final score. The run's value is
the mean over its peers. Every statistic is over seeds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import StringIO
from statistics import fmean, stdev
from typing import Any

from p2p.core.config import TrainConfig
from p2p.core.version import p2p_version
from p2p.runs import RunFolder, write_atomically
from p2p.runs.journal import jsonable
from p2p.runs.measures import measures
from p2p.study.grid import Study
from p2p.study.names import config_hash
from p2p.study.plan import Plan, PlannedRun, State, measured_hash
from p2p.study.saved import measures_of, number_of
from p2p.study.testing import read_tests

LAST = ("steps", "seconds", "config", "version", "measured")  # the last columns of a table


@dataclass(frozen=True)
class RunResult:
    """The results of one run.

    Attributes:
        settings: those with a column in the study's tables, without the seed.
        measures: by name, one number per peer.
        seconds: of training, over all sessions.
        config: hash of all settings that affect results.
        version: of p2p that made it.
        measured: hash of what was measured of it; empty if its tests are not complete, or of
            another version.
    """

    run: str
    settings: dict[str, Any]
    seed: int
    measures: dict[str, list[float]]
    steps: int
    seconds: float
    config: str
    version: str
    measured: str


@dataclass(frozen=True)
class Group:
    """Statistics of one measure over the `n` seeds of one setting.

    Attributes:
        std: of the sample; None for one seed.
    """

    settings: dict[str, Any]
    measure: str
    n: int
    mean: float
    std: float | None
    min: float
    max: float


@dataclass(frozen=True)
class Results:
    """The tables of a study.

    Attributes:
        missing: names of runs whose training is not complete.
        untested: names of trained runs whose tests are not complete.
    """

    study: str
    runs: list[RunResult]
    summary: list[Group]
    missing: list[str]
    untested: list[str]

    def tested(self) -> Results:
        """Return these results without the runs whose tests are not complete."""
        return replace(self, runs=[run for run in self.runs if run.run not in self.untested])

    def csv(self) -> str:
        """Return CSV, a line per run; a measure has a column for its mean and one for each peer."""
        rows = [_flat(run) for run in self.runs]
        names = [name for row in rows for name in row]
        text = StringIO()
        columns = [*dict.fromkeys(name for name in names if name not in LAST), *LAST]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def json(self) -> str:
        """Return JSON; numbers that are not finite become null."""
        return json.dumps(jsonable(asdict(self)), indent=2, allow_nan=False) + "\n"

    def write(self, plan: Plan) -> None:
        """Write the tables into the study's folder, as CSV and JSON.

        Raises:
            NoRoom: the disk is full or cannot be written.
        """
        table = plan.table
        write_atomically(table, self.csv().encode(), "results")
        write_atomically(table.with_suffix(".json"), self.json().encode(), "results")


def collect_results(plan: Plan, known: Mapping[str, RunResult] | None = None) -> Results:
    """Make the tables from the runs that are trained.

    Args:
        known: rows from an earlier call, by the run's name, which are reused.

    Raises:
        BadArtefact: a run folder is damaged.
    """
    known = known or {}
    trained = [run for run in plan.runs if run.trained]
    rows = [
        known.get(run.name) or (_saved_result if run.saved else _result)(run, plan.study)
        for run in plan.runs
        if run.trained or run.saved
    ]
    missing = [run.name for run in plan.runs if not (run.trained or run.saved)]
    untested = [run.name for run in trained if run.state is not State.COMPLETE]
    return Results(plan.study.name, rows, summarise(rows), missing, untested)


def summarise(runs: Sequence[RunResult]) -> list[Group]:
    """Return the statistics of each setting and measure over its seeds, task by task."""
    groups: dict[tuple[Any, ...], list[RunResult]] = {}
    for run in runs:
        groups.setdefault(tuple(run.settings.values()), []).append(run)
    out = []
    tasks = list(dict.fromkeys(run.settings["task"] for run in runs))
    for group in sorted(groups.values(), key=lambda group: tasks.index(group[0].settings["task"])):
        for measure in dict.fromkeys(name for run in group for name in run.measures):
            values = [fmean(run.measures[measure]) for run in group if measure in run.measures]
            std = stdev(values) if len(values) > 1 else None
            statistics = len(values), fmean(values), std, min(values), max(values)
            out.append(Group(group[0].settings, measure, *statistics))
    return out


def _result(planned: PlannedRun, study: Study) -> RunResult:
    run = RunFolder.open(planned.path)
    tests = {
        name: read_tests(run.path, name, test, planned.steps, any_version=True) or ()
        for name, test in study.tests.items()
    }
    versions = run.versions()
    complete = planned.state is State.COMPLETE
    return RunResult(
        run=planned.name,
        settings=shown_settings(run.config, study),
        seed=run.config.seed,
        measures=measures(run, tests),
        steps=planned.steps,
        seconds=round(sum(record["seconds"] for record in run.journal.stream()), 1),
        config=config_hash(run.config),
        version=versions.get("p2p", ""),
        measured=measured_hash(planned, versions.get("mujoco")) if complete else "",
    )


def _saved_result(planned: PlannedRun, study: Study) -> RunResult:
    assert planned.saved is not None
    return RunResult(
        run=planned.name,
        settings=shown_settings(planned.config, study),
        seed=planned.config.seed,
        measures=measures_of(planned.saved),
        steps=planned.steps,
        seconds=number_of(planned.saved, "seconds"),
        config=config_hash(planned.config),
        version=p2p_version(),
        measured=measured_hash(planned),
    )


def shown_settings(config: TrainConfig, study: Study) -> dict[str, Any]:
    """Return the settings that have a column in the study's tables."""
    names = dict.fromkeys(("task", "method", "num_peers", "learning_rate", *study.shown))
    return {name: _plain(config.get(name)) for name in names}


def _flat(run: RunResult) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.run, **run.settings, "seed": run.seed}
    for measure, by_peer in run.measures.items():
        row[measure] = fmean(by_peer)
        row |= {f"{measure}_peer{rank}": value for rank, value in enumerate(by_peer)}
    return row | {name: getattr(run, name) for name in LAST}


def _plain(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, tuple) else value
