"""The variance of the gradient through training (section 4.4, Fig. 8b-c): `grad_variance`.

At each milestone of a run every peer collects fresh steps as the run would have, with the
checkpoint's normaliser and reward scale, and its gradient is taken on minibatches of them;
`p2p.peer.gradient_variance` defines the quantities. The numbers are a function of checkpoint,
settings and seed, so they are kept beside the run and not measured again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from p2p.analysis.conditions import condition
from p2p.analysis.gradient_variance.config import GradVarianceConfig, build_grad_variance_config
from p2p.analysis.gradient_variance.file import QUANTITIES, GradientFile, Key, Row
from p2p.analysis.gradient_variance.results import GradVariance, MeasuredRun
from p2p.analysis.pool import Pool, WorkerReport
from p2p.analysis.session import Progress, Session, Target, check_workers
from p2p.cohort import launch
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.platform import num_cores
from p2p.envs.build import build_envs
from p2p.policy.parameters import actor_layout
from p2p.runs import RunFolder
from p2p.runs.checkpoint import iteration_of

if TYPE_CHECKING:
    from p2p.peer.gradient_variance import GradientVariance


class Ticket(NamedTuple):
    """A checkpoint to measure at, as it travels to a process."""

    number: int
    folder: Path
    milestone: Path


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
        report: called with a `Progress` now and then.
        settings: the fields of `GradVarianceConfig`.

    Raises:
        UsageError: a setting is wrong.
        BadArtefact: there is no run, it has no milestones, or one is damaged.
        NoRoom: the results cannot be written.
        Interrupted: a signal; what was found is kept.
        PeerLost: a process died.
    """
    config = build_grad_variance_config(**settings)
    workers = check_workers(workers)
    given = [runs] if isinstance(runs, str | Path | RunFolder) else runs
    folders = [one if isinstance(one, RunFolder) else RunFolder.open(Path(one)) for one in given]
    if not folders:
        raise UsageError("nothing to measure: name a run folder")
    once = {folder.path.resolve(): folder for folder in folders}
    launch.start_server(*_preload(folders))  # while we read
    targets = [GradientTarget(folder, config, save) for folder in once.values()]
    session = GradientSession(config, targets, workers, report, _preload(folders))
    session.run()
    measured = tuple(target.result(session.rows) for target in targets)
    return GradVariance(
        config, measured, session.done, session.steps, session.seconds, session.reused
    )


def _preload(folders: Iterable[RunFolder]) -> list[str]:
    """Return the modules that the fork server imports, those of the engines above all."""
    engines = {folder.config.engine for folder in folders}
    modules = {"fused": "p2p.peer.preload", "autograd": "p2p.engine.autograd"}
    return [
        "torch",
        "p2p.analysis.gradient_variance.worker",
        *(modules[name] for name in sorted(engines)),
    ]


def serve(pipe: Connection, steps: int, minibatches: int, threads: int | None) -> None:
    """Measure at the checkpoints that tickets name."""
    from p2p.analysis.gradient_variance.worker import measure_checkpoint

    while True:
        pipe.send(WorkerReport(0, [], 1))
        tickets: list[Ticket] = pipe.recv()
        if not tickets:
            return
        (ticket,) = tickets
        found = measure_checkpoint(
            ticket.folder, ticket.milestone, steps, minibatches, threads,
            lambda taken: pipe.send(WorkerReport(taken, [], 0)),
        )  # fmt: skip
        pipe.send(WorkerReport(0, [(ticket.number, found)], 0))


class GradientTarget(Target[Key, Row]):
    """One run, and the keys of its measurements."""

    advice = "--no-save (save=False) measures without keeping"

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

    def keys(self) -> Iterator[Key]:
        """Yield a key for each checkpoint and peer."""
        for checkpoint in self.checkpoints:
            yield from self.keys_at(checkpoint)

    def keys_at(self, checkpoint: str) -> list[Key]:
        """Return the keys of one checkpoint, a peer each."""
        ranks = range(self.run.config.num_peers)
        return [Key(checkpoint, self.condition, rank) for rank in ranks]

    def row(self, checkpoint: str, found: Mapping[str, float]) -> Row:
        """Return what is kept of one peer at one checkpoint."""
        iteration = iteration_of(self.checkpoints[checkpoint])
        return Row(iteration, iteration * self.run.config.steps_per_iteration, **found)

    def result(self, rows: Mapping[Key, Row]) -> MeasuredRun:
        """Return the table of everything found."""
        config = self.run.config
        table = [[rows[key] for key in self.keys_at(one)] for one in self.checkpoints]
        values = [[[getattr(row, q) for q in QUANTITIES] for row in peers] for peers in table]
        return MeasuredRun(
            str(self.run.path), config.task, config.method, config.seed, config.identity(),
            self.parameters, tuple(peers[0].iteration for peers in table),
            tuple(peers[0].steps for peers in table), np.array(values, np.float64),
        )  # fmt: skip


def _num_parameters(config: TrainConfig) -> int:
    envs = build_envs(config.task, 1, config.randomisation)
    return actor_layout(envs.obs_dim, config.hidden_sizes, envs.action_dim).size


def _condition(config: GradVarianceConfig, run: TrainConfig) -> str:
    """Return all that a measurement depends on besides the checkpoint."""
    return condition(**config.model_dump(), engine=run.engine)


class Job(NamedTuple):
    """A checkpoint of a run."""

    target: GradientTarget
    checkpoint: str


class GradientSession(Session[Key, Row, Job]):
    """One call of `grad_variance`; a job is a checkpoint."""

    work = "checkpoints were measured"
    targets: Sequence[GradientTarget]

    def __init__(
        self,
        config: GradVarianceConfig,
        targets: Sequence[GradientTarget],
        workers: int,
        report: Callable[[Progress], None] | None,
        preload: Sequence[str],
    ) -> None:
        super().__init__(targets, workers, report)
        self.config, self.preload = config, preload
        self.steps_to_take = 0

    def missing(self) -> list[list[Job]]:
        """Return the checkpoints that are not known of every peer; one pool measures them all."""
        every = [Job(target, one) for target in self.targets for one in target.checkpoints]
        jobs = [job for job in every if not all(key in self.rows for key in _keys(job))]
        self.reused = len(every) - len(jobs)
        peers = sum(job.target.run.config.num_peers for job in jobs)
        self.steps_to_take = peers * self.config.steps
        return [jobs] if jobs else []

    def pool(self, jobs: Sequence[Job]) -> Pool:
        """Return a pool that measures at one checkpoint at a time in each process."""
        tickets = [
            Ticket(number, target.run.path, target.checkpoints[checkpoint])
            for number, (target, checkpoint) in enumerate(jobs)
        ]
        # Processes that keep all cores busy need no threads; fewer take a peer's usual number.
        threads = 1 if min(len(tickets), self.workers) >= num_cores() else None
        return Pool(
            serve, tickets, self.workers, self.config.steps, self.config.minibatches, threads,
            preload=self.preload,
        )  # fmt: skip

    def take(self, job: Job, found: Sequence[GradientVariance]) -> None:
        """Add what was measured of each peer at a checkpoint."""
        for key, peer in zip(_keys(job), found, strict=True):
            self.rows[key] = job.target.row(job.checkpoint, peer.flat())

    @property
    def share(self) -> float:
        """Share of the steps that are taken, 0..1."""
        return min(1.0, self.steps / self.steps_to_take)


def _keys(job: Job) -> list[Key]:
    return job.target.keys_at(job.checkpoint)
