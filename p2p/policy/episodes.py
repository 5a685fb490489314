"""Episodes that a policy is scored by: full length, undiscounted, one random stream each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from p2p.envs.base import Episode, VectorEnvs
from p2p.envs.build import build_envs
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Randomisation
from p2p.policy.acting import ActingPolicy


class Score(NamedTuple):
    """Statistics over episodes, not over time steps."""

    mean: float  # undiscounted return
    std: float  # over episodes, population
    length: float  # mean, steps
    episodes: int


class Job(NamedTuple):
    """An episode to run, with everything that it depends on."""

    policy: ActingPolicy
    domain: Domain
    rng: np.random.Generator  # reset noise; action noise comes from a stream spawned from it


class Stepped(NamedTuple):
    """One step of the envs: how many of them ran, and the jobs whose episodes ended in it."""

    running: int
    ended: list[tuple[Job, Episode]]


def run_jobs(
    task: str,
    num_envs: int,
    take: Callable[[], Job | None],
    *,
    deterministic: bool = True,
    randomisation: Randomisation | None = None,
) -> Iterator[Stepped]:
    """Run the jobs that `take` returns, `num_envs` episodes at a time, until it returns None.

    An episode is bit-identical whichever episodes run at the same time, and in whatever order.
    An env without a job is not simulated.

    Args:
        take: returns the next job; called as soon as an env is free.
        deterministic: act by the policy's mean; else sample.
        randomisation: what the jobs' domains are of; None: Table 1.

    Yields:
        A `Stepped` after each step; in most of them no episode ended.
    """
    jobs = [job for _ in range(num_envs) if (job := take()) is not None]
    if jobs:
        envs = build_envs(task, len(jobs), randomisation)
        yield from EpisodeRunner(envs, jobs, take, deterministic).run()


class EpisodeRunner:
    """Envs, and the job that each of them runs (None: it has finished its last one)."""

    def __init__(
        self,
        envs: VectorEnvs,
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
        envs.next_domain = self.next_job

    def run(self) -> Iterator[Stepped]:
        """Step the envs until no job is left; yield after each step."""
        envs, running = self.envs, len(self.jobs)
        groups = self.group_by_policy()
        while running:
            for policy, rows in groups:
                noise = self.noise
                if noise is not None:
                    noise = noise[rows, envs.elapsed[rows]]
                self.action[rows] = policy.act(envs.obs[rows], noise is None, noise=noise)
            envs.step(self.action)
            yield Stepped(running, ended := list(zip(self.ended, envs.finished, strict=True)))
            if ended:
                envs.finished.clear()
                self.ended.clear()
                groups = self.group_by_policy()
                running = sum(job is not None for job in self.jobs)

    def next_job(self, env: int) -> Domain | None:
        """Give `env` its next job and return its domain, or None if no job is left.

        `VectorEnvs` calls this when an episode ends.
        """
        before, job = self.jobs[env], self.take()
        assert before is not None  # an env without a job ends no episode
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

    def group_by_policy(
        self,
    ) -> list[tuple[ActingPolicy, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
        """Return each policy that has a running job, with the indices of its envs."""
        groups: dict[int, tuple[ActingPolicy, list[int]]] = {}
        for env, job in enumerate(self.jobs):
            if job is not None:
                groups.setdefault(id(job.policy), (job.policy, []))[1].append(env)
        return [(policy, np.array(envs)) for policy, envs in groups.values()]


def run_episodes(
    policy: ActingPolicy,
    domains: Sequence[Domain],
    rng: np.random.Generator,
    *,
    deterministic: bool = True,
    randomisation: Randomisation | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> list[Episode]:
    """Run one episode in each domain, all in parallel; return them in the order of `domains`.

    Args:
        policy: acts in its own task.
        domains: one per episode.
        rng: a stream for each episode is spawned from it.
        randomisation: what the domains are of; None: Table 1.
        after_step: called after each step of the envs.
    """
    streams = rng.spawn(len(domains))
    jobs = [Job(policy, domain, r) for domain, r in zip(domains, streams, strict=True)]
    rest = iter(jobs)
    episodes: dict[int, Episode] = {}
    for _, ended in run_jobs(
        policy.task, len(jobs), lambda: next(rest, None),
        deterministic=deterministic, randomisation=randomisation,
    ):  # fmt: skip
        episodes.update({id(job): episode for job, episode in ended})
        after_step()
    return [episodes[id(job)] for job in jobs]


def summarise(episodes: Sequence[Episode]) -> Score:
    """Return the statistics of `episodes`."""
    returns = np.array([e.episode_return for e in episodes])
    length = float(np.mean([e.length for e in episodes]))
    return Score(float(returns.mean()), float(returns.std()), length, len(episodes))
