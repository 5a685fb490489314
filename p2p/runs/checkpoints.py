"""The checkpoints of a run: the last two for resuming, and milestones, which are never deleted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact
from p2p.runs import checkpoint as ckpt
from p2p.runs.checkpoint import Checkpoint
from p2p.runs.files import disk_errors

KEPT = 2


class Checkpoints:
    """The folders `checkpoints/` and `milestones/` of the run at `path`. It takes no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "checkpoints"
        self._rejected: list[Path] = []

    def save(
        self,
        iteration: int,
        tensors: Mapping[str, NDArray[Any]],
        meta: Mapping[str, Any],
        config: TrainConfig,
    ) -> Path:
        """Save a checkpoint and delete all but the last two; see `RunFolder.save_checkpoint`."""
        path = self.folder / ckpt.checkpoint_name(iteration)
        with disk_errors("checkpoint", path):
            ckpt.write(path, iteration, tensors, meta, config)
            self._set_rejected_aside(path)
            others = [p for p in self._files() if p != path]
            for old in others[KEPT - 1 :]:
                old.unlink(missing_ok=True)
        return path

    def save_milestone(
        self, iteration: int, tensors: Mapping[str, NDArray[Any]], config: TrainConfig
    ) -> None:
        """Save a milestone; see `RunFolder.save_milestone`."""
        path = self.path / "milestones" / ckpt.checkpoint_name(iteration)
        with disk_errors("milestone", path):
            path.parent.mkdir(exist_ok=True)  # earlier versions created none
            ckpt.write(path, iteration, tensors, {}, config)

    def newest(self) -> int | None:
        """Return the iterations of the newest file of a checkpoint, valid or not."""
        files = self._files()
        return int(files[0].stem.partition("-")[2]) if files else None

    def milestones(self) -> list[Path]:
        """Return the files of all milestones, oldest first."""
        return sorted((self.path / "milestones").glob(ckpt.PATTERN), key=_age)

    def load_newest(self, config: TrainConfig) -> Checkpoint | None:
        """Return the newest valid checkpoint; see `RunFolder.load_checkpoint`."""
        rejected: list[tuple[Path, str]] = []
        for path in self._files():
            try:
                found = ckpt.read(path, config)
            except ckpt.Rejected as reason:
                rejected.append((path, str(reason)))
                continue
            self._rejected = [p for p, _ in rejected]
            found.skipped.extend(f"{p} {why}; resuming from {path.name}" for p, why in rejected)
            return found
        if not rejected:
            self._check_none_were_deleted()
            return None
        reasons = "; ".join(f"{path.name} {why}" for path, why in rejected)
        raise BadArtefact(
            f"no checkpoint in {self.folder} can be used: {reasons}; "
            "put a good copy back, or start a new run with another --out"
        )

    def _files(self) -> list[Path]:
        """Return the checkpoint files, newest first."""
        return sorted(self.folder.glob(ckpt.PATTERN), key=_age, reverse=True)

    def _check_none_were_deleted(self) -> None:
        """Raise BadArtefact if there were checkpoints: starting anew would delete the journal."""
        # A peer's policy is written after the checkpoint that it belongs to, never before.
        if any((self.path / "policies").glob("peer-*.safetensors")):
            raise BadArtefact(
                f"the checkpoints of {self.path} were deleted, but its policies exist; "
                "put a checkpoint back, or start a new run with another --out"
            )

    def _set_rejected_aside(self, written: Path) -> None:
        """Rename the files that were rejected, so that they do not count among the last two.

        They are not deleted: a file of another run, put here by mistake, may be the only copy.
        """
        for path in self._rejected:
            if path != written and path.exists():
                path.rename(path.with_suffix(".rejected"))
        self._rejected = []


def load_milestone(path: Path, config: TrainConfig) -> Checkpoint:
    """Return the milestone at `path`; see `RunFolder.load_milestone`."""
    try:
        return ckpt.read(path, config)
    except ckpt.Rejected as reason:
        raise BadArtefact(f"{path} {reason}; the run's other milestones may be valid") from None


def _age(checkpoint: Path) -> tuple[int, str]:
    """Return the sort key that orders checkpoints by iteration, also beyond 8 digits."""
    return len(checkpoint.name), checkpoint.name
