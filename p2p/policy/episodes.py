"""Episodes for a score: full length, undiscounted, each on a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from p2p.envs.domain import Domain
from p2p.envs.vector import Episode, RandomisedEnvs
from p2p.policy.policy import Policy


class Score(NamedTuple):
    """Statistics over episodes; a score is not a mean over time steps."""

    mean: float  # undiscounted return
    std: float  # over episodes, population
    length: float  # mean, steps
    episodes: int


class Job(NamedTuple):
    """An episode to run: what it depends on, all of it."""

    policy: Policy
    domain: Domain
    rng: np.random.Generator  # reset noise; action noise comes from a stream spawned from it


class Stepped(NamedTuple):
    """What a step of the envs did: how many of them ran, and the jobs that ended with it."""

    running: int
    ended: list[tuple[Job, Episode]]


def run_jobs(
    task: str,
    num_envs: int,
    take: Callable[[], Job | None],
    *,
    deterministic: bool = True,
    initial_position: str = "joints",
) -> Iterator[Stepped]:
    """Run what `take` hands out, `num_envs` episodes at a time, until it hands out None.

    What an episode does has the same bits whatever runs beside it, and whenever. An env with
    nothing left to do costs no physics.

    Args:
        take: called for the next job as soon as an env is free.
        deterministic: take the policy's mean action; else sample.

    Yields:
        After each step; mostly nothing ended with it.
    """
    jobs = [job for _ in range(num_envs) if (job := take()) is not None]
    if jobs:
        envs = RandomisedEnvs(task, len(jobs), initial_position=initial_position)
        yield from _Stage(envs, jobs, take, deterministic).play()


class _Stage:
    """Envs, and the job that each of them is at."""

    def __init__(
        self,
        envs: RandomisedEnvs,
        jobs: Sequence[Job],
        take: Callable[[], Job | None],
        deterministic: bool,
    ) -> None:
        self.envs, self.take = envs, take
        self.jobs: list[Job | None] = list(jobs)
        self.ended: list[Job] = []
        self.action = np.zeros((envs.num_envs, envs.action_dim), np.float32)
        shape = (envs.num_envs, envs.max_episode_steps, envs.action_dim)
        self.noise = None if deterministic else np.zeros(shape, np.float32)
        for env, job in enumerate(jobs):
            self._draw_noise(env, job)
        envs.set_domains([job.domain for job in jobs])
        envs.reset([job.rng for job in jobs])
        envs.next_domain = self._relieve

    def play(self) -> Iterator[Stepped]:
        """Step until nothing is left to do."""
        envs, running = self.envs, len(self.jobs)
        crews = self._crews()
        while running:
            for policy, rows in crews:
                noise = self.noise
                if noise is not None:
                    noise = noise[rows, envs.elapsed[rows]]
                self.action[rows] = policy.act(envs.obs[rows], noise is None, noise=noise)
            envs.step(self.action)
            yield Stepped(running, ended := list(zip(self.ended, envs.finished, strict=True)))
            if ended:
                envs.finished.clear()
                self.ended.clear()
                crews = self._crews()
                running = sum(job is not None for job in self.jobs)

    def _relieve(self, env: int) -> Domain | None:
        """Let `env` go on with another job; called by the envs when an episode ends."""
        before, job = self.jobs[env], self.take()
        assert before is not None  # a retired env ends no episode
        self.ended.append(before)
        self.jobs[env] = job
        if job is None:
            return None
        self.envs.streams[env] = job.rng
        self._draw_noise(env, job)
        return job.domain

    def _draw_noise(self, env: int, job: Job) -> None:
        if self.noise is not None:
            (stream,) = job.rng.spawn(1)
            stream.standard_normal(dtype=np.float32, out=self.noise[env])

    def _crews(self) -> list[tuple[Policy, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
        """Return each policy that acts now, with the envs that it acts in."""
        crews: dict[int, tuple[Policy, list[int]]] = {}
        for env, job in enumerate(self.jobs):
            if job is not None:
                crews.setdefault(id(job.policy), (job.policy, []))[1].append(env)
        return [(policy, np.array(envs)) for policy, envs in crews.values()]


def run_episodes(
    policy: Policy,
    domains: Sequence[Domain],
    rng: np.random.Generator,
    *,
    deterministic: bool = True,
    initial_position: str = "joints",
    after_step: Callable[[], None] = lambda: None,
) -> list[Episode]:
    """Run one episode in each domain, all at once, and return them in that order.

    Args:
        policy: acts in its own task.
        domains: one an episode.
        rng: a stream for each episode is spawned from it.
        after_step: called after each step of all of them.
    """
    streams = rng.spawn(len(domains))
    jobs = [Job(policy, domain, r) for domain, r in zip(domains, streams, strict=True)]
    rest = iter(jobs)
    episodes: dict[int, Episode] = {}
    for _, ended in run_jobs(
        policy.task, len(jobs), lambda: next(rest, None),
        deterministic=deterministic, initial_position=initial_position,
    ):  # fmt: skip
        episodes.update({id(job): episode for job, episode in ended})
        after_step()
    return [episodes[id(job)] for job in jobs]


def summarise(episodes: Sequence[Episode]) -> Score:
    """Return the statistics of `episodes`."""
    returns = np.array([e.episode_return for e in episodes])
    length = float(np.mean([e.length for e in episodes]))
    return Score(float(returns.mean()), float(returns.std()), length, len(episodes))
