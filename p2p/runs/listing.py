"""Which runs there are, and how each came out; which is meant where none is named.

Only small files are read: settings, result, and the end of the journal. Nothing is locked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from p2p.core.errors import BadArtefact, P2PError, UsageError
from p2p.core.reading import DAMAGE, open_regular, parse_json
from p2p.runs.checkpoints import Checkpoints
from p2p.runs.files import disk_errors, reachable, read_json
from p2p.runs.folder import RunFolder, is_result, last_written
from p2p.runs.lock import NAME as LOCK
from p2p.runs.lock import FolderLock, is_locked

ROOT = Path("runs")
DEEPEST = 3  # runs/studies/fig4/<run>
TAIL = 1 << 16  # bytes of a journal that are read first


class State(StrEnum):
    """How a run came out.

    RUNNING: a process writes there. FINISHED: training has reached its goal. INTERRUPTED: it was
    stopped with a checkpoint of its last iteration. CRASHED: it ended otherwise, by an error or a
    kill; it goes on from its last checkpoint. DAMAGED: its settings or journal cannot be read.
    """

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class ListedRun:
    """A run, as a list shows it.

    Attributes:
        steps: trained so far, over all peers.
        total_steps: its goal, in whole iterations.
        score: mean over peers of the final scores; None before the end.
        written: when it was last written to, s since the epoch.
        problem: why it cannot be read; empty if it can.
    """

    path: Path
    task: str
    method: str
    seed: int | None
    steps: int
    total_steps: int | None
    score: float | None
    state: State
    written: float
    problem: str = ""


def list_runs(root: Path = ROOT) -> list[ListedRun]:
    """Return the runs in a folder, and in those below it; the newest first.

    Raises:
        BadArtefact: there is no such folder.
    """
    if not reachable(root).is_dir():
        raise BadArtefact(f"there is no folder {root}; name another, or start a run with p2p train")
    return _newest_first(map(_listed, find_folders(root)))


def _newest_first(runs: Iterable[ListedRun]) -> list[ListedRun]:
    return sorted(runs, key=lambda run: (run.written, run.path.name), reverse=True)


def find_folders(root: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Yield the folders at or below `root` that have a config.json, but for hidden ones."""
    if (root / "config.json").is_file():
        yield root
    elif depth:
        with suppress(PermissionError):
            for folder in sorted(root.iterdir()):
                if folder.is_dir() and not folder.name.startswith("."):
                    yield from find_folders(folder, depth - 1)


def latest_run(root: Path = ROOT) -> ListedRun:
    """Return the run right below `root` that was written to last: of finished ones, if there are.

    Raises:
        BadArtefact: there is no run.
    """
    folders = [file.parent for file in root.glob("*/config.json")]
    runs = [_listed(folder) for folder in folders if not folder.name.startswith(".")]
    runs = _newest_first(run for run in runs if run.state is not State.DAMAGED)
    finished = [run for run in runs if run.state is State.FINISHED]
    if not runs:
        raise BadArtefact(f"no run under {root}; start one with `p2p train`, or name a folder")
    return (finished or runs)[0]


def remove_run(path: Path) -> None:
    """Remove a run's folder with all that lies in it.

    It is renamed at once, and deleted then: a kill leaves a hidden folder, and no half of a run.

    Raises:
        BadArtefact: it is no run, or one of a later version.
        UsageError: a process writes there, it is a link, or holds the working directory or others.
        NoRoom: it cannot be renamed.
    """
    check_removable(path)
    lock = FolderLock(path)
    lock.acquire()
    try:
        hidden = path.resolve()
        hidden = hidden.with_name(f".{hidden.name}.{os.getpid()}.removed")
        with disk_errors("run folder", path):
            path.rename(hidden)
            (hidden / "config.json").unlink()
            shutil.rmtree(hidden)
    finally:
        lock.release()


def check_removable(path: Path) -> None:
    """Raise what `remove_run` would raise, but for the lock."""
    if reachable(path).is_symlink():
        raise UsageError(f"{path} is a link; name the folder that it leads to")
    RunFolder.open(path)
    settings, versions = read_json(path / "config.json"), read_json(path / "versions.json")
    if not {"task", "method"} <= settings.keys() or "p2p" not in versions:
        raise BadArtefact(f"{path} is no run of p2p's; remove it yourself")
    if Path.cwd().is_relative_to(path.resolve()):
        raise UsageError(f"{path} holds the working directory; change to another one first")
    for part in path.iterdir():
        if part.is_dir() and (inner := next(find_folders(part), None)):
            raise UsageError(f"{path} holds another run, {inner}; remove or move that first")
    if is_locked(path):
        raise UsageError(f"{path} is running; stop it first")


def _listed(folder: Path) -> ListedRun:
    try:
        settings = read_json(folder / "config.json")
        if not {"task", "method"} <= settings.keys():
            raise BadArtefact(f"{folder / 'config.json'} lacks task and method")
        size = int(settings.get("steps_per_iteration", 0)) or 1
        goal = -(-int(settings.get("total_steps", 0)) // size) * size
        result = _result(folder)
        iterations = _iterations(folder / "journal.jsonl")
    except (P2PError, OSError, *DAMAGE) as error:
        written = last_written(folder)
        why = str(error)
        return ListedRun(folder, "-", "-", None, 0, None, None, State.DAMAGED, written, why)
    done = result is not None and result["steps"] >= goal
    scores = [peer["mean"] for peer in result["scores"]] if result is not None and done else []
    return ListedRun(
        folder,
        str(settings["task"]),
        str(settings["method"]),
        settings.get("seed"),
        iterations * size,
        goal,
        sum(scores) / len(scores) if scores else None,
        _state(folder, iterations, done=done),
        last_written(folder),
    )


def _state(folder: Path, iterations: int, *, done: bool) -> State:
    if is_locked(folder):
        return State.RUNNING
    if done:
        return State.FINISHED
    saved = Checkpoints(folder).newest()
    clean = not _has_holder(folder) and saved is not None and saved == iterations
    return State.INTERRUPTED if clean else State.CRASHED


def _has_holder(folder: Path) -> bool:
    """Tell whether the lock names a process, which one that ends by itself takes out again."""
    with suppress(OSError):
        return bool((folder / LOCK).read_bytes().strip())
    return False


def _result(folder: Path) -> dict[str, Any] | None:
    if not (folder / "result.json").exists():
        return None
    found = read_json(folder / "result.json")
    if not is_result(found):
        raise BadArtefact(f"{folder / 'result.json'} is damaged: it lacks steps or scores")
    return found


def _iterations(journal: Path) -> int:
    """Return how many iterations a journal has, from its last complete line."""
    try:
        with open_regular(journal) as file:
            size = file.seek(0, os.SEEK_END)
            back = TAIL
            while True:
                file.seek(max(0, size - back))
                data = file.read()
                lines = data[: data.rfind(b"\n") + 1].splitlines()
                if len(lines) > 1 or back >= size:
                    break
                back *= 8
    except FileNotFoundError:
        return 0
    return int(parse_json(lines[-1])["iteration"]) + 1 if lines else 0
