"""Starts processes from a fork server that has already imported every module.

Starting the server takes as long as importing torch. Call `prepare` before the caller's own slow
imports, so that both run at the same time.
"""

from __future__ import annotations

import atexit
import os
import signal
from multiprocessing.connection import wait
from pathlib import Path

from p2p.cohort.forkserver import ForkServer, Process
from p2p.cohort.server import Inherited
from p2p.core.errors import UsageError
from p2p.core.platform import signal_at_parents_death

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CHILD_ENVIRONMENT = {  # set in the processes that are started, whatever the parent has
    **dict.fromkeys(ONE_THREAD, "1"),
    "PYTHONSAFEPATH": "1",  # a file in the working directory must not shadow Python's own module
    "NUMBA_DISABLE_JIT": "0",  # kernels that are not compiled cannot be called
}


_servers: list[ForkServer] = []  # of this process, each with other modules


def prepare(engine: str) -> ForkServer:
    """Start a fork server for peers that use `engine`."""
    kernels = "p2p.peer.preload" if engine == "fused" else f"p2p.engine.{engine}"
    return start_server("torch", "p2p.cohort.peer_process", kernels)


def start_server(*modules: str) -> ForkServer:
    """Start a fork server unless one runs that has these modules; return it, without waiting.

    Args:
        modules: imported once, for all processes that the server starts.

    Raises:
        UsageError: the working directory is gone.
    """
    check_working_directory()
    for server in [*_servers]:
        if not server.is_alive:
            _servers.remove(server)
            server.kill()
        elif server.modules.issuperset(modules):
            return server
    _servers.append(ForkServer(modules, {**os.environ, **CHILD_ENVIRONMENT}))
    return _servers[-1]


def check_working_directory() -> None:
    """Raise UsageError if the working directory was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory is gone; change to one that exists") from None


def kill_server() -> None:
    """End the fork servers of this process, which may still be importing, and what they started.

    Only for a process that is about to end.
    """
    while _servers:
        _servers.pop().kill()


def _forget_server() -> None:
    """In a fork of this process: the servers are not its own, and must not wait for its end."""
    while _servers:
        _servers.pop().forget()
    Process.forget_all()


atexit.register(kill_server)
os.register_at_fork(after_in_child=_forget_server)


def die_with_parent() -> None:
    """Have the kernel kill this process when the fork server ends.

    The fork server ends when the process that started it ends.
    """
    signal_at_parents_death(signal.SIGKILL)
    server = Inherited.server
    if orphaned() or server not in (None, os.getppid()):  # one ended before the call above
        os._exit(1)


def orphaned() -> bool:
    """Return whether the process that started this one is gone."""
    return Inherited.parent is not None and bool(wait([Inherited.parent], 0))
