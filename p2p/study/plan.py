"""The plan of a study: the folder of each run, and how far the run has come."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from p2p.analysis.evaluation.config import EvalConfig
from p2p.analysis.surface.config import SurfaceConfig
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, Diverged, UsageError
from p2p.core.version import installed_version, p2p_version
from p2p.runs import RunFolder
from p2p.runs.files import reachable, read_json
from p2p.study.grid import LEAST_MILESTONES, MAIN, Study
from p2p.study.names import config_hash, free_name, is_value, run_name, text_of
from p2p.study.saved import Cells, Saved, measures_of, only_tests, saved_tables
from p2p.study.surfaces import is_whole, read_surface
from p2p.study.testing import read_tests

MEASURED = ("final_episodes", "grad_variance_every")  # must be as the tables need them
UNMEASURED = ("grad_variance_every", 0)
RECENT = 10  # iterations over which the speed is averaged


class State(StrEnum):
    """The state of a run."""

    WAITING = "waiting"
    QUEUED = "queued"  # by a cluster, which will start it
    RUNNING = "running"
    TESTING = "testing"
    STOPPING = "stopping"
    COMPLETE = "complete"
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "skipped"  # not among those asked for


@dataclass
class PlannedRun:
    """A run of a study; the scheduler keeps it up to date.

    Attributes:
        name: of its folder, unique in the study.
        path: its run folder, which may not exist yet.
        tests: how it is tested after training, by name (`Study.tests`).
        surface: which return surface is measured then (`Study.surface`).
        steps: completed so far.
        trained: whether training is complete, and the folder is there.
        saved: its row in a saved table, if that counts as done and its folder does not.
        saved_curve, saved_surface: its points in the saved curves and surfaces then.
        tested: share of its tests that are complete, 0..1.
        test_rate: steps/s of its tests.
        score: mean over peers of their final scores; None before training is complete.
        error: why it failed, one line.
        exit_code: that of `p2p train` for this error.
        note: what its engine says of it besides.
        recent: seconds of the last iterations.
    """

    name: str
    config: TrainConfig
    path: Path
    tests: Mapping[str, EvalConfig] = field(default_factory=dict)
    surface: SurfaceConfig | None = None
    state: State = State.WAITING
    steps: int = 0
    trained: bool = False
    saved: Cells | None = None
    saved_curve: Sequence[Cells] = ()
    saved_surface: Sequence[Cells] = ()
    tested: float = 0.0
    test_rate: float | None = None
    score: float | None = None
    error: str = ""
    exit_code: int = 0
    note: str = ""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def total_steps(self) -> int:
        """Steps of the complete run: whole iterations."""
        return self.config.whole_steps

    @property
    def test_steps(self) -> int:
        """Steps of its tests, if no episode ends early."""
        episodes = sum(len(t.eps_te) * t.domains * t.episodes for t in self.tests.values())
        on_surface = self.surface.episodes if self.surface else 0
        return (episodes * self.config.num_peers + on_surface) * self.config.max_episode_steps

    @property
    def to_measure(self) -> dict[str, Any]:
        """What its process has to do after training, as JSON has it."""
        return {
            "tests": {name: test.model_dump(mode="json") for name, test in self.tests.items()},
            "surface": self.surface and self.surface.model_dump(mode="json"),
        }

    @property
    def steps_left(self) -> float:
        """Steps that remain, in training and tests."""
        return self.total_steps - self.steps + self.test_steps * (1.0 - self.tested)

    @property
    def rate(self) -> float | None:
        """Steps/s over the last iterations of this session, or of its tests while they run."""
        if self.state is State.TESTING:
            return self.test_rate
        seconds = sum(self.recent)
        return len(self.recent) * self.config.steps_per_iteration / seconds if seconds else None

    def refresh(self) -> None:
        """Read from the run folder how far the run is.

        Raises:
            BadArtefact: the folder is damaged.
            UsageError: the run was trained for more steps than the study asks for, or with
                another value of a setting in `MEASURED`, or without the milestones of a surface;
                but it may have measured the gradient's variance though the study does not ask for
                it.
        """
        if not (self.path / "config.json").exists():
            return
        run = RunFolder.open(self.path)
        done = run.journal.count() * run.config.steps_per_iteration
        if done > self.total_steps:
            raise UsageError(
                f"{self.path} was trained for {done} steps, the study asks for "
                f"{self.total_steps}; choose another folder with --out"
            )
        for name in MEASURED:
            had, asked = getattr(run.config, name), getattr(self.config, name)
            if had != asked and (name, asked) != UNMEASURED:  # what it has besides is no harm
                raise UsageError(
                    f"{self.path} was started with {name}={had}, the study asks for {asked}; "
                    "choose another folder with --out"
                )
        if self.surface and run.config.milestones < LEAST_MILESTONES:
            raise UsageError(
                f"{self.path} was started with milestones={run.config.milestones}, and a surface "
                f"needs {LEAST_MILESTONES} or more; choose another folder with --out"
            )
        result = run.result()  # perhaps of a lower goal that the run had before
        if result is None or result["steps"] < self.total_steps:
            self.steps = done
            return
        self.trained, self.steps = True, self.total_steps
        if all(
            read_tests(self.path, name, test, self.steps) is not None
            for name, test in self.tests.items()
        ) and (
            self.surface is None or read_surface(self.path, self.surface, self.steps) is not None
        ):
            self.state, self.tested = State.COMPLETE, 1.0
        scores = [peer["mean"] for peer in result["scores"]]
        self.score = sum(scores) / len(scores) if scores else None


@dataclass(frozen=True)
class Plan:
    """A study with its folder, and its runs with their progress."""

    study: Study
    out: Path
    runs: list[PlannedRun]

    @property
    def table(self) -> Path:
        """The file of the table of results; studies that share a folder have one each."""
        name = self.study.name
        shared = self.study.folder not in ("", name) or _study_of(self.out) not in (None, name)
        return self.out / (f"results-{name}.csv" if shared else "results.csv")

    @property
    def chosen(self) -> list[PlannedRun]:
        """The runs that are asked for: all, or those that `choose` has left."""
        return [run for run in self.runs if run.state is not State.SKIPPED]

    def choose(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Skip the runs that wait, or have failed, and are not among those asked for.

        Args:
            wanted: by setting, the values that a run may have, as text.

        Raises:
            UsageError: no run has one of these values, or all of these settings.
        """
        for name, values in wanted.items():
            there = list(dict.fromkeys(run.config.get(name) for run in self.runs))
            for value in values:
                if not any(is_value(value, one) for one in there):
                    has = ", ".join(map(text_of, there))
                    raise UsageError(
                        f"study {self.study.name} has no run with {name}={value}; it has {has}"
                    )
        others = [
            run
            for run in self.runs
            if not all(
                any(is_value(value, run.config.get(name)) for value in values)
                for name, values in wanted.items()
            )
        ]
        if len(others) == len(self.runs):
            asked = " and ".join(f"{name}={','.join(values)}" for name, values in wanted.items())
            raise UsageError(f"study {self.study.name} has no run with {asked}")
        for run in others:
            if run.state in (State.WAITING, State.FAILED):
                run.state = State.SKIPPED

    def count(self, state: State) -> int:
        """Return the number of runs in a state."""
        return sum(run.state is state for run in self.runs)


