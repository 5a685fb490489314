"""Processes that measure at the same moment, each with one thread, as the peers have."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from p2p.cohort import launch
from p2p.exchange.shared_memory import Arena, SharedExchange

T = TypeVar("T")
PRELOADED = ("p2p.bench.exchange", "p2p.bench.bare_loop")


def run_together(
    work: Callable[..., T], arguments: Sequence[tuple[Any, ...]], slot_bytes: int = 64
) -> list[T]:
    """Return what `work(exchange, *arguments[rank])` returns, by rank, one process each.

    Args:
        work: a module's function; calling its exchange is what synchronises the processes.
        slot_bytes: room for what they exchange.

    Raises:
        RuntimeError: one of them failed; with its traceback.
    """
    context = launch.start_server(*PRELOADED)
    arena = Arena(len(arguments), slot_bytes)
    children, pipes = [], []
    try:
        for rank, own in enumerate(arguments):
            ours, theirs = context.Pipe(duplex=False)
            args = (theirs, work, arena, rank, own)
            child = context.Process(target=_child, args=args, daemon=True)
            child.start()
            theirs.close()
            children.append(child)
            pipes.append(ours)
        found: dict[Connection, T] = {}
        while len(found) < len(pipes):
            # Whoever is first: one that failed keeps the others waiting for it.
            for pipe in wait([pipe for pipe in pipes if pipe not in found]):
                assert isinstance(pipe, Connection)
                found[pipe] = _received(pipe)
        return [found[pipe] for pipe in pipes]
    finally:
        arena.abort()
        for child in children:
            child.join(1.0)
            if child.is_alive():
                child.kill()
                child.join()


def _child(
    pipe: Connection, work: Callable[..., Any], arena: Arena, rank: int, own: tuple[Any, ...]
) -> None:
    launch.die_with_parent()
    try:
        pipe.send((work(SharedExchange(arena, rank, launch.orphaned), *own), ""))
    except Exception:
        pipe.send((None, traceback.format_exc()))


def _received(pipe: Connection) -> Any:
    try:
        value, failure = pipe.recv()
    except EOFError:
        value, failure = None, "it was killed"
    if failure:
        raise RuntimeError(f"a measuring process failed: {failure}")
    return value
