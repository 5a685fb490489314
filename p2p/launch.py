"""How peer processes are started: a fork server that has imported everything already.

Starting it takes as long as importing torch, so `prepare` is worth calling before the
caller's own heavy imports: then both happen at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def prepare(engine: str) -> ForkServerContext:
    """Start the fork server unless it runs, without waiting for it; return its context.

    Args:
        engine: the one that the peers will use, to be imported once for all.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["p2p.process", f"p2p.engine.{engine}"])
    with one_thread_each(), without_main():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes started within use one thread each, whatever library they load."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
