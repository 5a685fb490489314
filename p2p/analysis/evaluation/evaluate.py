"""Test policies in domains: `evaluate`, the library's side of `p2p eval`.

Every method and run of a task meets the same test domains with the same start noise. What an
episode yields is a function of policy, domain, start and seed, so it is kept beside the run
and never run twice.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from p2p.analysis.config import EvalConfig, build_eval_config, simulated_by
from p2p.analysis.evaluation.domain_sets import DomainSet, draw_set, single_set, sweep_set
from p2p.analysis.evaluation.file import EvalFile, KeptSet, Key, Outcome
from p2p.analysis.evaluation.performance import (
    EvaluatedRun,
    Measured,
    MethodScore,
    Performance,
    score_methods,
)
from p2p.analysis.evaluation.subjects import Given, Subject, digest, load_subjects
from p2p.analysis.pool import Report, Ticket, Work, episode_pool, num_cores
from p2p.cohort import launch
from p2p.core.errors import Interrupted, NoRoom, PeerLost, UsageError
from p2p.core.returns import MAX_EPISODE_STEPS
from p2p.core.signals import StopSignals
from p2p.envs.domain import FACTORS, Domain
from p2p.envs.robot import Robot
from p2p.envs.task import find_task
from p2p.policy.policy import Policy
from p2p.runs.files import advising

SAVE_EVERY = 10.0  # s


class Progress(NamedTuple):
    """How far an evaluation is."""

    episodes: int  # ended in this call
    total: int  # to run in this call; what was kept from before is not among them
    steps: int
    share: float  # 0..1, counting episodes by their longest possible length
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        config: in what was tested.
        runs: in the order given.
        episodes, steps, seconds: what it took now.
        reused: episodes that had been run before.
    """

    config: EvalConfig
    runs: tuple[EvaluatedRun, ...]
    episodes: int
    steps: int
    seconds: float
    reused: int

    @property
    def score(self) -> Performance:
        """Return how the first run does in the first set of domains, over its peers."""
        return self.runs[0].measured[0].score

    @property
    def methods(self) -> list[MethodScore]:
        """Return each method's score over its seeds."""
        return score_methods(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        cost = {name: getattr(self, name) for name in ("episodes", "steps", "seconds", "reused")}
        return {
            "config": self.config.model_dump(mode="json"),
            "runs": [run.to_dict() for run in self.runs],
            "methods": [score._asdict() for score in self.methods],
            **cost,
        }


def evaluate(
    runs: Given | Sequence[Given],
    eps_te: float | Sequence[float] = 0.5,
    *,
    save: bool = True,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Evaluation:
    """Test trained policies in randomised domains, on all cores.

    Args:
        runs: run folders, policy files or policies, one or several.
        eps_te: randomisation strength of the test domains, one or several.
        save: keep the episodes in `eval.h5` beside each run, and use what is there.
        workers: number of processes; default one a core.
        report: told how far it is.
        settings: the other fields of `EvalConfig`; `domain` may be a `Domain`.

    Raises:
        UsageError: a setting is wrong, or a domain does not fit the robot.
        BadArtefact: there is no run or policy there, or it is damaged.
        NoRoom: the results cannot be written.
        Interrupted: SIGINT, SIGTERM or SIGHUP; what was found is kept.
        PeerLost: an evaluation process died.
    """
    if isinstance(settings.get("domain"), Domain):
        settings["domain"] = str(settings["domain"])
    config = build_eval_config(eps_te=np.atleast_1d(eps_te).tolist(), **settings)
    if workers is not None and workers < 1:
        raise UsageError(f"{workers=} must be at least 1")
    launch.start_server("p2p.analysis.pool")  # while we read
    given = [runs] if isinstance(runs, Given) else runs
    trials = [_Trial(subject, config, save) for subject in load_subjects(given)]
    return _Session(config, trials, workers or num_cores(), report).run()


class _Trial:
    """One subject, its sets of domains, and the keys of all its episodes."""

    def __init__(self, subject: Subject, config: EvalConfig, save: bool) -> None:
        self.subject, self.config = subject, config
        position = subject.initial_position
        robot = Robot(find_task(subject.task), position)
        links = robot.num_links if subject.mass_randomisation == "per_link" else 1
        self.sets = _build_sets(config, links, robot.num_joints)
        for domain in {d for one in self.sets for d in one.domains}:
            robot.check(domain)
        self.condition = _condition(config, position)
        self.digests = [digest(policy) for policy in subject.policies]
        self.file = EvalFile(subject.folder) if save and subject.folder else None
        if self.file is not None:
            self.file.load()

    @property
    def kind(self) -> tuple[str, str]:
        """What envs it needs."""
        return self.subject.task, self.subject.initial_position

    def needs(self) -> Iterator[tuple[Key, Policy, Domain]]:
        """Yield every episode that it needs, policy by policy; some may come twice."""
        for acts, policy in zip(self.digests, self.subject.policies, strict=True):
            for one in self.sets:
                for domain, key in self._episodes(acts, one):
                    yield key, policy, domain

    def _episodes(self, acts: str, one: DomainSet) -> Iterator[tuple[Domain, Key]]:
        for domain, start in zip(one.domains, one.starts, strict=True):
            text = str(domain)
            for episode in range(self.config.episodes):
                yield domain, Key(acts, self.condition, text, start, episode)

    def keep(self, rows: Mapping[Key, Outcome]) -> None:
        """Write those of `rows` that are its own to its file, and its sets."""
        if self.file is None:
            return
        own = {key: rows[key] for key, _, _ in self.needs() if key in rows}
        sets = {one.hash: _kept(one, self.config) for one in self.sets}
        if sets.keys() <= self.file.sets.keys() and own.keys() <= self.file.rows.keys():
            return
        complete = all(key in self.file.rows for key, _, _ in self.needs())
        try:
            with advising("--no-save (save=False) evaluates without keeping"):
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


def _build_sets(config: EvalConfig, num_links: int, num_joints: int) -> list[DomainSet]:
    """Return the sets of domains that `config` asks for."""
    eps = config.eps_te[0]
    if config.domain is not None:
        return [single_set(Domain.parse(config.domain))]
    if config.grid is not None:
        return [sweep_set(config.grid, eps, config.points)]
    if config.by_factor:
        return [sweep_set([factor], eps, config.points) for factor in FACTORS]
    return [
        draw_set(eps, config.domains, config.domain_seed, num_links, num_joints)
        for eps in dict.fromkeys(config.eps_te)
    ]


def _kept(one: DomainSet, config: EvalConfig) -> KeptSet:
    eps = math.nan if one.eps is None else one.eps
    attributes = {"name": one.name, "eps_te": eps, "domain_seed": config.domain_seed}
    return KeptSet(tuple(map(str, one.domains)), attributes)


def _condition(config: EvalConfig, initial_position: str) -> str:
    """Return all that an episode depends on besides policy, domain and start noise."""
    known = {"seed": config.domain_seed, "sampled": config.sampled, **simulated_by()}
    return json.dumps({**known, "initial_position": initial_position}, sort_keys=True)


@dataclass
class _Session:
    """One call of `evaluate`: what is known, what is still to run, and what it takes."""

    config: EvalConfig
    trials: Sequence[_Trial]
    workers: int
    report: Callable[[Progress], None] | None
    rows: dict[Key, Outcome] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)
    ended: int = 0
    total: int = 0
    steps: int = 0
    length: int = 0  # of the episodes that ended

    def run(self) -> Evaluation:
        for trial in self.trials:
            if trial.file is not None:
                self.rows |= trial.file.rows
        needed: dict[tuple[str, str], dict[Key, tuple[Policy, Domain]]] = {}
        wanted = set()
        for trial in self.trials:
            for key, policy, domain in trial.needs():
                wanted.add(key)
                if key not in self.rows:
                    needed.setdefault(trial.kind, {})[key] = policy, domain
        self.total = sum(map(len, needed.values()))
        self._save()  # first, so that it fails before the work if it fails
        for (task, position), jobs in needed.items():
            self._work(task, position, jobs)
        runs = tuple(trial.result(self.rows) for trial in self.trials)
        seconds = time.perf_counter() - self.begun
        return Evaluation(
            self.config, runs, self.ended, self.steps, seconds, len(wanted) - self.total
        )

    def _work(self, task: str, position: str, jobs: Mapping[Key, tuple[Policy, Domain]]) -> None:
        """Run `jobs` on all cores, and save now and then."""
        keys = list(jobs)
        policies = {id(policy): policy for policy, _ in jobs.values()}
        index = {name: n for n, name in enumerate(policies)}
        tickets = [
            Ticket(n, index[id(jobs[key][0])], jobs[key][1], key.start, key.episode)
            for n, key in enumerate(keys)
        ]
        seed, mean = self.config.domain_seed, not self.config.sampled
        work = Work(task, list(policies.values()), seed, mean, position)
        saved = time.perf_counter()
        try:
            with StopSignals() as signals, episode_pool(work, tickets, self.workers) as pool:
                for told in pool.reports():
                    self._take_in(told, keys)
                    if signals.received is not None:
                        raise Interrupted(self._so_far(), signals.received)
                    if time.perf_counter() - saved > SAVE_EVERY:
                        self._save()
                        saved = time.perf_counter()
        except PeerLost as lost:
            raise PeerLost(f"{lost}; {self._so_far()}") from None
        finally:
            self._save()

    def _take_in(self, told: Report, keys: Sequence[Key]) -> None:
        """Note what ended, and tell how far it is."""
        for number, episode in told.ended:
            _, episode_return, length, terminated, unstable = episode
            self.rows[keys[number]] = Outcome(episode_return, length, terminated, unstable)
            self.length += length
        self.steps += told.steps
        self.ended += len(told.ended)
        if self.report is not None:
            done = self.ended * MAX_EPISODE_STEPS + self.steps - self.length
            share = done / (self.total * MAX_EPISODE_STEPS)
            seconds = time.perf_counter() - self.begun
            self.report(Progress(self.ended, self.total, self.steps, share, seconds))

    def _save(self) -> None:
        for trial in self.trials:
            trial.keep(self.rows)

    def _so_far(self) -> str:
        kept = all(trial.file is not None for trial in self.trials)
        then = "the same command goes on from there" if kept else "nothing is kept"
        return f"{self.ended} of {self.total} episodes were run; {then}"