def plan_study(study: Study, out: Path, save: Path | None = None) -> Plan:
    """Give each run of the study a folder below `out`.

    Args:
        save: folder of saved tables: a run that has a row there, of this version and of equal
            settings, is complete whatever its folder has, or has failed if it diverged. The study
            whose folder this one shares may have saved it.

    An existing run is identified by its settings, not by its name: another axis, which makes
    the names longer, can be added to a study without losing its runs.

    Raises:
        BadArtefact: the folder of a run is damaged.
        UsageError: a run was trained for too many steps, or `out` is not accessible.
    """
    folders = [file.parent for file in sorted(reachable(out, UsageError).glob("*/config.json"))]
    existing = {folder: RunFolder.open(folder).config for folder in folders}
    taken = {path.name for path in existing}
    runs = []
    for config in study.configs:
        path = _find(config, existing, study.varying)
        if path is None:
            path = out / free_name(run_name(config, study.varying), taken)
            taken.add(path.name)
        run = PlannedRun(path.name, config, path, study.tests, study.surface)
        run.refresh()
        runs.append(run)
    if save is not None:
        for saved, owner in saved_tables(study, save):
            for run in runs:
                _count_saved(run, saved, owner)
    return Plan(study, out, runs)


def _count_saved(run: PlannedRun, saved: Saved, owner: Study) -> None:
    """Take a run as complete if its row is saved, and its folder is not complete itself.

    Args:
        owner: the study whose tables they are.
    """
    if run.state in (State.COMPLETE, State.FAILED):
        return
    measured, config = measured_hash(run, study=owner), config_hash(run.config)
    far = None if run.steps else saved.diverged.get((config, p2p_version()))
    if far:
        run.state, run.exit_code = State.FAILED, Diverged.exit_code
        run.error = (
            f"diverged after {far.get('steps')} steps, says {saved.diverged_file}; "
            "to train it again, delete its line there"
        )
        return
    row = saved.row_of(run, config, p2p_version(), measured)
    surface = saved.surfaces.get(row["run"], []) if row else []
    if row is None or (run.surface and not is_whole(surface, run.surface)):
        return
    run.saved_surface = surface if run.surface else ()
    run.saved = only_tests(row, run.tests)
    run.saved_curve = saved.curves.get(row["run"], [])
    run.state, run.steps, run.tested = State.COMPLETE, run.total_steps, 1.0
    scores = measures_of(row).get("score", [])
    run.score = sum(scores) / len(scores) if scores else None


