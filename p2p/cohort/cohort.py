"""Train a cohort or resume it: start the peers, record what they report, stop on a signal.

`train` and `resume` are generators of events, so that displaying a run stays out of the loop.
The parent process takes no part in learning.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from p2p.cohort.checks import check_new, check_resumable, check_unfinished
from p2p.cohort.dump import what_is_left
from p2p.cohort.events import Event, Finished, Iterated, Noted, Started
from p2p.cohort.nodes.advice import Advice
from p2p.cohort.peer_process import Failed
from p2p.cohort.recorder import Recorder
from p2p.cohort.restarts import Restarts
from p2p.cohort.states import Beginning, initial_states, newest_states
from p2p.cohort.supervisor import STOPPED_EARLY, Supervisor
from p2p.cohort.tracking.parent import Trackers
from p2p.cohort.tracking.tracker import Status
from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.core.errors import Diverged, Interrupted, P2PError, PeerLost
from p2p.core.signals import StopSignals
from p2p.envs.build import check_model
from p2p.envs.task import find_task
from p2p.runs import RunFolder
from p2p.runs.claim import discard_untrained
from p2p.runs.initial import policy_sha256

if TYPE_CHECKING:
    from p2p.cohort.nodes.link import Link  # brings torch


def train(
    config: TrainConfig,
    *,
    out: Path | None = None,
    max_time: float | None = None,
    link: Link | None = None,
) -> Iterator[Event]:
    """Train a cohort from scratch in a new run folder.

    Args:
        out: the run folder to make; default a new one under `runs/`.
        max_time: seconds, after which the run stops as at a signal: SIGALRM.
        link: of node 0 to the other nodes, if the cohort spans several.

    Yields:
        Started; per iteration Iterated, and Checkpointed after some; at last Finished. Noted in
        between and after.

    Raises:
        UsageError: a setting or the folder cannot be used, or the package of a tracker is missing.
        PeerLost: a peer died or hangs.
        Diverged: a peer's gradients became non-finite twice.
        Interrupted: a signal, or `max_time` is over; after a checkpoint.
        NoRoom: disk or shared memory full.
    """
    check_new(config, out, _num_here(config, link))
    config = _with_hashes(config)
    states = initial_states(config)
    run = RunFolder.create(config, out)
    try:
        yield from _run(run, config, Beginning(states), max_time, link)
    except Interrupted as stopped:
        if not discard_untrained(run.path):
            raise
        why = f"{STOPPED_EARLY}: nothing was trained, and no run folder is left"
        raise Interrupted(why, stopped.signum) from None
    except BaseException:  # a folder without a checkpoint is of no use to anybody
        discard_untrained(run.path)
        raise


def resume(
    path: Path,
    *,
    total_steps: int | None = None,
    total_steps_per_peer: int | None = None,
    track: Sequence[str] | None = None,
    threads_per_peer: int | None = None,
    max_time: float | None = None,
    link: Link | None = None,
    **records: Any,
) -> Iterator[Event]:
    """Continue the run at `path` from its newest valid checkpoint.

    Args:
        total_steps: a new goal; default the run's own.
        total_steps_per_peer: the same, counted for each peer.
        track: other trackers than those that the run remembers; () for none.
        threads_per_peer: another number than the run's own; the bits are the same.
        max_time: as in `train`.
        link: of node 0 to the other nodes, if the cohort spans several.
        records: other settings that change no number.

    Raises:
        BadArtefact: `path` is not a run folder, holds no valid checkpoint, or was made with a
            user's code that this process has not been told of.
        UsageError: the run has already reached its goal, or the package of a tracker is missing.
    """
    run, config = check_resumable(
        path, total_steps=total_steps, total_steps_per_peer=total_steps_per_peer, track=track,
        threads_per_peer=threads_per_peer,
        num_here=_num_here(RunFolder.open(path).config, link), **records,
    )  # fmt: skip
    check_model(config.task, config.source_sha256)
    with run:
        begin = newest_states(run, config)
        check_unfinished(run, config, begin.done)
        run.replace_config(config)
        run.truncate_journal(begin.done)
        begin = begin._replace(notes=(*begin.notes, *run.changed_versions()))
        yield from _run(run, config, begin, max_time, link)


def _num_here(config: TrainConfig, link: Link | None) -> int:
    """Return the number of peers on this machine."""
    return len(link.place.spans(config.num_peers)[0]) if link else config.num_peers


def _with_hashes(config: TrainConfig) -> TrainConfig:
    """Return the config with hashes of its robot's model and of what it starts from."""
    hashed = {**config.source_sha256, **check_model(config.task, config.source_sha256)}
    if config.init_from is None:
        return config.model_copy(update={"source_sha256": hashed})
    path = Path(config.init_from).absolute()
    hashed[str(path)] = policy_sha256(path)
    return config.model_copy(update={"init_from": str(path), "source_sha256": hashed})


