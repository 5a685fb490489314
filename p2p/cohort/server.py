"""What runs in the fork server: it imports once, and then forks a process for each request.

It is apart from `multiprocessing`'s server, which belongs to the caller: with signals, environment
and start method of his own. `p2p.cohort.forkserver` is the caller's side.

A terminal, `systemd` and batch systems send a signal to all processes of a job. Only the parent
may act on it: it requests a stop, and the peers finish the iteration and write a checkpoint. The
server and the peers ignore the signal, and end when the parent ends.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn

from p2p.core import limits
from p2p.core.errors import NoRoom
from p2p.core.platform import STOP_SIGNALS

REQUEST = b"F"
MOST_FDS = 64  # in one request
WORD = 8  # bytes of a number in a pipe


class Inherited:
    """File descriptors of the process that a server has forked.

    Attributes:
        passed: what the parent has sent along, by their number in pickles.
        parent: a socket that says nothing more until the parent is gone; None in others.
        server: the server's process id.
    """

    passed: tuple[int, ...] = ()
    parent: int | None = None
    server: int | None = None


class PassedFd:
    """A file descriptor in a pickle, as `multiprocessing.reduction` wants it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def detach(self) -> int:
        """Return the descriptor, in the process that has received it."""
        return Inherited.passed[self.number]


def main(fd: int, modules: Sequence[str]) -> NoReturn:
    """Serve requests from the socket `fd` until the parent closes its end, or is gone."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent had blocked these, or others
    control = socket.socket(fileno=fd)
    with _ending_with(control):
        for module in modules:
            with suppress(Exception):  # the processes will fail at it, and say so
                import_module(module)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # also where the caller ignores it
    signal.set_wakeup_fd(wake)
    statuses: dict[int, int] = {}  # where to write the exit code of a process
    poll = select.poll()
    for source in (fd, woken):
        poll.register(source, select.POLLIN)
    while True:
        ready = [source for source, _ in poll.poll()]
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 1 << 16)
            _reap(statuses)
        if fd in ready:
            word, fds, _, _ = socket.recv_fds(control, len(REQUEST), MOST_FDS)
            if not word:  # the parent has ended, and the peers end with this process:
                os._exit(0)  # what torch has to tidy up takes seconds where cores are busy
            data, status, *passed = fds
            Inherited.server = os.getpid()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                for other in (woken, wake, status, *statuses.values()):
                    os.close(other)
                _run(data, tuple(passed))
            statuses[pid] = status
            _write(status, pid)
            for own in (data, *passed):
                os.close(own)


@contextmanager
def _ending_with(control: socket.socket) -> Iterator[None]:
    """End this process during the block if the parent ends; imports may take a minute."""
    stop, stopping = os.pipe()

    def watch() -> None:
        poll = select.poll()
        poll.register(control, 0)  # a hang-up alone: a request may be waiting
        poll.register(stop, select.POLLIN)
        if all(fd != stop for fd, _ in poll.poll()):
            os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.write(stopping, b".")
        watcher.join()  # no thread may run at a fork
        os.close(stop)
        os.close(stopping)


def _reap(statuses: dict[int, int]) -> None:
    """Tell the parent the exit codes of processes that have ended."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if (pipe := statuses.pop(pid, None)) is not None:
                _write(pipe, os.waitstatus_to_exitcode(status))
                os.close(pipe)


def _write(pipe: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the parent does not want to know
        os.write(pipe, number.to_bytes(WORD, "little", signed=True))


def read_number(pipe: int) -> int | None:
    """Return the number in a pipe; None if there comes none."""
    data = _read(pipe, WORD)
    return int.from_bytes(data, "little", signed=True) if len(data) == WORD else None


def _read(pipe: int, size: int) -> bytes:
    """Read `size` bytes, or less if the pipe ends."""
    parts = []
    while size > 0 and (part := os.read(pipe, min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _run(pipe: int, passed: tuple[int, ...]) -> NoReturn:
    """Run what the parent has sent, and end."""
    Inherited.passed, Inherited.parent = passed, pipe
    code = 1
    try:
        if (size := read_number(pipe)) is not None:
            folder, sys.path[:], sys.argv[:], job = pickle.loads(_read(pipe, size))
            with suppress(OSError):
                os.chdir(folder)
            target, args = pickle.loads(job)  # only now can it find the user's modules
            code = _call(target, args)
    except BaseException as error:
        if limits.explained(error) is not None:
            code = NoRoom.exit_code
        else:
            traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


def _call(target: Any, args: Sequence[Any]) -> int:
    """Call `target(*args)` and return the exit code."""
    from multiprocessing import util

    try:
        target(*args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        util._exit_function()  # type: ignore[attr-defined]  # processes that user's code started
    return 0
