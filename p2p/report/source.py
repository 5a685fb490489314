"""The runs of a study: from a folder of run folders, or from saved tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from p2p.analysis.evaluation.file import EvalFile
from p2p.analysis.evaluation.kept import kept_evaluations
from p2p.analysis.learning import LearningRun, Point, read_learning
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, UsageError
from p2p.plots.data import Data, Row, command
from p2p.runs import RunFolder
from p2p.runs.files import reachable, read_json
from p2p.runs.measures import measures
from p2p.study import PlannedRun, Study, plan_study
from p2p.study.grid import MAIN
from p2p.study.testing import file_of_tests, read_tests

COUNTS = ("domains", "episodes", "domain_seed")  # of the settings of tests
Tests = tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]  # by strength, and how tested
LISTED = ("num_peers", "learning_rate")  # settings that tables of all studies have
LEFT_OUT = "Left out: "


class StudyRun(NamedTuple):
    """A run of a study.

    Attributes:
        name: of its folder.
        curves: its learning curves; its settings tell groups apart, its length too: the steps that
            it has, of an unfinished run those that it is to have.
        measures: by name, mean over peers: `p2p.runs.measures.measures`.
        steps: over all peers.
        seconds: of training; None if not known.
        version: of p2p.
        config: None if only a row of a table is left.
    """

    name: str
    curves: LearningRun
    measures: Mapping[str, float]
    steps: int
    seconds: float | None
    version: str
    config: TrainConfig | None = None


class Source(NamedTuple):
    """The runs of a study, and what is to be said of them.

    Attributes:
        name: of the study.
        where: the runs come from, as shown.
        planned: runs that the study has; None if it is not known.
        tests: how the runs were tested, as a study's file says; empty if not known. `own`: in
            domains that differ with what varied in each run's training.
        notes: on what is left out, a sentence each.
    """

    name: str
    where: str
    runs: list[StudyRun]
    planned: int | None = None
    tests: Mapping[str, Any] = {}
    notes: Sequence[str] = ()


def of_folder(path: Path) -> Source:
    """Read the runs that lie in a folder, a study's or any other; damaged ones are noted.

    Raises:
        BadArtefact: there is none that can be read.
    """
    folders = [file.parent for file in sorted(reachable(path).glob("*/config.json"))]
    found = _read_all(folders, _tests)
    if not found.runs:
        notes = found.notes or ["it has no run folder inside"]
        why = notes[0].removeprefix(LEFT_OUT).rstrip(".")
        raise BadArtefact(f"nothing to report of {path}: {why}")
    table: dict[str, Any] = {}
    with suppress(BadArtefact):
        table = read_json(path / "results.json")
    name, missing = table.get("study"), table.get("missing")
    planned = len(folders)
    if isinstance(missing, list):
        planned = max(planned, len(table.get("runs", ())) + len(missing))
    shown = name if isinstance(name, str) else path.resolve().name
    return found._replace(name=shown, where=str(path), planned=planned)


def of_study(study: Study, folder: Path) -> Source:
    """Read a study's own runs, and its own tests of them, from a folder that may hold others' too.

    Raises:
        UsageError: the folder has no run of it, or one that was trained for too many steps.
        BadArtefact: a run folder there is damaged.
    """
    asked = study.evaluate

    def tests_of(run: RunFolder, steps: int) -> Tests:
        sets = asked and read_tests(run.path, MAIN, asked, steps, any_version=True)
        return (sets, asked.model_dump(mode="json")) if asked and sets else ([], {})

    plan = {str(run.path): run for run in plan_study(study, folder).runs}
    there = (run.path for run in plan.values() if (run.path / "config.json").exists())
    found = _read_all(there, tests_of)
    runs = [_as_planned(run, plan[run.curves.path]) for run in found.runs]
    source = Source(study.name, str(folder), runs, len(plan), found.tests, found.notes)
    return check_any(source, study)


def _as_planned(run: StudyRun, planned: PlannedRun) -> StudyRun:
    """Return a run as its study sees it, which may ask for more steps than the run was to have."""
    settings = planned.config.identity(planned.total_steps)
    return run._replace(curves=replace(run.curves, settings=settings, finished=planned.trained))


def _read_all(folders: Iterable[Path], tests_of: Callable[[RunFolder, int], Tests]) -> Source:
    """Return the runs of some folders, without a name; damaged ones are noted.

    Args:
        tests_of: returns the tests of a run after so many steps.
    """
    runs, notes = [], []
    tests: Mapping[str, Any] = {}
    hashes: dict[Any, str] = {}
    own = False
    for folder in folders:
        try:
            one, how, sets = _read(folder, tests_of)
            if "stale" in how:
                after = f"{how['stale']:,} steps"
                notes.append(f"{folder}: tested after {after}, and trained on since; not shown.")
                how = {}
            if how and tests and _domains(how) != _domains(tests):
                notes.append(f"{folder}: tested in other domains than the first; not shown.")
                one, sets = one._replace(measures=_untested(one.measures)), []
            own |= any(
                hashes.setdefault((one.curves.task, test["eps_te"]), test["hash"]) != test["hash"]
                for test in sets if "hash" in test
            )  # fmt: skip
            tests = tests or how
            runs.append(one)
        except BadArtefact as error:
            notes.append(f"{LEFT_OUT}{error}.")
    return Source("", "", runs, None, {**tests, "own": own} if tests else {}, notes)


def _domains(how: Mapping[str, Any]) -> list[Any]:
    """Return what tells sets of test domains of one task apart, but for the strength."""
    return [how.get("domains"), how.get("episodes"), how.get("domain_seed", 0),
            bool(how.get("sampled"))]  # fmt: skip


def _untested(found: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if "=" not in name}


def _read(
    folder: Path, tests_of: Callable[[RunFolder, int], Tests]
) -> tuple[StudyRun, Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """Return a run, how it was tested, and its tests."""
    run, curves = RunFolder.open(folder), read_learning(folder)
    last = curves.points[-1]
    steps = int(last["steps"])
    tests, how = tests_of(run, steps)
    try:
        found = {name: fmean(values) for name, values in measures(run, {"": tests}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadArtefact(f"{folder} is damaged: {error}; restore it from a copy") from None
    length = steps if curves.finished else run.config.whole_steps
    one = StudyRun(
        folder.name, replace(curves, settings=run.config.identity(length)), found, steps,
        3600 * last["hours"], str(run.versions().get("p2p", "")), run.config,
    )  # fmt: skip
    return one, how, tests


def _tests(run: RunFolder, steps: int) -> Tests:
    """Return the tests of a run, as its study has kept them or as eval.h5 holds them.

    Args:
        steps: of its training; tests after fewer are not of its policies, and are `stale`.
    """
    file, stale = file_of_tests(run.path), {}
    if file.exists():
        kept = read_json(file)
        how, after = kept.get("config", {}), kept.get("steps", steps)
        counts = [how.get(name, 0) for name in COUNTS] if isinstance(how, dict) else [None]
        if not all(isinstance(count, int) for count in (after, *counts)):
            raise BadArtefact(f"{file} is damaged; let p2p study test again, or remove it")
        if after == steps:
            return kept.get("tests", []), how
        stale = {"stale": after}
    known = kept_evaluations(run) if (run.path / EvalFile.name).exists() else None
    if known is None or known.strengths is None:
        return [], stale
    _, domains, episodes = known.strengths.measured[0].episode_return.shape
    how = {"domains": domains, "episodes": episodes, "domain_seed": known.domain_seed}
    return known.strengths.to_dict()["sets"], how


def of_tables(study: Study, data: Data) -> Source:
    """Return the runs of a study's saved tables.

    Raises:
        UsageError: they have no row.
    """
    runs = [_of_row(study, data, row) for row in data.rows]
    tests = study.evaluate.model_dump(mode="json") if study.evaluate else {}
    return check_any(Source(study.name, data.source, runs, len(study.configs), tests), study)


def _of_row(study: Study, data: Data, row: Row) -> StudyRun:
    names = dict.fromkeys((*LISTED, *study.shown))
    settings = {name: row.cells[name] for name in names if name in row.cells}
    points: dict[int, Point] = {}
    for quantity, curves in data.curves.items():
        for steps, value in curves.get(row.run, ()):
            points.setdefault(steps, {"steps": float(steps)})[quantity] = value
    ordered = tuple(points[steps] for steps in sorted(points))
    learning = LearningRun(row.run, row.task, row.method, row.seed, settings, ordered, {}, 0, True)
    other = {*names, "steps", "seconds"}
    found = {
        name: value for name, value in row.cells.items()
        if isinstance(value, float) and name not in other and "_peer" not in name
    }  # fmt: skip
    return StudyRun(
        row.run, learning, found, int(row.number("steps") or 0), row.number("seconds"),
        str(row.cells.get("version", "")),
    )  # fmt: skip


def check_any(source: Source, study: Study) -> Source:
    """Return a study's source.

    Raises:
        UsageError: it has no run.
    """
    if source.runs:
        return source
    why = f" ({source.notes[0].rstrip('.')})" if source.notes else ""
    raise UsageError(
        f"{source.where} has no run of study {study.name} to report{why}; make them with: "
        f"{command(study)}"
    )
