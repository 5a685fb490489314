"""The run folder: everything that a training run leaves behind.

    config.json       the settings; written last, so a folder that has it is complete
    versions.json     versions and machine that the run was started with
    journal.jsonl     one record per iteration; the other files are derived from it
    run.h5            the journal as columns, replaced at some checkpoints and at the end
    checkpoints/      the last two, `iteration-<n>.safetensors`
    milestones/       checkpoints that are never deleted, the first before training; named likewise
    policies/         `peer-<rank>.safetensors`; `best-<rank>.safetensors` if they were tested
    result.json       the final scores, written when training has reached its end
    restarts.jsonl    one line a restart of the cohort, if there was one (`p2p.runs.restarts`)
    evaluation.json   test scores of a study's run (`p2p.study.testing`)
    surface.json      return surface of a study's run (`p2p.study.surfaces`)
    .lock             held by the process that writes

The analysis commands add files of their own:

    eval.h5           episodes of `p2p eval` (`p2p.analysis.evaluation.file`)
    eval-by-factor.png, eval-<factor>-<factor>.png   pictures of `p2p eval`
    surface-peer-<k>.h5, .png, .svg   a return surface (`p2p.analysis.surface.file`)
    grad-variance.h5, .png   gradient variance (`p2p.analysis.gradient_variance.file`)
    bundle/           an exported policy (`p2p.export`)

The journal only grows; every other file is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from p2p.core.config import TrainConfig, stored_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.runs.brief import describe
from p2p.runs.checkpoint import Checkpoint, settings_that_differ
from p2p.runs.checkpoints import Checkpoints, load_milestone
from p2p.runs.claim import SUBFOLDERS, check_empty, claim_given, claim_new, remove_folder
from p2p.runs.files import (
    disk_errors,
    read_json,
    remove_stale_files,
    sync,
    write_json,
)
from p2p.runs.journal import Journal
from p2p.runs.lock import NAME as LOCK
from p2p.runs.lock import FolderLock
from p2p.runs.run_h5 import RunH5
from p2p.runs.versions import collect_versions

FORMAT = 1


class RunFolder:
    """A run on disk. Reading needs no lock; every method that writes takes it first.

    As a context manager it holds the lock for the block:

        with RunFolder.open(path) as run:
            ...

    Attributes:
        path: the folder, as given by the user.
        config: the run's settings.
        journal, h5: one record an iteration, and the same as arrays.
    """

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self.config = config
        self.journal = Journal(path / "journal.jsonl")
        self.h5 = RunH5(path, self.journal)
        self._lock = FolderLock(path)
        self._checkpoints = Checkpoints(path)

    def __fspath__(self) -> str:
        """Return its path, so that a run can be given where a path can."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"<run {self.path}: {describe(self.path, self.config)}>"

    @classmethod
    def create(cls, config: TrainConfig, out: Path | None = None) -> Self:
        """Create a run folder and lock it; on failure, restore what was there.

        Args:
            config: the settings.
            out: a folder that is empty or does not exist; None:
                `runs/<task>-<method>-<yymmdd-HHMMSS>`.

        Raises:
            UsageError: `out` is a file, not empty, or being written by another process.
            NoRoom: the disk is full, or the folder cannot be written.
        """
        with ExitStack() as undo:
            path = claim_new(config, undo) if out is None else claim_given(Path(out), undo)
            run = cls(path, config)
            run.lock()
            undo.callback(run.unlock)
            undo.callback((path / LOCK).unlink, missing_ok=True)
            check_empty(path)  # again, now that no other process can write there
            with disk_errors("run folder", path):
                for name in SUBFOLDERS:
                    (path / name).mkdir(exist_ok=True)
                    undo.callback(remove_folder, path / name)
                undo.callback((path / "versions.json").unlink, missing_ok=True)
                write_json(path / "versions.json", {"format": FORMAT, **collect_versions()})
                undo.callback((path / "config.json").unlink, missing_ok=True)
                write_json(path / "config.json", config.model_dump(mode="json"))
                sync(path.parent)
            undo.pop_all()
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing run, without taking the lock.

        Raises:
            BadArtefact: not a run folder, or this version cannot read it.
        """
        path = Path(path)
        if not (path / "config.json").exists() and (one := next(path.glob("*/config.json"), None)):
            raise BadArtefact(
                f"{path} is not a run folder, but holds runs: name one, such as {one.parent}, or "
                f"all: {path}/*"
            )
        settings = read_json(path / "config.json")
        made_by = _read_versions(path)
        version = f"it was made by p2p {made_by.get('p2p', '(unknown)')}"
        if made_by.get("format", FORMAT) != FORMAT:
            raise BadArtefact(
                f"{path} has format {made_by['format']!r}, this version reads {FORMAT}; {version}"
            )
        try:
            config = stored_config(settings)
        except UsageError as error:
            raise BadArtefact(f"{path / 'config.json'}: {error}; {version}") from error
        return cls(path, config)

    @classmethod
    def latest(cls, root: Path = Path("runs")) -> Self:
        """Open the run under `root` that was written to last: of finished ones, if there are.

        Raises:
            BadArtefact: there is no run.
        """
        from p2p.runs.listing import latest_run  # which reads run folders

        return cls.open(latest_run(Path(root)).path)

    def lock(self) -> None:
        """Take the lock, and remove the temporary files of writers that were killed.

        Raises:
            UsageError: another process writes here; the message names its id.
        """
        if self._lock.held:
            return
        self._lock.acquire()
        with disk_errors("run folder", self.path):
            for folder in (self.path, *(self.path / name for name in SUBFOLDERS)):
                remove_stale_files(folder)

    def unlock(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        self.lock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unlock()

    def policy_path(self, rank: int) -> Path:
        """Return the policy file of peer `rank`."""
        return self.path / "policies" / f"peer-{rank}.safetensors"

    def best_policy_path(self, rank: int) -> Path:
        """Return the file of the policy with which peer `rank` did best in its tests."""
        return self.path / "policies" / f"best-{rank}.safetensors"

    def versions(self) -> dict[str, Any]:
        """Return the versions that the run was started with; empty if the file is gone."""
        return _read_versions(self.path)

    def changed_versions(self) -> list[str]:
        """Return a note for each version that differs from the run's start: bits may differ too."""
        before, now = self.versions(), collect_versions()
        return [
            f"{name} was {before[name]} when the run began, and is {now[name]} now"
            for name in sorted((now.keys() & before.keys()) - {"cpus"})
            if before[name] != now[name]
        ]

    def replace_config(self, config: TrainConfig) -> None:
        """Change settings that change no computed number, such as `total_steps`.

        Raises:
            UsageError: another setting differs.
        """
        differing = settings_that_differ(config, self.config)
        if differing:
            raise UsageError(
                f"{self.path} was started with another {', '.join(differing)}; start a new run"
            )
        self.lock()
        write_json(self.path / "config.json", config.model_dump(mode="json"))
        self.config = config

    def result(self) -> dict[str, Any] | None:
        """Return what `save_result` wrote when training reached its end, or None.

        Raises:
            BadArtefact: it is damaged.
        """
        path = self.path / "result.json"
        if not path.exists():
            return None
        result = read_json(path)
        if not is_result(result):
            raise BadArtefact(
                f"{path} is damaged: it lacks steps or scores; restore it from a copy"
            )
        return result

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json."""
        self.lock()
        write_json(self.path / "result.json", result)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one iteration's record to the journal."""
        self.lock()
        self.journal.append(record)

    def records(self) -> list[dict[str, Any]]:
        """Return the journal's complete records; a last one cut by a kill is ignored."""
        return self.journal.records()

    def truncate_journal(self, iterations: int) -> None:
        """Delete the records of iteration `iterations` and later."""
        self.lock()
        self.h5.forget()
        self.journal.truncate(iterations)

    def save_checkpoint(
        self, iteration: int, tensors: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]
    ) -> Path:
        """Save a checkpoint and delete all but the last two.

        Args:
            iteration: iterations completed.
            tensors: arrays by name, of any dtype that safetensors has.
            meta: JSON; is read back equal, but for tuples, which become lists.

        Returns:
            The file.

        Raises:
            NoRoom: the disk is full or cannot be written; earlier checkpoints are intact.
        """
        self.lock()
        self.journal.sync()  # a checkpoint must not survive a power cut without its records
        return self._checkpoints.save(iteration, tensors, meta, self.config)

    def save_milestone(self, iteration: int, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Save a checkpoint that is never deleted; arguments as in `save_checkpoint`.

        Raises:
            NoRoom: the disk is full or cannot be written.
        """
        self.lock()
        self._checkpoints.save_milestone(iteration, tensors, self.config)

    def milestones(self) -> list[Path]:
        """Return the files of all milestones, oldest first."""
        return self._checkpoints.milestones()

    def load_milestone(self, path: Path) -> Checkpoint:
        """Return one of `milestones()`.

        Raises:
            BadArtefact: it is damaged or foreign.
        """
        return load_milestone(path, self.config)

    def load_checkpoint(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None if the run never had one.

        `Checkpoint.skipped` holds a line for each newer one that is not valid.

        Raises:
            BadArtefact: no checkpoint is valid, or all were deleted.
        """
        return self._checkpoints.load_newest(self.config)

    def write_h5(self) -> None:
        """Bring run.h5 up to date with the journal (`p2p.runs.hdf5` describes it).

        Raises:
            NoRoom: the disk is full or cannot be written; the earlier run.h5 is intact.
            BadArtefact: the journal is damaged.
        """
        self.lock()
        self.h5.write(self.config, self.versions())


def is_result(value: Mapping[str, Any]) -> bool:
    """Tell whether `value` holds the number of steps and each peer's mean score."""
    steps, scores = value.get("steps"), value.get("scores")
    return (
        type(steps) is int
        and isinstance(scores, list)
        and all(isinstance(p, dict) and isinstance(p.get("mean"), int | float) for p in scores)
    )


def last_written(run: Path) -> float:
    """Return when a run's journal (else its config) was last written, s since the epoch."""
    journal = run / "journal.jsonl"
    return (journal if journal.exists() else run / "config.json").stat().st_mtime


def _read_versions(run: Path) -> dict[str, Any]:
    """Return versions.json; empty if it is missing or damaged, since it only informs."""
    with suppress(BadArtefact):
        return read_json(run / "versions.json")
    return {}
