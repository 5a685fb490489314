"""Starts processes from a fork server that has already imported every module.

Starting the server takes as long as importing torch. Call `prepare` before the caller's own slow
imports, so that both run at the same time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

from p2p.core.errors import UsageError
from p2p.core.platform import STOP_SIGNALS, signal_at_parents_death

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CHILD_ENVIRONMENT = {  # set in the processes that are started, whatever the parent has
    **dict.fromkeys(ONE_THREAD, "1"),
    "PYTHONSAFEPATH": "1",  # a file in the working directory must not shadow Python's own module
    "NUMBA_DISABLE_JIT": "0",  # kernels that are not compiled cannot be called
}


def prepare(engine: str) -> ForkServerContext:
    """Start a fork server for peers that use `engine`."""
    kernels = "p2p.peer.preload" if engine == "fused" else f"p2p.engine.{engine}"
    return start_server("torch", "p2p.cohort.peer_process", kernels)


def start_server(*modules: str) -> ForkServerContext:
    """Start the fork server unless one runs, without waiting for it; return its context.

    Args:
        modules: imported once, for all processes that the server starts.

    Raises:
        UsageError: the working directory is gone, or TMPDIR is too long a path for a socket.
    """
    check_working_directory()
    context = get_context("forkserver")
    context.set_forkserver_preload(["p2p.cohort.server", *modules])
    try:
        with one_thread_each(), without_main(), ignore_signals():
            forkserver.ensure_running()
    except OSError as error:
        if error.errno is not None:  # none: Python's own error about an AF_UNIX path
            raise
        folder = tempfile.gettempdir()
        raise UsageError(
            f"{folder} is too long a path for a socket; set TMPDIR to another"
        ) from None
    return context


def check_working_directory() -> None:
    """Raise UsageError if the working directory was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory is gone; change to one that exists") from None


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Give processes started within the block `CHILD_ENVIRONMENT`: one thread for any library."""
    before = {name: os.environ.get(name) for name in CHILD_ENVIRONMENT}
    os.environ.update(CHILD_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def ignore_signals() -> Iterator[None]:
    """Block stop signals in a process started here, until `p2p.cohort.server` ignores them.

    And for good in Python's resource tracker, which by itself ignores only SIGINT and SIGTERM.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # of which that has unblocked these
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep processes started within the block from importing the caller's script.

    Then `p2p.train` works in a script without an `if __name__ == "__main__"` guard.
    """
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__",) if hasattr(main, name)}
    spec, main.__spec__ = main.__spec__, None
    try:
        yield
    finally:
        main.__spec__ = spec
        main.__dict__.update(hidden)


def kill_server(*, at_once: bool = False) -> None:
    """End the fork server of this process, which may still be importing, and what it started.

    Only for a process that is about to end.

    Args:
        at_once: it ends by `os._exit`, so that nobody else removes the server's socket.
    """
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if pid is None:
        return
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    if at_once:
        shutil.rmtree(get_temp_dir(), ignore_errors=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when the fork server ends.

    The fork server ends when the process that started it ends.
    """
    signal_at_parents_death(signal.SIGKILL)
    if orphaned():  # the parent ended before the call above
        os._exit(1)


def orphaned() -> bool:
    """Return whether the process that started this one is gone."""
    parent: Any = parent_process()
    return parent is not None and bool(wait([parent.sentinel], 0))
