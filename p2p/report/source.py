"""The runs of a study: from a folder of run folders, or from saved tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from p2p.analysis.evaluation.file import EvalFile
from p2p.analysis.evaluation.kept import kept_evaluations
from p2p.analysis.learning import LearningRun, Point, read_learning
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, UsageError
from p2p.plots.data import Data, Row
from p2p.runs import RunFolder
from p2p.runs.files import reachable, read_json
from p2p.runs.measures import measures
from p2p.study import Study
from p2p.study.testing import file_of_tests

COUNTS = ("domains", "episodes", "domain_seed")  # of the settings of tests
LISTED = ("num_peers", "learning_rate")  # settings that tables of all studies have


class StudyRun(NamedTuple):
    """A run of a study.

    Attributes:
        name: of its folder.
        curves: its learning curves; its settings tell groups apart.
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
    runs, notes = [], []
    tests: Mapping[str, Any] = {}
    hashes: dict[Any, str] = {}
    own = False
    for folder in folders:
        try:
            one, how, sets = _read(folder)
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
            notes.append(f"Left out: {error}.")
    if not runs:
        why = notes[0].removeprefix("Left out: ") if notes else "it has no run folder inside"
        raise BadArtefact(f"nothing to report of {path}: {why.rstrip('.')}")
    table: dict[str, Any] = {}
    with suppress(BadArtefact):
        table = read_json(path / "results.json")
    name, missing = table.get("study"), table.get("missing")
    planned = len(folders)
    if isinstance(missing, list):
        planned = max(planned, len(table.get("runs", ())) + len(missing))
    shown = name if isinstance(name, str) else path.resolve().name
    return Source(shown, str(path), runs, planned, {**tests, "own": own} if tests else {}, notes)


def _domains(how: Mapping[str, Any]) -> list[Any]:
    """Return what tells sets of test domains of one task apart, but for the strength."""
    return [how.get("domains"), how.get("episodes"), how.get("domain_seed", 0),
            bool(how.get("sampled"))]  # fmt: skip


def _untested(found: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if "=" not in name}


def _read(folder: Path) -> tuple[StudyRun, Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """Return a run, how it was tested, and its tests."""
    run, curves = RunFolder.open(folder), read_learning(folder)
    tests, how = _tests(run, int(curves.points[-1]["steps"]))
    try:
        found = {name: fmean(values) for name, values in measures(run, {"": tests}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadArtefact(f"{folder} is damaged: {error}; restore it from a copy") from None
    last = curves.points[-1]
    one = StudyRun(
        folder.name, curves, found, int(last["steps"]), 3600 * last["hours"],
        str(run.versions().get("p2p", "")), run.config,
    )  # fmt: skip
    return one, how, tests


def _tests(run: RunFolder, steps: int) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
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
    """Return the runs of a study's saved tables."""
    runs = [_of_row(study, data, row) for row in data.rows]
    tests = study.evaluate.model_dump(mode="json") if study.evaluate else {}
    return Source(study.name, data.source, runs, len(study.configs), tests)


def _of_row(study: Study, data: Data, row: Row) -> StudyRun:
    names = dict.fromkeys((*LISTED, *study.varying))
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


def check_several(source: Source) -> Source:
    """Return the source.

    Raises:
        UsageError: it has no run.
    """
    if not source.runs:
        raise UsageError(f"{source.where} has no run to report")
    return source
