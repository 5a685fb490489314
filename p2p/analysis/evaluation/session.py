"""Test policies in domains: `evaluate`, the library's side of `p2p eval`.

Every method and run of a task meets the same test domains with the same start noise. An
episode's result is a function of policy, domain, start noise and seed, so it is kept beside
the run and not run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from p2p.analysis.conditions import condition
from p2p.analysis.evaluation.config import EvalConfig, build_eval_config
from p2p.analysis.evaluation.domain_sets import DomainSet, draw_set, single_set, sweep_set
from p2p.analysis.evaluation.file import EvalFile, KeptSet, Key, Outcome
from p2p.analysis.evaluation.results import EvaluatedRun, Evaluation, Measured
from p2p.analysis.evaluation.subjects import Given, Subject, digest, load_subjects
from p2p.analysis.evaluation.worker import Ticket, Work, episode_pool
from p2p.analysis.pool import Pool
from p2p.analysis.session import Progress, Session, Target, check_workers
from p2p.cohort import launch
from p2p.core import registry
from p2p.core.errors import NoRoom, UsageError
from p2p.envs.binding import Binding
from p2p.envs.build import bind, check_model
from p2p.envs.domain import Domain
from p2p.envs.domain_file import from_tables, to_tables
from p2p.envs.randomisation import Randomisation, is_table_1
from p2p.envs.task import find_task
from p2p.envs.vector import Episode
from p2p.policy.acting import ActingPolicy
from p2p.runs.files import advising


def evaluate(
    runs: Given | Sequence[Given],
    eps_te: float | Sequence[float] = 0.5,
    *,
    policies: Literal["last", "best"] = "last",
    save: bool = True,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Evaluation:
    """Test trained policies in randomised domains, on all cores.

    Args:
        runs: run folders, policy files, exported bundles or policies, one or several.
        eps_te: randomisation strength of the test domains, one or several.
        policies: of run folders the last ones, or those that did best in held-out domains while
            they trained (`TrainConfig.test_every`); these domains are none of the test domains.
        save: keep the episodes in `eval.h5` beside each run, and use what is there.
        workers: number of processes; default one a core.
        report: called with a `Progress` now and then.
        settings: the other fields of `EvalConfig`; `domain` may be a `Domain`.

    Raises:
        UsageError: a setting is wrong, or a domain does not fit the robot.
        BadArtefact: there is no run or policy there, or it is damaged.
        NoRoom: the results cannot be written.
        Interrupted: a signal; what was found is kept.
        PeerLost: an evaluation process died.
    """
    if isinstance(settings.get("domain"), Domain):
        settings["domain"] = str(settings["domain"])
    config = build_eval_config(eps_te=np.atleast_1d(eps_te).tolist(), **settings)
    workers = check_workers(workers)
    given = [runs] if isinstance(runs, Given) else runs
    subjects = load_subjects(given, best=policies == "best")
    launch.start_server("p2p.analysis.evaluation.worker")  # while we read
    targets = [EvaluationTarget(subject, config, save) for subject in subjects]
    session = EvaluationSession(config, targets, workers, report)
    session.run()
    evaluated = tuple(target.result(session.rows) for target in targets)
    return Evaluation(
        config, evaluated, session.done, session.steps, session.seconds, session.reused
    )


Envs = tuple[str, Randomisation]  # task, and what varies in it


class Job(NamedTuple):
    """An episode to run."""

    key: Key
    policy: ActingPolicy
    domain: Domain


class EvaluationTarget(Target[Key, Outcome]):
    """One subject, its sets of domains, and the keys of all its episodes."""

    advice = "--no-save (save=False) evaluates without keeping"
    file: EvalFile | None

    def __init__(self, subject: Subject, config: EvalConfig, save: bool) -> None:
        self.subject, self.config = subject, config
        varied = subject.randomisation
        if config.randomise is not None:
            varied = from_tables(config.randomise, "randomise")
        self.randomisation = varied
        recorded = subject.settings.get("source_sha256")
        check_model(subject.task, recorded if isinstance(recorded, Mapping) else {})
        self.sets = _build_sets(config, bind(subject.task, varied))
        self.condition = _condition(config, varied)
        self.digests = [digest(policy) for policy in subject.policies]
        self.file = EvalFile(subject.folder, varied) if save and subject.folder else None
        if self.file is not None:
            self.file.load()

    @property
    def envs(self) -> Envs:
        """Task and randomisation of the envs that it needs."""
        return self.subject.task, self.randomisation

    def jobs(self) -> Iterator[Job]:
        """Yield every episode that it needs, policy by policy; some may come twice."""
        for acts, policy in zip(self.digests, self.subject.policies, strict=True):
            for one in self.sets:
                for domain, key in self._episodes(acts, one):
                    yield Job(key, policy, domain)

    def keys(self) -> Iterator[Key]:
        """Yield the key of every episode that it needs."""
        return (job.key for job in self.jobs())

    def _episodes(self, acts: str, one: DomainSet) -> Iterator[tuple[Domain, Key]]:
        for domain, start in zip(one.domains, one.starts, strict=True):
            text = str(domain)
            for episode in range(self.config.episodes):
                yield domain, Key(acts, self.condition, text, start, episode)

    def keep(self, rows: Mapping[Key, Outcome]) -> None:
        """Write the episodes that it needs to its file, and its sets of domains."""
        if self.file is None:
            return
        own = self.own(rows)
        sets = {one.hash: _kept(one, self.config) for one in self.sets}
        if sets.keys() <= self.file.sets.keys() and own.keys() <= self.file.rows.keys():
            return
        complete = all(key in self.file.rows for key in self.keys())
        try:
            with advising(self.advice):
                self.file.keep(own, sets)
        except NoRoom:
            if not complete:  # else all that is lost is which of its episodes make up a set
                raise

    def result(self, rows: Mapping[Key, Outcome]) -> EvaluatedRun:
        """Return the table of everything found."""
        one = self.subject
        measured = tuple(self._measured(domains, rows) for domains in self.sets)
        return EvaluatedRun(
            one.path, one.task, one.method, one.seed, one.peers, one.settings, measured
        )

    def _measured(self, one: DomainSet, rows: Mapping[Key, Outcome]) -> Measured:
        cells = [rows[key] for acts in self.digests for _, key in self._episodes(acts, one)]
        shape = (len(self.digests), len(one.domains), self.config.episodes)
        columns = zip(zip(*cells, strict=True), (float, int, bool, bool), strict=True)
        arrays: list[Any] = [np.array(column, kind).reshape(shape) for column, kind in columns]
        return Measured(one, *arrays)


def _build_sets(config: EvalConfig, binding: Binding) -> list[DomainSet]:
    """Return the sets of domains that `config` asks for."""
    eps, randomisation = config.eps_te[0], binding.randomisation
    if config.domain is not None:
        return [single_set(binding.check(Domain.parse(config.domain)))]
    if config.grid is not None:
        return [sweep_set(randomisation, config.grid, eps, config.points)]
    if config.by_factor and not randomisation.factors:
        raise UsageError("nothing varies here: name a domains file with --randomise")
    if config.by_factor:
        return [sweep_set(randomisation, [f.name], eps, config.points) for f in randomisation]
    return [
        draw_set(binding, eps, config.domains, config.domain_seed)
        for eps in dict.fromkeys(config.eps_te)
    ]


def _kept(one: DomainSet, config: EvalConfig) -> KeptSet:
    eps = math.nan if one.eps is None else one.eps
    attributes = {"name": one.name, "eps_te": eps, "domain_seed": config.domain_seed}
    return KeptSet(tuple(map(str, one.domains)), attributes)


def _condition(config: EvalConfig, randomisation: Randomisation) -> str:
    """Return all that an episode depends on besides policy, domain and start noise."""
    own: dict[str, Any] = {"initial_position": "joints"}
    if any(factor.vary == "start_pose" for factor in randomisation):
        own = {"initial_position": "root_x"}
    if not is_table_1(randomisation):
        own = {"randomise": to_tables(randomisation)}
        terms = {f.vary: registry.sha256("term", f.vary) for f in randomisation}
        if any(terms.values()):
            own["terms"] = terms
    return condition(seed=config.domain_seed, sampled=config.sampled, **own)


class EvaluationSession(Session[Key, Outcome, Job]):
    """One call of `evaluate`; a job is an episode."""

    work = "episodes were run"
    targets: Sequence[EvaluationTarget]

    def __init__(
        self,
        config: EvalConfig,
        targets: Sequence[EvaluationTarget],
        workers: int,
        report: Callable[[Progress], None] | None,
    ) -> None:
        super().__init__(targets, workers, report)
        self.config = config
        self.envs: dict[Key, Envs] = {}  # of each episode to run
        self.length = 0  # of the episodes that ended

    def missing(self) -> list[list[Job]]:
        """Return the episodes to run, each once; those in like envs share a pool."""
        batches: dict[Envs, dict[Key, Job]] = {}
        wanted = set()
        for target in self.targets:
            for job in target.jobs():
                wanted.add(job.key)
                if job.key not in self.rows:
                    batches.setdefault(target.envs, {})[job.key] = job
        self.envs = {key: envs for envs, jobs in batches.items() for key in jobs}
        self.reused = len(wanted) - len(self.envs)
        return [list(jobs.values()) for jobs in batches.values()]

    def pool(self, jobs: Sequence[Job]) -> Pool:
        """Return a pool that runs episodes in envs of one kind."""
        task, randomisation = self.envs[jobs[0].key]
        policies = {id(job.policy): job.policy for job in jobs}
        index = {name: n for n, name in enumerate(policies)}
        tickets = [
            Ticket(n, index[id(policy)], domain, key.start, key.episode)
            for n, (key, policy, domain) in enumerate(jobs)
        ]
        seed, mean = self.config.domain_seed, not self.config.sampled
        work = Work(task, list(policies.values()), seed, mean, randomisation)
        return episode_pool(work, tickets, self.workers)

    def take(self, job: Job, found: Episode) -> None:
        """Add an episode."""
        _, episode_return, length, terminated, unstable = found
        self.rows[job.key] = Outcome(episode_return, length, terminated, unstable)
        self.length += length

    @property
    def share(self) -> float:
        """Share of the work, 0..1, counting an episode by its longest possible length."""
        longest = max(find_task(target.subject.task).max_episode_steps for target in self.targets)
        done = self.done * longest + self.steps - self.length
        return done / (self.total * longest)
