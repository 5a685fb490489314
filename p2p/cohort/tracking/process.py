"""The process of one tracker: `python -m p2p.cohort.tracking.process MESSAGES`.

MESSAGES is a file descriptor to write messages to, one JSON object a line: {"note": str},
{"warning": str}, {"logged": iterations}. Stdin brings a `Job` as JSON, and at the end of the run
{"status": ..., "scores": [...]}; its end without that means that the parent is gone. Stdout and
stderr are the tracker's log.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from p2p.cohort.tracking.follower import Follower
from p2p.cohort.tracking.tracker import Job
from p2p.core.platform import STOP_SIGNALS

POLL = 1.0  # s, between two looks at the journal
ORPHAN = 15.0  # s, for a tracker to end after its parent has, before it is killed


class Parent(threading.Thread):
    """Listens to the parent, so that a tracker that hangs ends with it all the same.

    Attributes:
        ended: set when the run has ended.
        last: what the parent said at the end.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.last: dict[str, Any] = {"status": "stopped", "scores": []}
        self._file = os.fdopen(fd)
        self.job = Job(**json.loads(self._file.readline()))

    def run(self) -> None:
        """Wait for the end of the run, and for that of the parent."""
        for line in self._file:
            self.last = json.loads(line)
            self.ended.set()
        self.ended.set()
        time.sleep(ORPHAN)
        if os.getpgrp() == os.getpid():  # with what the tracker has started
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def main() -> None:
    """Follow the run to its end."""
    messages = int(sys.argv[1])
    os.set_inheritable(messages, False)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent acts on them, and ends this process
    control = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nobody answers a tracker's questions
    parent = Parent(control)
    parent.start()

    def tell(message: dict[str, Any]) -> None:
        with suppress(OSError):
            os.write(messages, json.dumps(message).encode() + b"\n")

    job = parent.job
    if job.tracker == "tensorboard":
        sys.modules["torch"] = None  # type: ignore[assignment]  # tensorboardX would load it
    lock = os.open(job.folder / f".{job.tracker}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)  # that of a session that was killed ends within ORPHAN s
    follower = Follower(job, tell)
    while not parent.ended.is_set():
        follower.follow()
        parent.ended.wait(POLL)
    follower.finish(**parent.last)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(0)  # what the tracker's library still has to say at its exit might take for ever


if __name__ == "__main__":
    main()
