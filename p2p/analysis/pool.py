"""Work on all cores: processes that ask for a ticket whenever they have room for one.

A ticket is an episode, or whatever else a `serve` works through. What comes of it depends on
the ticket alone, so neither the number of processes nor their speed changes a bit. Importing
this brings no torch: a fork server that preloads it stands in half a second.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np

from p2p.cohort import launch
from p2p.core import registry
from p2p.core.errors import P2PError, PeerLost
from p2p.core.rng import Purpose, keyed_generator
from p2p.envs.domain import Domain
from p2p.envs.task import find_task
from p2p.envs.vector import Episode
from p2p.policy.episodes import Job, run_jobs
from p2p.policy.policy import Policy

MAX_ENVS = 24  # a process; more make a step no cheaper, and the last ones idle longer
BEAT = 0.25  # s, between a process's reports of how far it is
POLL = 0.5  # s, between looks at a wish to stop


class Ticket(NamedTuple):
    """An episode to run, as it travels."""

    number: int
    policy: int  # index into `Work.policies`
    domain: Domain
    start: int  # which start noise
    episode: int


class Work(NamedTuple):
    """What all tickets have in common."""

    task: str
    policies: Sequence[Policy]
    seed: int
    deterministic: bool
    initial_position: str


class WorkerReport(NamedTuple):
    """What a process did since its last report; it waits for as many tickets as it `wants`."""

    steps: int
    ended: list[tuple[int, Any]]  # what came of it, an Episode or the like, by the ticket's number
    wants: int


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def envs_each(task: str, num_tickets: int, num_workers: int) -> int:
    """Return how many envs a process steps together.

    Where episodes can end early, at most half of its share of the tickets, so that whoever is
    through first takes from the rest. And equal rounds: with 24 envs each, 60 tickets of equal
    length on one core would end in a round of 12.
    """
    least = 2 if find_task(task).healthy_range else 1
    rounds = max(least, -(-num_tickets // (num_workers * MAX_ENVS)))
    return max(1, -(-num_tickets // (num_workers * rounds)))


class Pool:
    """Processes that work through tickets; on leaving the block none of them is left.

    Args:
        serve: what each process runs, `serve(pipe, *common)`: it sends a `WorkerReport` that wants
            tickets, receives a list of as many, and so on until one is shorter: no more are left.
        tickets: each with whatever number `serve` reports it by.
        common: what all tickets have in common.
        preload: modules that the fork server imports, if it is not running yet.
    """

    def __init__(
        self, serve: Callable[..., None], tickets: Sequence[Any], num_workers: int, *common: Any,
        preload: Sequence[str] = (__name__,),
    ) -> None:  # fmt: skip
        self.serve, self.tickets, self.common = serve, tickets, common
        self.num_workers = min(num_workers, len(tickets))
        self.preload = preload
        self.workers: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Pool:
        context = launch.start_server(*self.preload)
        with launch.without_main():
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
        """Yield what the processes report, and an empty report at least every `POLL` seconds.

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
                    self._see_off(pipe)
                    continue
                yield _checked(message)

    def _see_off(self, pipe: Connection) -> None:
        """Raise PeerLost unless the process at the other end had nothing left to do."""
        child = self.workers[pipe]
        child.join()
        code = child.exitcode or 0
        if code:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise PeerLost(f"{child.name} (pid {child.pid}) died: {how}")

    def __exit__(self, *exc: object) -> None:
        for pipe, child in self.workers.items():
            pipe.close()
            child.kill()
            child.join()


def _checked(message: Any) -> WorkerReport:
    """Return a report, or raise what a process raised."""
    if isinstance(message, P2PError):
        raise message
    if isinstance(message, str):
        raise RuntimeError(f"an evaluation process failed:\n{message}")
    assert isinstance(message, WorkerReport)
    return message


def worker_main(
    pipe: Connection, sources: Sequence[registry.Source], serve: Callable[..., None], *common: Any
) -> None:
    """Serve tickets until there are none; send what comes of them, or what was raised."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    launch.die_with_parent()
    try:
        registry.add_sources(sources)
        serve(pipe, *common)
    except P2PError as error:
        pipe.send(error)
    except (EOFError, BrokenPipeError):  # nobody listens any more
        return
    except Exception:
        pipe.send(traceback.format_exc())


def episode_stream(seed: int, start: int, episode: int) -> np.random.Generator:
    """Return the random stream of an episode: of its start noise, and of sampled actions.

    Not keyed by the policy: all are met by the same starts, which tells them apart sooner.

    Args:
        start: which start noise, as `DomainSet.starts` has it.
    """
    return keyed_generator(seed, Purpose.EVALUATE, start, episode)


def episode_pool(work: Work, tickets: Sequence[Ticket], num_workers: int) -> Pool:
    """Return a pool that runs episodes, several at a time in each process."""
    num_workers = min(num_workers, len(tickets))
    size = envs_each(work.task, len(tickets), num_workers)
    return Pool(run_episodes, tickets, num_workers, work, size)


def run_episodes(pipe: Connection, work: Work, num_envs: int) -> None:
    """Run the episodes of tickets, `num_envs` of them at once."""
    _Worker(pipe, work).run(num_envs)


class _Worker:
    """One process's end of the pipe.

    It asks for all its envs at once, then for one ticket whenever an episode ends, and tells of
    ended ones with that: the process that answers takes its time from these.
    """

    def __init__(self, pipe: Connection, work: Work) -> None:
        self.pipe, self.work = pipe, work
        self.numbers: dict[int, int] = {}  # of the jobs it is at, by their identity
        self.taken: list[Ticket] = []  # and not begun
        self.all_given = False
        self.ended: list[tuple[int, Episode]] = []
        self.steps = 0
        self.last = time.monotonic()

    def run(self, num_envs: int) -> None:
        work = self.work
        self._ask(num_envs)
        for running, ended in run_jobs(
            work.task, num_envs, self._take,
            deterministic=work.deterministic, initial_position=work.initial_position,
        ):  # fmt: skip
            self.steps += running
            self.ended += [(self.numbers.pop(id(job)), episode) for job, episode in ended]
            if time.monotonic() - self.last > BEAT:
                self._report()
        self._report()

    def _report(self, wants: int = 0) -> None:
        self.pipe.send(WorkerReport(self.steps, self.ended, wants))
        self.steps, self.ended, self.last = 0, [], time.monotonic()

    def _ask(self, wants: int) -> None:
        self._report(wants)
        self.taken = self.pipe.recv()[::-1]
        self.all_given = len(self.taken) < wants

    def _take(self) -> Job | None:
        if not self.taken and not self.all_given:
            self._ask(1)
        if not self.taken:
            return None
        ticket = self.taken.pop()
        rng = episode_stream(self.work.seed, ticket.start, ticket.episode)
        job = Job(self.work.policies[ticket.policy], ticket.domain, rng)
        self.numbers[id(job)] = ticket.number
        return job
