"""One run of a study, in a process of its own.

    python -m p2p.study.run FD PARENT FOLDER CORES [TESTS]

Its settings, and the sources of classes of the user's, come in on stdin, as JSON; TESTS are
those of its evaluation, if it has one, also as JSON. What it has to tell goes out as JSON lines
on the file descriptor FD:
{"steps": int, "seconds": float | null} at the start and after each iteration,
{"tested": float, "steps_per_second": float | null} while it is tested, {"error": str,
"exit_code": int} if it fails. Stdout and stderr are its log.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from p2p.analysis.evaluation.config import EvalConfig
from p2p.cohort import launch
from p2p.cohort.events import Iterated, Started
from p2p.core import registry
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import P2PError, UsageError
from p2p.runs import RunFolder
from p2p.runs.lock import FolderLock
from p2p.study.testing import run_tests

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PATIENCE = 600.0  # s, for a process of a killed scheduler to finish its iteration


def main() -> int:
    """Train, tell how it goes, and return the exit code."""
    fd, parent, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    cores = int(sys.argv[4])
    tests = EvalConfig.model_validate_json(sys.argv[5]) if len(sys.argv) > 5 else None
    stop_with(parent)

    def tell(**message: Any) -> None:
        with suppress(BrokenPipeError):  # the scheduler is gone; we are about to stop
            os.write(fd, json.dumps(message).encode() + b"\n")

    given = json.load(sys.stdin)
    try:
        registry.add_sources(registry.Source(*source) for source in given["sources"])
        config = build_config(**given["settings"])
        for message in train(config, folder):
            tell(**message)
        if tests is not None:
            steps = config.whole_steps
            tell(tested=0.0, steps_per_second=None)
            run_tests(
                folder, tests, steps, cores,
                lambda now: tell(tested=now.share, steps_per_second=now.steps / now.seconds),
            )  # fmt: skip
    except P2PError as error:
        tell(error=str(error), exit_code=error.exit_code)
        return error.exit_code
    return 0


def stop_with(parent: int) -> None:
    """Get a SIGTERM, which leaves a checkpoint, when the scheduler ends in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the call above
        sys.exit(128 + signal.SIGTERM)


def train(config: TrainConfig, folder: Path) -> Iterator[dict[str, Any]]:
    """Start the run, or continue it; yield what there is to tell."""
    there = (folder / "config.json").exists()
    if there:
        wait_until_free(folder)
        result = RunFolder.open(folder).result()
        if result is not None and result["steps"] >= config.total_steps:
            return  # it is here for its tests, or a killed scheduler's process has completed it
    launch.prepare(config.engine)
    from p2p.cohort import cohort  # imports torch, which the fork server is doing meanwhile

    if there:
        events = cohort.resume(folder, total_steps=config.total_steps)
    else:
        events = cohort.train(config, out=folder)
    for event in events:
        if isinstance(event, Started):
            yield {"steps": event.resumed_from * config.steps_per_iteration, "seconds": None}
        elif isinstance(event, Iterated):
            yield {key: event.record[key] for key in ("steps", "seconds")}


def wait_until_free(folder: Path) -> None:
    """Wait for a process that still writes there: a killed scheduler's, on its way out.

    Raises:
        UsageError: it has not ended within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        lock = FolderLock(folder)
        try:
            lock.acquire()
        except UsageError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            lock.release()
            return


if __name__ == "__main__":
    sys.exit(main())
