"""A fork server of p2p's own, and the processes that it forks.

`multiprocessing` has one such server in a process. Sharing it with the caller fails both ways: his
processes would ignore signals and carry our environment, and his start method, preloads and daemons
would be ours. So this one takes from `multiprocessing` pickles and pipes alone.
"""

from __future__ import annotations

import array
import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, context, reduction, spawn
from typing import Any, ClassVar

from p2p.cohort.server import REQUEST, WORD, PassedFd, read_number
from p2p.core import limits
from p2p.core.errors import NoRoom, P2PError, PeerLost
from p2p.core.platform import STOP_SIGNALS

START = "import sys; sys.path[:] = sys.argv[3:]; from p2p.cohort.server import main; "
START += "main(int(sys.argv[1]), sys.argv[2].split())"
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # SIGPIPE ends a caller who has it do so


class ForkServer:
    """The server's process, as the process sees it that started it; has a context's interface.

    It ends when the last reference to it is gone, or this process ends.

    Args:
        modules: imported once, for all processes that it starts.
        environment: of the server and these processes, in place of this process's own.

    Attributes:
        modules: the same, as a set.
        pid: of its process.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self.modules = frozenset(modules)
        ours, theirs = socket.socketpair()
        path = [entry for entry in sys.path if entry]  # a file here must not shadow Python's own
        args = [str(theirs.fileno()), " ".join(modules), *path]
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        executable = os.fsdecode(spawn.get_executable())
        # Inherited, until the server ignores them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._child = subprocess.Popen(
                [executable, *flags, "-P", "-c", START, *args],
                env=dict(environment), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.pid = self._child.pid
        self._control = ours

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked for processes."""
        return self._owner == os.getpid() and self._child.poll() is None

    def kill(self) -> None:
        """End it at once; on Linux the kernel ends the processes that it has started."""
        if self._owner == os.getpid() and self._child.returncode is None:
            with suppress(OSError):  # without Popen's lock: a signal's handler may call this
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self._child.returncode = -signal.SIGKILL
        self._control.close()

    def forget(self) -> None:
        """Close what a fork of this process has inherited of it."""
        self._child.returncode = 0  # it is no child of the fork's
        self._control.close()

    def _ended(self) -> int | None:
        """Return the exit code that it has ended with."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)
        return self._child.returncode

    def Pipe(  # noqa: N802 (as in multiprocessing)
        self, duplex: bool = True
    ) -> tuple[connection.Connection, connection.Connection]:
        """Return both ends of a pipe, as `multiprocessing.Pipe`."""
        return connection.Pipe(duplex)

    def Process(  # noqa: N802 (as in multiprocessing)
        self, *, target: Callable[..., object], args: Sequence[Any] = (), name: str = "process",
        daemon: bool = True,
    ) -> Process:  # fmt: skip
        """Return a process that will run `target(*args)`; it ends with this one."""
        return Process(self, target, args, name)

    def request(self, fds: Sequence[int]) -> None:
        """Have it fork a process that gets these file descriptors.

        Raises:
            PeerLost: it is gone.
        """
        try:
            with self._lock:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                self._control.sendmsg([REQUEST], [rights], NO_SIGNAL)
        except OSError as error:
            raise self.lost() from error

    def lost(self) -> PeerLost:
        """Return the error that says how it ended."""
        code = self._ended()
        hint = limits.after_death(code)
        return PeerLost(
            f"the process that starts others (pid {self.pid}) died: {ending(code)}{hint}"
        )


class Process:
    """A process that the server forks; like `multiprocessing.Process`, as far as p2p needs that.

    Attributes:
        pid: None before `start`.
    """

    live: ClassVar[weakref.WeakSet[Process]] = weakref.WeakSet()

    def __init__(
        self, server: ForkServer, target: Callable[..., object], args: Sequence[Any], name: str
    ) -> None:
        self.server, self.name, self.pid = server, name, None
        self._job = (target, tuple(args))
        self._code: int | None = None

    pid: int | None

    def start(self) -> None:
        """Send it on its way; waits for the server, which may still be importing.

        Raises:
            PeerLost: the server is gone.
        """
        passed: list[int] = []
        job = _pickled(self._job, passed)
        here = os.getcwd()  # noqa: PTH109
        data = pickle.dumps((here, [entry or here for entry in sys.path], sys.argv, job))
        data = len(data).to_bytes(WORD, "little") + data
        ours, theirs = socket.socketpair()
        self._status, status = os.pipe()
        self._close = weakref.finalize(self, _close, ours, self._status)
        self._close.atexit = False
        Process.live.add(self)
        try:
            try:
                self.server.request([theirs.fileno(), status, *passed])
            finally:
                theirs.close()
                os.close(status)
            self.pid = read_number(self._status)
            if self.pid is None:
                raise self.server.lost()
            with suppress(BrokenPipeError, ConnectionResetError):  # it died at once
                ours.sendall(data, NO_SIGNAL)
        except BaseException:
            self._close()  # a process that gets no job ends
            raise
        del self._job

    @property
    def exitcode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs.

        Raises:
            PeerLost: the server is gone, so that nobody knows.
        """
        if self._code is None and connection.wait([self._status], 0):
            self._code = read_number(self._status)
            if self._code is None:
                raise self.server.lost()
        return self._code

    def is_alive(self) -> bool:
        """Say whether it runs. With its server a process ends as well."""
        return self._code is None and not connection.wait([self._status], 0)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        if self._code is None:
            connection.wait([self._status], timeout)

    def kill(self) -> None:
        """End it at once."""
        if self.is_alive() and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    @classmethod
    def forget_all(cls) -> None:
        """Close what a fork of this process has inherited: peers must not take it for alive."""
        for process in list(cls.live):
            process._close()


def died(process: Process, who: str) -> P2PError:
    """Return the error that says how a process died.

    Args:
        who: what it is, with what it was doing.

    Raises:
        PeerLost: its server is gone, and it with that.
    """
    code = process.exitcode
    if code == NoRoom.exit_code:
        return NoRoom(f"{who}: out of memory{limits.memory_limits()}, or too many open files")
    return PeerLost(f"{who}: {ending(code)}{limits.after_death(code)}")


def ending(code: int | None) -> str:
    """Say how a process ended that has this exit code."""
    if code is None:
        return "it does not answer"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _close(channel: socket.socket, status: int) -> None:
    channel.close()
    os.close(status)


def _pickled(job: Any, passed: list[int]) -> bytes:
    """Return the pickle of a job, and add to `passed` the file descriptors that belong to it."""

    class Popen:
        DupFd = PassedFd

        def duplicate_for_child(self, fd: int) -> int:
            passed.append(fd)
            return len(passed) - 1

    buffer = io.BytesIO()
    context.set_spawning_popen(Popen())  # type: ignore[arg-type]
    try:
        reduction.ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(job)
    finally:
        context.set_spawning_popen(None)
    return buffer.getvalue()
