"""The process of one run of a study.

    python -m p2p.study.run_process FD PARENT FOLDER CORES

It reads from stdin, as JSON, the run's settings, the sources of the user's classes, the settings
of its tests by their name, and those of its return surface. PARENT is the scheduler's process id.
It writes messages to the file descriptor FD, one JSON object per line:
{"steps": int, "seconds": float | null} at the start and after each iteration,
{"tested": float, "steps_per_second": float | null} during its tests,
{"error": str, "exit_code": int} if it fails. Stdout and stderr are its log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from p2p.analysis.evaluation.config import EvalConfig
from p2p.analysis.surface.config import SurfaceConfig
from p2p.cohort import launch
from p2p.cohort.events import Iterated, Noted, Started
from p2p.core import registry
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import P2PError, UsageError
from p2p.core.platform import STOP_SIGNALS, signal_at_parents_death
from p2p.core.signals import provisional, request_stop
from p2p.runs import RunFolder
from p2p.runs.lock import FolderLock
from p2p.study.testing import run_tests

PATIENCE = 600.0  # s, in which a process of a killed scheduler must finish its iteration


def main() -> int:
    """Train and test the run, send messages, and return the exit code."""
    fd, parent, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    cores = int(sys.argv[4])
    for number in STOP_SIGNALS:  # until the run handles them, there is nothing to save
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end_now)
    stop_with_parent(parent)

    def send(**message: Any) -> None:
        try:
            os.write(fd, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:  # the scheduler has ended; only Linux says so by a signal
            request_stop()

    try:
        train_and_test(json.load(sys.stdin), folder, cores, send)
    except P2PError as error:
        send(error=str(error), exit_code=error.exit_code)
        return error.exit_code
    finally:
        launch.kill_server()
    return 0


def train_and_test(
    given: Mapping[str, Any], folder: Path, cores: int, send: Callable[..., None]
) -> None:
    """Start the run, or go on where it is; then test it.

    Args:
        given: what is read from stdin.
        folder: the run's.
        cores: that it may use.
        send: is called with the fields of each message.

    Raises:
        Interrupted: a signal; the run goes on from there.
        P2PError: it failed.
    """
    registry.add_sources(registry.Source(*source) for source in given["sources"])
    config = build_config(**given["settings"])
    if config.threads_per_peer is None:  # its share of what the scheduler has given the run
        threads = max(1, cores // config.num_peers)
        config = config.model_copy(update={"threads_per_peer": threads})
    for message in train(config, folder):
        send(**message)
    tests = {name: EvalConfig.model_validate(test) for name, test in given["tests"].items()}
    asked = given.get("surface")  # none of a job that an earlier version has submitted
    surface = SurfaceConfig.model_validate(asked) if asked else None
    if tests or surface:
        send(tested=0.0, steps_per_second=None)
        run_tests(
            folder, tests, config, cores,
            lambda share, rate: send(tested=share, steps_per_second=rate), surface,
        )  # fmt: skip


@provisional
def end_now(number: int, _: FrameType | None) -> None:
    """End this process, and the fork server that it has started."""
    launch.kill_server()
    os._exit(128 + number)


def stop_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM, which saves a checkpoint, when the scheduler ends."""
    signal_at_parents_death(signal.SIGTERM)
    if os.getppid() != parent:  # the scheduler ended before the call above
        sys.exit(128 + signal.SIGTERM)


def train(config: TrainConfig, folder: Path) -> Iterator[dict[str, Any]]:
    """Start the run, or resume it; yield the messages to send."""
    exists = (folder / "config.json").exists()
    if exists:
        wait_until_free(folder)
        result = RunFolder.open(folder).result()
        if result is not None and result["steps"] >= config.total_steps:
            return  # only its tests are left, or a killed scheduler's process has completed it
    launch.prepare(config.engine)
    from p2p.cohort import cohort  # imports torch while the fork server does, too

    if exists:
        events = cohort.resume(
            folder, total_steps=config.total_steps, threads_per_peer=config.threads_per_peer
        )
    else:
        events = cohort.train(config, out=folder)
    for event in events:
        if isinstance(event, Started):
            yield {"steps": event.resumed_from * config.steps_per_iteration, "seconds": None}
        elif isinstance(event, Iterated):
            yield {key: event.record[key] for key in ("steps", "seconds")}
        elif isinstance(event, Noted) and event.is_warning:
            print(f"warning: {event.text}", file=sys.stderr)


def wait_until_free(folder: Path) -> None:
    """Wait until no process writes there: one of a killed scheduler may still finish its iteration.

    Raises:
        UsageError: it has not ended within `PATIENCE` seconds.
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
