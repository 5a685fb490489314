"""How processes are started: by a fork server that has imported everything already.

Starting it takes as long as importing torch, so `prepare` is worth calling before the
caller's own heavy imports: then both happen at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from p2p.core.errors import UsageError

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
OF_PROCESSES = {  # what their environment holds, whatever ours does
    **dict.fromkeys(ONE_THREAD, "1"),
    "PYTHONSAFEPATH": "1",  # a file in the working directory is not taken for Python's own
    "NUMBA_DISABLE_JIT": "0",  # kernels that are not compiled cannot be called
}
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def prepare(engine: str) -> ForkServerContext:
    """Start a fork server for peers that use `engine`."""
    kernels = "p2p.peer.preload" if engine == "fused" else f"p2p.engine.{engine}"
    return start_server("p2p.cohort.process", kernels)


def start_server(*modules: str) -> ForkServerContext:
    """Start the fork server unless one runs, without waiting for it; return its context.

    Args:
        modules: what it imports, once for all processes that it starts.

    Raises:
        UsageError: the working directory is gone, or TMPDIR too long a path for a socket.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory is gone; change to one that exists") from None
    context = get_context("forkserver")
    context.set_forkserver_preload(["p2p.cohort.server", *modules])
    try:
        with one_thread_each(), without_main(), deaf():
            forkserver.ensure_running()
    except OSError as error:
        if error.errno is not None:  # the system's; without it Python's own, of an AF_UNIX path
            raise
        folder = tempfile.gettempdir()
        raise UsageError(
            f"{folder} is too long a path for a socket; set TMPDIR to another"
        ) from None
    return context


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes started within use one thread each, whatever library they load.

    What else their environment holds is in `OF_PROCESSES`.
    """
    before = {name: os.environ.get(name) for name in OF_PROCESSES}
    os.environ.update(OF_PROCESSES)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Let a process started within be deaf from the start, not only once the server is loaded."""
    resource_tracker.ensure_running()  # to start it would unblock what is blocked here
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep peers from importing the caller's script, which they have no use for.

    So `p2p.train` works from a script without an `if __name__ == "__main__"` guard.
    """
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__",) if hasattr(main, name)}
    spec, main.__spec__ = main.__spec__, None
    try:
        yield
    finally:
        main.__spec__ = spec
        main.__dict__.update(hidden)


def die_with_parent() -> None:
    """Be killed when the fork server ends, which it does when the process that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned():  # it ended before the call above
        os._exit(1)


def orphaned() -> bool:
    """Return whether the process that started this one is gone."""
    parent: Any = parent_process()
    return parent is not None and bool(wait([parent.sentinel], 0))
