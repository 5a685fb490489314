"""Run the episodes of an evaluation: what travels to a process, and what the process does.

Importing this brings no torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from p2p.analysis.pool import Pool, WorkerReport
from p2p.core.rng import Purpose, keyed_generator
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Randomisation
from p2p.envs.task import find_task
from p2p.envs.vector import Episode
from p2p.policy.acting import ActingPolicy
from p2p.policy.episodes import Job, run_jobs

MAX_ENVS = 24  # a process; more make a step no cheaper, and the last ones idle longer
REPORT_EVERY = 0.25  # s


class Ticket(NamedTuple):
    """An episode to run, as it travels to a process."""

    number: int
    policy: int  # index into `Work.policies`
    domain: Domain
    start: int  # which start noise
    episode: int


class Work(NamedTuple):
    """What all tickets have in common."""

    task: str
    policies: Sequence[ActingPolicy]
    seed: int
    deterministic: bool
    randomisation: Randomisation


def envs_each(task: str, num_tickets: int, num_workers: int) -> int:
    """Return how many envs a process steps together.

    Where episodes can end early it is at most half of the process's share of the tickets, so that
    the first process to finish takes some of the rest. Rounds are equal: with 24 envs, 60 tickets
    of equal length on one core would end in a round of 12.
    """
    least = 2 if find_task(task).ends_early() else 1
    rounds = max(least, -(-num_tickets // (num_workers * MAX_ENVS)))
    return max(1, -(-num_tickets // (num_workers * rounds)))


def episode_stream(seed: int, start: int, episode: int) -> np.random.Generator:
    """Return the random stream of an episode: its start noise and sampled actions.

    The policy is no part of the key: all policies meet the same starts, so fewer episodes tell
    them apart.

    Args:
        start: which start noise, as `DomainSet.starts` has it.
    """
    return keyed_generator(seed, Purpose.EVALUATE, start, episode)


def episode_pool(work: Work, tickets: Sequence[Ticket], num_workers: int) -> Pool:
    """Return a pool that runs episodes, several at a time in each process."""
    num_workers = min(num_workers, len(tickets))
    size = envs_each(work.task, len(tickets), num_workers)
    return Pool(serve, tickets, num_workers, work, size, preload=[__name__])


def serve(pipe: Connection, work: Work, num_envs: int) -> None:
    """Run the episodes that tickets name, `num_envs` of them at once."""
    _Worker(pipe, work).run(num_envs)


class _Worker:
    """One process's end of the pipe.

    It asks for a ticket for each env at first, then for one whenever an episode ends. It reports
    ended episodes with that request: each message takes time from the episodes.
    """

    def __init__(self, pipe: Connection, work: Work) -> None:
        self.pipe, self.work = pipe, work
        self.numbers: dict[int, int] = {}  # tickets' numbers by the identity of their jobs
        self.waiting: list[Ticket] = []  # received, not begun
        self.all_given = False
        self.ended: list[tuple[int, Episode]] = []
        self.steps = 0
        self.last = time.monotonic()

    def run(self, num_envs: int) -> None:
        work = self.work
        self._request(num_envs)
        for running, ended in run_jobs(
            work.task, num_envs, self._next_job,
            deterministic=work.deterministic, randomisation=work.randomisation,
        ):  # fmt: skip
            self.steps += running
            self.ended += [(self.numbers.pop(id(job)), episode) for job, episode in ended]
            if time.monotonic() - self.last > REPORT_EVERY:
                self._report()
        self._report()

    def _report(self, wants: int = 0) -> None:
        self.pipe.send(WorkerReport(self.steps, self.ended, wants))
        self.steps, self.ended, self.last = 0, [], time.monotonic()

    def _request(self, wants: int) -> None:
        self._report(wants)
        self.waiting = self.pipe.recv()[::-1]
        self.all_given = len(self.waiting) < wants

    def _next_job(self) -> Job | None:
        if not self.waiting and not self.all_given:
            self._request(1)
        if not self.waiting:
            return None
        ticket = self.waiting.pop()
        rng = episode_stream(self.work.seed, ticket.start, ticket.episode)
        job = Job(self.work.policies[ticket.policy], ticket.domain, rng)
        self.numbers[id(job)] = ticket.number
        return job
