"""The run folder: everything that a training run leaves behind.

    config.json       the settings; written last, so a folder that has it is complete
    versions.json     what the run was started with
    journal.jsonl     one record an iteration: the truth
    run.h5            the journal as columns, rebuilt at checkpoints and at the end
    eval.h5           episodes of `p2p eval` and its like, if there were any (`p2p.analysis.evaluation.file`)
    grad-variance.h5  of `p2p grad-variance`, if it was measured (`p2p.analysis.gradient_variance.file`)
    eval-by-factor.png, eval-<factor>-<factor>.png   what `p2p eval` drew
    surface-peer-<k>.h5, .png, .svg   a return surface, if one was measured (`p2p.analysis.surface.file`)
    grad-variance.png of the same
    evaluation.json   what a study's tests came to (`p2p.study.testing`)
    checkpoints/      the last two, `iteration-<n>.safetensors`
    milestones/       checkpoints kept for good, the start's among them, named alike
    policies/         `peer-<rank>.safetensors`
    result.json       the final scores, once training has reached its end
    .lock             held by the process that writes

All are replaced whole, but the journal, which only grows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.runs import checkpoint as ckpt
from p2p.runs.checkpoint import Checkpoint
from p2p.runs.claim import SUBFOLDERS, check_empty, claim_given, claim_new, remove_folder
from p2p.runs.files import disk_errors, read_json, sweep, sync, write_atomically, write_json
from p2p.runs.hdf5 import encode_run
from p2p.runs.journal import Journal
from p2p.runs.lock import NAME as LOCK
from p2p.runs.lock import FolderLock
from p2p.runs.versions import collect_versions

FORMAT = 1
KEPT = 2


class RunFolder:
    """A run on disk. Reading needs no lock; whatever writes takes it first, if not held.

    As a context manager it holds the lock for the block:

        with RunFolder.open(path) as run:
            ...

    Attributes:
        path: the folder, as the user gave it.
        config: the run's settings.
    """

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self.config = config
        self.journal = Journal(path / "journal.jsonl")
        self._lock = FolderLock(path)
        self._rejected: list[Path] = []

    @classmethod
    def create(cls, config: TrainConfig, out: Path | None = None) -> Self:
        """Make a new run folder and lock it; on failure, leave everything as it was.

        Args:
            config: the settings.
            out: a folder that is empty or does not exist; None makes
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
            check_empty(path)  # again, now that nobody else can fill it
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
        """Open an existing run, for reading until something is written.

        Raises:
            BadArtefact: no run folder, or one that this version cannot read.
        """
        path = Path(path)
        settings = read_json(path / "config.json")
        made_by = _read_versions(path)
        version = f"it was made by p2p {made_by.get('p2p', '(unknown)')}"
        if made_by.get("format", FORMAT) != FORMAT:
            raise BadArtefact(
                f"{path} has format {made_by['format']!r}, this version reads {FORMAT}; {version}"
            )
        try:
            config = build_config(**settings)
        except UsageError as error:
            raise BadArtefact(f"{path / 'config.json'}: {error}; {version}") from error
        return cls(path, config)

    @classmethod
    def latest(cls, root: Path = Path("runs")) -> Self:
        """Open the run under `root` that was written last.

        Raises:
            BadArtefact: there is none.
        """
        runs = [file.parent for file in Path(root).glob("*/config.json")]
        if not runs:
            raise BadArtefact(f"no run under {root}; start one with `p2p train`, or name a folder")
        return cls.open(max(runs, key=lambda run: (_last_written(run), run.name)))

    def lock(self) -> None:
        """Become the one writer, and clear what a killed one left half-written.

        Raises:
            UsageError: another process writes here; the message has its id.
        """
        if self._lock.held:
            return
        self._lock.acquire()
        with disk_errors("run folder", self.path):
            for folder in (self.path, *(self.path / name for name in SUBFOLDERS)):
                sweep(folder)

    def unlock(self) -> None:
        """Let others write."""
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
        """Return where the policy of peer `rank` lies."""
        return self.path / "policies" / f"peer-{rank}.safetensors"

    def versions(self) -> dict[str, Any]:
        """Return what the run was started with; empty if that got lost."""
        return _read_versions(self.path)

    def changed_versions(self) -> list[str]:
        """Say in what this machine differs from the run's start; there, bits may differ too."""
        before, now = self.versions(), collect_versions()
        return [
            f"{name} was {before[name]} when the run began and is {now[name]}"
            for name in sorted((now.keys() & before.keys()) - {"cpus"})
            if before[name] != now[name]
        ]

    def replace_config(self, config: TrainConfig) -> None:
        """Change settings that change no number, such as `total_steps`.

        Raises:
            UsageError: another setting differs.
        """
        differing = ckpt.settings_that_differ(config, self.config)
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
        if not _is_result(result):
            raise BadArtefact(
                f"{path} is damaged: it lacks steps or scores; restore it from a copy"
            )
        return result

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Write how the run ended: result.json."""
        self.lock()
        write_json(self.path / "result.json", result)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one iteration's record to the journal."""
        self.lock()
        self.journal.append(record)

    def records(self) -> list[dict[str, Any]]:
        """Return the journal's whole records; what a kill left of the last one is ignored."""
        return self.journal.records()

    def truncate_journal(self, iterations: int) -> None:
        """Forget the records of iteration `iterations` and later."""
        self.lock()
        self.journal.truncate(iterations)

    def save_checkpoint(
        self, iteration: int, tensors: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]
    ) -> Path:
        """Save a checkpoint and drop all but the last two.

        Args:
            iteration: iterations completed.
            tensors: arrays by name, of any dtype that safetensors has.
            meta: JSON; comes back equal (tuples as lists).

        Returns:
            The file.

        Raises:
            NoRoom: the disk is full or cannot be written; earlier checkpoints are intact.
        """
        self.lock()
        folder = self.path / "checkpoints"
        path = folder / ckpt.checkpoint_name(iteration)
        with disk_errors("checkpoint", path):
            # A checkpoint must not outlive the records that lead to it, also in a power cut.
            self.journal.sync()
            ckpt.write(path, iteration, tensors, meta, self.config)
            self._set_aside(path)
            others = [p for p in self._checkpoints() if p != path]
            for old in others[KEPT - 1 :]:
                old.unlink(missing_ok=True)
        return path

    def save_milestone(self, iteration: int, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Save a checkpoint that is kept for good; arguments as of `save_checkpoint`.

        Raises:
            NoRoom: the disk is full or cannot be written.
        """
        self.lock()
        path = self.path / "milestones" / ckpt.checkpoint_name(iteration)
        with disk_errors("milestone", path):
            path.parent.mkdir(exist_ok=True)  # an earlier version made none
            ckpt.write(path, iteration, tensors, {}, self.config)

    def milestones(self) -> list[Path]:
        """Return the checkpoints that are kept for good, oldest first."""
        return sorted((self.path / "milestones").glob(ckpt.PATTERN), key=_age)

    def load_milestone(self, path: Path) -> Checkpoint:
        """Return a checkpoint that is kept for good.

        Raises:
            BadArtefact: it does not verify.
        """
        try:
            return ckpt.read(path, self.config)
        except ckpt.Rejected as reason:
            raise BadArtefact(f"{path} {reason}; the run's other milestones may be sound") from None

    def load_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint that verifies, or None if there is none at all.

        `Checkpoint.skipped` has one line for each newer one that did not verify.

        Raises:
            BadArtefact: there are some, and none verifies; or there were some.
        """
        rejected: list[tuple[Path, str]] = []
        for path in self._checkpoints():
            try:
                found = ckpt.read(path, self.config)
            except ckpt.Rejected as reason:
                rejected.append((path, str(reason)))
                continue
            self._rejected = [p for p, _ in rejected]
            found.skipped.extend(
                f"{p} {why}; going on from {path.name} instead" for p, why in rejected
            )
            return found
        if not rejected:
            self._check_never_had_any()
            return None
        reasons = "; ".join(f"{path.name} {why}" for path, why in rejected)
        raise BadArtefact(
            f"no checkpoint in {self.path / 'checkpoints'} can be used: {reasons}; "
            "put a good copy back, or start a new run with another --out"
        )

    def write_h5(self) -> None:
        """Rebuild run.h5 from the journal (`p2p.runs.hdf5` describes it).

        Raises:
            NoRoom: the disk is full or cannot be written; the earlier run.h5 is intact.
            BadArtefact: the journal is damaged.
        """
        self.lock()
        attributes = {
            "config": self.config.model_dump_json(),
            "versions": json.dumps(self.versions()),
        }
        unit = "rad" if self.config.initial_position == "joints" else "m"
        data = encode_run(self.records(), self.config.num_peers, attributes, unit)
        write_atomically(self.path / "run.h5", data, "run.h5")

    def _checkpoints(self) -> list[Path]:
        """Return the checkpoint files, newest first."""
        files = (self.path / "checkpoints").glob(ckpt.PATTERN)
        return sorted(files, key=_age, reverse=True)

    def _check_never_had_any(self) -> None:
        """Raise BadArtefact if checkpoints were deleted: starting afresh would drop the journal."""
        # Policies are written after the checkpoint that they belong to, never before.
        if any((self.path / "policies").glob("*.safetensors")):
            raise BadArtefact(
                f"the checkpoints of {self.path} are gone, its policies are there; "
                "put a checkpoint back, or start a new run with another --out"
            )

    def _set_aside(self, written: Path) -> None:
        """Take what did not verify out of the way, so that it counts as none of the last two.

        It is kept: a file of another run that was put here by mistake may be the only copy.
        """
        for path in self._rejected:
            if path != written and path.exists():
                path.rename(path.with_suffix(".rejected"))
        self._rejected = []


def _age(checkpoint: Path) -> tuple[int, str]:
    """Return what sorts checkpoints by iteration, also past 8 digits."""
    return len(checkpoint.name), checkpoint.name


def _is_result(value: Mapping[str, Any]) -> bool:
    """Tell whether it says how many steps there were, and what each peer's mean score is."""
    steps, scores = value.get("steps"), value.get("scores")
    return (
        isinstance(steps, int)
        and isinstance(scores, list)
        and all(isinstance(p, dict) and isinstance(p.get("mean"), int | float) for p in scores)
    )


def _last_written(run: Path) -> float:
    """Return when a run's journal, or else its config, was last written, s since the epoch."""
    journal = run / "journal.jsonl"
    return (journal if journal.exists() else run / "config.json").stat().st_mtime


def _read_versions(run: Path) -> dict[str, Any]:
    """Return versions.json, or nothing: it only informs, a run lives without it."""
    with suppress(BadArtefact):
        return read_json(run / "versions.json")
    return {}
