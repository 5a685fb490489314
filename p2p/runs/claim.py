"""Claims a folder for a new run, such that a failure can be undone completely."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

from p2p.core.config import TrainConfig
from p2p.core.env_names import folder_part
from p2p.core.errors import UsageError
from p2p.runs.files import disk_errors
from p2p.runs.lock import NAME as LOCK
from p2p.runs.restarts import NAME as RESTARTS

ROOT = Path("runs")  # of new folders
FIRST_FILES = ("config.json", "versions.json", RESTARTS, LOCK)
SUBFOLDERS = ("checkpoints", "milestones", "policies")


def claim_new(config: TrainConfig, undo: ExitStack) -> Path:
    """Create a new folder under runs/ and return it."""
    stem = f"{folder_part(config.task)}-{config.method}-{time.strftime('%y%m%d-%H%M%S')}"
    with disk_errors("run folder", ROOT / stem):
        _make(ROOT, undo)
        for n in count(1):
            path = ROOT / (stem if n == 1 else f"{stem}-{n}")
            with suppress(FileExistsError):
                path.mkdir()
                undo.callback(remove_folder, path)
                return path
    raise AssertionError("unreachable")


def claim_given(path: Path, undo: ExitStack) -> Path:
    """Create `path`, unless it is an empty folder already."""
    with disk_errors("run folder", path):
        check_empty(path)
        _make(path, undo)
    return path


def check_claimable(config: TrainConfig, out: Path | None) -> None:
    """Check that a run folder can be made and written: make it, write into it, and undo that.

    Raises:
        UsageError, NoRoom: as `RunFolder.create`.
    """
    with ExitStack() as undo:
        path = claim_new(config, undo) if out is None else claim_given(Path(out), undo)
        with disk_errors("run folder", path):
            tempfile.TemporaryFile(dir=path).close()


def check_empty(path: Path) -> None:
    """Raise UsageError if `path` is a file, or a folder that holds anything."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; choose another folder with --out")
    if (path / "config.json").exists():
        raise UsageError(
            f"{path} already holds a run; continue it with --resume {path}, "
            "or choose another folder with --out"
        )
    if path.exists() and not all(map(_is_leftover, path.iterdir())):
        raise UsageError(f"{path} is not empty; choose another folder with --out")


def discard_untrained(path: Path) -> bool:
    """Remove the run folder `path` if nothing was trained in it yet; return whether it is gone."""
    kept = [file for name in SUBFOLDERS for file in (path / name).glob("*")]
    others = {file.name for file in path.glob("*")} - {*SUBFOLDERS, *FIRST_FILES}
    if kept or others:
        return False
    for name in SUBFOLDERS:
        remove_folder(path / name)
    for name in FIRST_FILES:
        (path / name).unlink(missing_ok=True)
    remove_folder(path)
    if path.parent == ROOT:
        remove_folder(ROOT)
    return not path.exists()


def remove_folder(path: Path) -> None:
    """Remove a folder that a failed creation made, unless another process has used it."""
    with suppress(OSError):
        path.rmdir()


def _make(path: Path, undo: ExitStack) -> None:
    """Create a folder and its parents; undoing removes those that did not exist."""
    for folder in reversed([p for p in (path, *path.parents) if not p.exists()]):
        folder.mkdir(exist_ok=True)
        undo.callback(remove_folder, folder)


def _is_leftover(path: Path) -> bool:
    """Whether this may stem from a creation that was killed."""
    if path.name in SUBFOLDERS:
        return path.is_dir() and not any(path.iterdir())
    return path.name in (LOCK, "versions.json") or path.match(".*.tmp")
