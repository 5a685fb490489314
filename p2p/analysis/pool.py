"""Work on all cores: processes that ask for tickets whenever they have room for more.

A ticket is an episode, a checkpoint, or whatever else a `serve` function works through. The
result depends on the ticket alone, so neither the number of processes nor their speed changes
a bit. Importing this brings no torch: a fork server that preloads it stands in half a second.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from p2p.cohort import launch
from p2p.cohort.forkserver import Process, died
from p2p.core import limits, registry
from p2p.core.errors import P2PError
from p2p.core.platform import STOP_SIGNALS

POLL = 0.5  # s, between checks for a request to stop


class WorkerReport(NamedTuple):
    """What a process did since its last report.

    Attributes:
        steps: environment steps.
        ended: number and result of each ticket that ended.
        wants: how many tickets the process now waits for.
    """

    steps: int
    ended: list[tuple[int, Any]]
    wants: int


class Pool:
    """Processes that work through tickets; on leaving the block none of them is left.

    Args:
        serve: what each process runs, `serve(pipe, *common)`. It sends a `WorkerReport` that wants
            tickets and receives a list of as many, again and again; a shorter list says that no
            ticket is left.
        tickets: what `serve` receives; it knows the number to report each ticket by.
        common: what all tickets have in common.
        preload: modules that the fork server imports, if it is not running yet.
    """

    def __init__(
        self, serve: Callable[..., None], tickets: Sequence[Any], num_workers: int, *common: Any,
        preload: Sequence[str],
    ) -> None:  # fmt: skip
        self.serve, self.tickets, self.common = serve, tickets, common
        self.num_workers = min(num_workers, len(tickets))
        self.preload = preload
        self.workers: dict[Connection, Process] = {}

    def __enter__(self) -> Pool:
        context = launch.start_server(*self.preload)
        for n in range(self.num_workers):
            ours, theirs = context.Pipe()
            child = context.Process(
                target=worker_main, args=(theirs, registry.sources(), self.serve, *self.common),
                name=f"evaluation {n}", daemon=True,
            )  # fmt: skip
            child.start()
            theirs.close()
            self.workers[ours] = child
        return self

    def reports(self) -> Iterator[WorkerReport]:
        """Yield what the processes report, and an empty report after `POLL` seconds without any.

        Raises:
            PeerLost: a process died.
        """
        rest = iter(self.tickets)
        pipes = set(self.workers)
        while pipes:
            ready = wait(list(pipes), POLL)
            if not ready:
                yield WorkerReport(0, [], 0)
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    message = pipe.recv()
                    if isinstance(message, WorkerReport) and message.wants:
                        pipe.send(list(islice(rest, message.wants)))
                except (EOFError, OSError):
                    pipes.remove(pipe)
                    self._raise_if_died(pipe)
                    continue
                yield _checked(message)

    def _raise_if_died(self, pipe: Connection) -> None:
        """Wait for a process that closed its pipe, and raise PeerLost if it died."""
        child = self.workers[pipe]
        child.join()
        if child.exitcode:
            raise died(child, f"{child.name} (pid {child.pid}) died")

    def __exit__(self, *exc: object) -> None:
        for pipe, child in self.workers.items():
            pipe.close()
            child.kill()
            child.join()


def _checked(message: Any) -> WorkerReport:
    """Return a report; raise the exception that a process sent instead."""
    if isinstance(message, P2PError):
        raise message
    if isinstance(message, str):
        raise RuntimeError(f"an evaluation process failed:\n{message}")
    assert isinstance(message, WorkerReport)
    return message


def worker_main(
    pipe: Connection, sources: Sequence[registry.Source], serve: Callable[..., None], *common: Any
) -> None:
    """Run `serve` in a process; send the parent what it raises."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent handles them
    launch.die_with_parent()
    try:
        registry.add_sources(sources)
        serve(pipe, *common)
    except Exception as error:
        told = limits.explained(error) or error
        with suppress(OSError):  # the parent has closed the pipe, which may be the error itself
            pipe.send(told if isinstance(told, P2PError) else traceback.format_exc())