def _run(
    run: RunFolder, config: TrainConfig, begin: Beginning, max_time: float | None,
    link: Link | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Train to the goal; start the peers again if one is lost, while that is allowed."""
    code = registry.loading_options(config.task, config.method)
    resume = f"continue with: p2p train --resume {shlex.quote(str(run.path))}{code}"
    notes = [*begin.notes]
    if link is not None:
        link.begin(config, begin.states, begin.done)
        notes += link.notes
    notes += [*_notes_on_returns(config), *_notes_on_task(config)]
    with run, StopSignals(max_time) as signals:
        restarts = Restarts(run, config, resume)
        session = _Session(run, config, signals, resume, link)
        while True:
            try:
                yield from session.attempt(begin, notes)
                return
            except PeerLost as lost:
                if link is not None:  # their launcher restarts, which alone can start all nodes
                    raise
                begin, told = restarts.go_back(lost, session.recorder, signals)
            notes = [*begin.notes]
            yield Noted(told, is_warning=True)


class _Session:
    """From the start of a run, or of its continuation, to its end, over all restarts.

    Attributes:
        recorder: None until the peers have been started once.
    """

    def __init__(
        self, run: RunFolder, config: TrainConfig, signals: StopSignals, resume: str,
        link: Link | None,
    ) -> None:  # fmt: skip
        self.run, self.config, self.signals, self.link = run, config, signals, link
        self.resume, self.early = resume, f"{STOPPED_EARLY}; {resume}"
        self.recorder: Recorder | None = None

    def attempt(self, begin: Beginning, notes: list[str]) -> Iterator[Event]:
        """Start the peers, and follow them to the end.

        Raises:
            PeerLost: a peer died or hangs; all have ended.
            P2PError: as `train`.
        """
        run, config, signals = self.run, self.config, self.signals
        with (
            Supervisor(config, begin.states, signals, self.early, self.link) as supervisor,
            Trackers(run, config, begin.done) as trackers,
        ):
            yield Started(run, config, begin.done, notes)
            if self.recorder is None:
                self.recorder = Recorder(run, config, begin.done)
            recorder = self.recorder
            scores: list[dict[str, float]] = []
            for event in self._follow(supervisor, recorder, trackers):
                yield event
                scores = event.scores if isinstance(event, Finished) else scores
            status: Status = "stopped" if recorder.stopped else "finished"
            yield from trackers.finish(status, scores, lambda: signals.received is not None)
        if recorder.stopped:
            raise Interrupted(
                f"stopped after iteration {recorder.completed} of {config.num_iterations}; "
                f"{self.resume}",
                signals.received or recorder.stopped or signal.SIGINT,
            )

    def _follow(
        self, supervisor: Supervisor, recorder: Recorder, trackers: Trackers
    ) -> Iterator[Event]:
        """Record what the peers report, and pass on a request to stop."""
        signals = self.signals
        advice = Advice(self.config) if self.link else None
        begun = False  # before a peer has reported, there is nothing to save
        for rank, message in supervisor.messages():
            begun = begun or message is not None
            signals.check_time()
            if signals.received is not None:
                if not begun:
                    raise Interrupted(self.early, signals.received)
                supervisor.arena.request_stop(signals.received)
            if isinstance(message, Failed):
                left = what_is_left(self.run, rank, message.error)
                raise_failure(rank, message, left, supervisor.where)
            if message is not None and (event := recorder.add(rank, message)) is not None:
                yield event
                if advice is not None and isinstance(event, Iterated):
                    yield from advice.of(event.record)
            yield from trackers.notes()


def _notes_on_returns(config: TrainConfig) -> list[str]:
    """Return a note if returns are estimates, with the setting that gives whole episodes."""
    if not config.cuts_episodes:
        return []
    fitting = config.steps_per_peer // config.max_episode_steps
    then = f"; with --envs-per-peer {fitting} episodes are whole" if fitting else ""
    return [
        f"envs are reset after {config.horizon:,} steps, before the time limit of "
        f"{config.max_episode_steps:,}: returns are estimated from the reward per step and the "
        f"rate of terminations{then}"
    ]


def _notes_on_task(config: TrainConfig) -> list[str]:
    """Return a note if nothing varies, or a task replaces what compiled code computes."""
    if config.eps_tr and not config.randomisation.factors:
        return [
            "nothing varies: --randomise FILE says what is to (p2p domains --terms lists what can)"
        ]
    anew = find_task(config.task).computed_anew()
    if not anew or config.engine != "fused":
        return []
    return [f"{config.task} overrides {', '.join(anew)}: its steps run in numpy, not compiled"]


def raise_failure(rank: int, failed: Failed, checkpoint: str = "", where: str = "") -> NoReturn:
    """Raise the error that a peer has sent.

    Args:
        checkpoint: what to say of it after a divergence.
        where: what to say first of the node, if there are several.
    """
    if isinstance(failed.error, P2PError):
        more = checkpoint if isinstance(failed.error, Diverged) else ""
        raise type(failed.error)(f"{where}{failed.text}{more}")
    raise RuntimeError(f"{where}peer {rank} failed:\n{failed.text}")
