"""The variance of the gradient through training (section 4.4, Fig. 8b-c): `grad_variance`.

At each milestone of a run every peer collects fresh steps as the run would have, with the
checkpoint's normaliser and reward scale, and its gradient is taken on minibatches of them;
`p2p.peer.gradient_variance` says what is made of those. The numbers are a function of
checkpoint, settings and seed, so they are kept beside the run and nothing is measured twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from p2p.analysis.config import GradVarianceConfig, build_grad_variance_config
from p2p.analysis.gradient_variance.curves import GradVariance, MeasuredRun
from p2p.analysis.gradient_variance.file import QUANTITIES, GradientFile, Key, Row
from p2p.analysis.pool import Pool, Report, num_cores
from p2p.cohort import launch
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, Interrupted, PeerLost, UsageError
from p2p.core.signals import StopSignals
from p2p.envs.vector import RandomisedEnvs
from p2p.policy.policy import actor_layout
from p2p.runs import RunFolder
from p2p.runs.checkpoint import iteration_of
from p2p.runs.files import advising

SAVE_EVERY = 10.0  # s


class Ticket(NamedTuple):
    """A checkpoint to measure at, as it travels."""

    number: int
    folder: Path
    milestone: Path


class Progress(NamedTuple):
    """How far it is."""

    done: int  # checkpoints in this call; what was kept from before is not among them
    total: int
    steps: int
    share: float  # 0..1
    seconds: float


def grad_variance(
    runs: str | Path | RunFolder | Iterable[str | Path | RunFolder],
    *,
    save: bool = True,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> GradVariance:
    """Measure the variance of the gradient at the milestones of runs, on all cores.

    Args:
        runs: run folders, one or several; also one that is still training.
        save: keep the numbers in `grad-variance.h5` beside each run, and use what is there.
        workers: number of processes; default one a core.
        report: told how far it is.
        settings: the fields of `GradVarianceConfig`.

    Raises:
        UsageError: a setting is wrong.
        BadArtefact: there is no run, it has no milestones, or one is damaged.
        NoRoom: the results cannot be written.
        Interrupted: SIGINT, SIGTERM or SIGHUP; what was found is kept.
        PeerLost: a process died.
    """
    config = build_grad_variance_config(**settings)
    if workers is not None and workers < 1:
        raise UsageError(f"{workers=} must be at least 1")
    given = [runs] if isinstance(runs, str | Path | RunFolder) else runs
    folders = [one if isinstance(one, RunFolder) else RunFolder.open(Path(one)) for one in given]
    if not folders:
        raise UsageError("nothing to measure: name a run folder")
    once = {folder.path.resolve(): folder for folder in folders}
    launch.start_server(*_preload(folders))  # while we read
    trials = [_Trial(folder, config, save) for folder in once.values()]
    return _Session(config, trials, workers or num_cores(), report, _preload(folders)).run()


def _preload(folders: Iterable[RunFolder]) -> list[str]:
    """Return what the fork server imports: what peers need of their engines, above all."""
    engines = {folder.config.engine for folder in folders}
    modules = {"fused": "p2p.peer.preload", "autograd": "p2p.engine.autograd"}
    return ["p2p.analysis.gradient_variance.worker", *(modules[name] for name in sorted(engines))]


def serve(pipe: Connection, steps: int, minibatches: int) -> None:
    """Measure at the checkpoints that tickets name."""
    from p2p.analysis.gradient_variance.worker import measure_checkpoint

    while True:
        pipe.send(Report(0, [], 1))
        tickets: list[Ticket] = pipe.recv()
        if not tickets:
            return
        (ticket,) = tickets
        found = measure_checkpoint(
            ticket.folder, ticket.milestone, steps, minibatches,
            lambda taken: pipe.send(Report(taken, [], 0)),
        )  # fmt: skip
        pipe.send(Report(0, [(ticket.number, found)], 0))


class _Trial:
    """One run, and the keys of its measurements."""

    def __init__(self, run: RunFolder, config: GradVarianceConfig, save: bool) -> None:
        self.run, self.config = run, config
        self.milestones = run.milestones()
        if not self.milestones:
            raise BadArtefact(
                f"{run.path} has no milestones to measure at: it has not begun, or kept none "
                "(--milestones 0)"
            )
        self.checkpoints = {
            hashlib.sha256(path.read_bytes()).hexdigest(): path for path in self.milestones
        }
        self.parameters = _num_parameters(run.config)
        self.condition = _condition(config, run.config)
        self.file = GradientFile(run.path, self.parameters) if save else None
        if self.file is not None:
            self.file.load()

    def keys(self, checkpoint: str) -> list[Key]:
        """Return the keys of one checkpoint, a peer each."""
        ranks = range(self.run.config.num_peers)
        return [Key(checkpoint, self.condition, rank) for rank in ranks]

    def row(self, checkpoint: str, found: Mapping[str, float]) -> Row:
        """Return what is kept of one peer at one checkpoint."""
        iteration = iteration_of(self.checkpoints[checkpoint])
        return Row(iteration, iteration * self.run.config.steps_per_iteration, **found)

    def keep(self, rows: Mapping[Key, Row]) -> None:
        """Write those of `rows` that are its own to its file."""
        own = {k: rows[k] for one in self.checkpoints for k in self.keys(one) if k in rows}
        if self.file is None or own.keys() <= self.file.rows.keys():
            return
        with advising("--no-save (save=False) measures without keeping"):
            self.file.keep(own)

    def result(self, rows: Mapping[Key, Row]) -> MeasuredRun:
        """Return the table of everything found."""
        config = self.run.config
        table = [[rows[key] for key in self.keys(one)] for one in self.checkpoints]
        values = [[[getattr(row, q) for q in QUANTITIES] for row in peers] for peers in table]
        return MeasuredRun(
            str(self.run.path), config.task, config.method, config.seed, config.identity(),
            self.parameters, tuple(peers[0].iteration for peers in table),
            tuple(peers[0].steps for peers in table), np.array(values, np.float64),
        )  # fmt: skip


def _num_parameters(config: TrainConfig) -> int:
    envs = RandomisedEnvs(config.task, 1)
    return actor_layout(envs.obs_dim, config.hidden_sizes, envs.action_dim).size


def _condition(config: GradVarianceConfig, run: TrainConfig) -> str:
    """Return all that a measurement depends on besides the checkpoint."""
    versions = {name: metadata.version(name) for name in ("p2p", "mujoco")}
    return json.dumps({**config.model_dump(), "engine": run.engine, **versions}, sort_keys=True)


@dataclass
class _Session:
    """One call of `grad_variance`: what is known, what is still to do, and what it takes."""

    config: GradVarianceConfig
    trials: Sequence[_Trial]
    workers: int
    report: Callable[[Progress], None] | None
    preload: Sequence[str]
    rows: dict[Key, Row] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)
    done: int = 0
    steps: int = 0

    def run(self) -> GradVariance:
        for trial in self.trials:
            if trial.file is not None:
                self.rows |= trial.file.rows
        jobs = [
            (trial, checkpoint)
            for trial in self.trials
            for checkpoint in trial.checkpoints
            if not all(key in self.rows for key in trial.keys(checkpoint))
        ]
        if jobs:
            self._work(jobs)
        self._save()  # also what another run's file knew
        runs = tuple(trial.result(self.rows) for trial in self.trials)
        seconds = time.perf_counter() - self.begun
        known = sum(len(trial.checkpoints) for trial in self.trials) - len(jobs)
        return GradVariance(self.config, runs, self.done, self.steps, seconds, known)

    def _work(self, jobs: Sequence[tuple[_Trial, str]]) -> None:
        """Measure on all cores, and save now and then."""
        tickets = [
            Ticket(number, trial.run.path, trial.checkpoints[checkpoint])
            for number, (trial, checkpoint) in enumerate(jobs)
        ]
        pool = Pool(
            serve, tickets, self.workers, self.config.steps, self.config.minibatches,
            preload=self.preload,
        )  # fmt: skip
        total = sum(trial.run.config.num_peers for trial, _ in jobs) * self.config.steps
        saved = time.perf_counter()
        try:
            with StopSignals() as signals, pool:
                for told in pool.reports():
                    self._take_in(told, jobs, total)
                    if signals.received is not None:
                        raise Interrupted(self._so_far(len(jobs)), signals.received)
                    if time.perf_counter() - saved > SAVE_EVERY:
                        self._save()
                        saved = time.perf_counter()
        except PeerLost as lost:
            raise PeerLost(f"{lost}; {self._so_far(len(jobs))}") from None
        finally:
            self._save()

    def _take_in(self, told: Report, jobs: Sequence[tuple[_Trial, str]], total: int) -> None:
        for number, found in told.ended:
            trial, checkpoint = jobs[number]
            for key, peer in zip(trial.keys(checkpoint), found, strict=True):
                self.rows[key] = trial.row(checkpoint, peer.flat())
        self.steps += told.steps
        self.done += len(told.ended)
        if self.report is not None:
            seconds = time.perf_counter() - self.begun
            share = min(1.0, self.steps / total)
            self.report(Progress(self.done, len(jobs), self.steps, share, seconds))

    def _save(self) -> None:
        for trial in self.trials:
            trial.keep(self.rows)

    def _so_far(self, total: int) -> str:
        kept = all(trial.file is not None for trial in self.trials)
        then = "the same command goes on from there" if kept else "nothing is kept"
        return f"{self.done} of {total} checkpoints were measured; {then}"