def measured_hash(run: PlannedRun, mujoco: str | None = None, study: Study | None = None) -> str:
    """Return 12 hex digits that identify what is measured of a run, and by which MuJoCo.

    Args:
        mujoco: the version that trained it; default the installed one.
        study: which measures it [the run's].
    """
    asked, surface = (study or run).tests, (study or run).surface
    others = {name: test.model_dump(mode="json") for name, test in asked.items()}
    kinds = {name: run.config.get(name) for name in MEASURED}
    measured: list[Any] = [others.pop(MAIN, None), kinds, mujoco or installed_version("mujoco")]
    if others or surface:
        measured.append(others)
    if surface:
        measured.append(surface.model_dump(mode="json"))
    text = json.dumps(measured, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _study_of(out: Path) -> str | None:
    """Return the study whose results are `results.json` in `out`; None if there is none."""
    with suppress(BadArtefact):
        study = read_json(out / "results.json").get("study")
        return study if isinstance(study, str) else None
    return None


def _find(
    config: TrainConfig, existing: Mapping[Path, TrainConfig], varying: Sequence[str]
) -> Path | None:
    """Return the folder of the run with these settings, or None.

    Settings that change no number may differ, unless they are in `varying`. Of several folders,
    the one with the most equal settings is returned.
    """
    settings = config.settings
    same = {name for name in settings if name not in config.changes_no_number}
    same.update(name for name in varying if name in settings)  # another method's own is in neither
    equal = {
        path: {name for name in settings if _is_equal(name, config, other)}
        for path, other in existing.items()
    }
    candidates = [path for path, names in equal.items() if same <= names]
    return max(candidates, key=lambda path: len(equal[path]), default=None)


def _is_equal(name: str, config: TrainConfig, run: TrainConfig) -> bool:
    """Say whether a run has a setting; it has recorded hashes when it began, beside sources'."""
    if name == "source_sha256":
        return config.source_sha256.items() <= run.source_sha256.items()
    return bool(config.settings[name] == run.settings.get(name))
