"""`p2p.train` and `p2p.resume`: a run in one call, for use as a library."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from p2p.cohort import launch
from p2p.cohort.checks import check_new, check_resumable
from p2p.cohort.events import Event, Noted, Started
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import Interrupted
from p2p.core.signals import request_stop
from p2p.runs import RunFolder

Report = Callable[[Event], object]


def train(
    config: TrainConfig, out: str | Path | None = None, *, track: Sequence[str] = (),
    report: Report | None = None, max_time: float | None = None,
) -> RunFolder:  # fmt: skip
    """Train a cohort, one process a peer, and return its run folder.

        run = p2p.train(p2p.TrainConfig(task="hopper", total_steps=200_000), report=print)

    Args:
        config: the settings.
        out: the run folder to create; default a new one under `runs/`.
        track: trackers to log to, in place of `config.track`: "tensorboard", "wandb", ...
        report: called in this process with each event, in their order: a `Started`, and another
            whenever the peers are started again; an `Iterated` after each iteration, whose `record`
            is the iteration's line in the journal; `Checkpointed` after some; `Finished` with
            scores; `Noted` at any time. `report=print` prints a line for each. While it runs, the
            peers go on. If it returns False, the run stops as at Ctrl-C: the iteration ends, a
            checkpoint is written, and `train` returns; `resume` goes on from there. What it raises
            ends the run at once, with the last checkpoint kept, and is raised here. It changes no
            number.
        max_time: seconds, after which the run stops as if `report` had returned False.

    Raises:
        UsageError: a setting or the folder cannot be used.
        PeerLost: a peer died or hangs, more than `config.max_restarts` times.
        Diverged: a number of a peer was not finite, and again within ten iterations.
        Interrupted: a signal (SIGINT of Ctrl-C or a notebook's stop button, SIGTERM, SIGHUP,
            SIGUSR1, SIGUSR2), after a checkpoint.
        NoRoom: disk or shared memory full.
    """
    if track:
        config = config.model_copy(update={"track": build_config(track=list(track)).track})
    path = Path(out) if out is not None else None
    check_new(config, path)
    launch.prepare(config.engine)
    from p2p.cohort import cohort  # imports numba while the fork server imports torch

    return _follow(cohort.train(config, out=path, max_time=max_time), report)


def resume(
    run: str | Path | RunFolder,
    *,
    total_steps: int | None = None,
    total_steps_per_peer: int | None = None,
    track: Sequence[str] | None = None,
    threads_per_peer: int | None = None,
    max_restarts: int | None = None,
    report: Report | None = None,
    max_time: float | None = None,
) -> RunFolder:
    """Continue a run from its newest checkpoint; the bits are those of a run never stopped.

        p2p.resume("runs/hopper-p2pdrl-260101-120000", total_steps=400_000)

    Args:
        run: a run folder.
        total_steps: a new goal over all peers; default the run's own.
        total_steps_per_peer: the same, counted for each peer.
        track: other trackers than those that the run remembers; () for none.
        threads_per_peer, max_restarts: other numbers than the run's own; the bits are the same.
        report, max_time: as in `train`.

    Raises:
        BadArtefact: it is no run folder, has no valid checkpoint, or was made with code of the
            user's that is not loaded (`p2p.register` loads it).
        UsageError: the run has reached its goal, or another process writes there.
        PeerLost, Diverged, Interrupted, NoRoom: as in `train`.
    """
    path = Path(run)
    later: dict[str, Any] = {
        "total_steps": total_steps, "total_steps_per_peer": total_steps_per_peer, "track": track,
        "threads_per_peer": threads_per_peer,
    }  # fmt: skip
    if max_restarts is not None:
        later["max_restarts"] = max_restarts
    _, config = check_resumable(path, **later)
    launch.prepare(config.engine)
    from p2p.cohort import cohort

    return _follow(cohort.resume(path, **later, max_time=max_time), report)


def _follow(events: Iterator[Event], report: Report | None) -> RunFolder:
    """Tell `report` of every event, and return the run."""
    asked = False  # whether it wants the run to stop
    with closing(cast("Generator[Event]", events)):
        try:
            for event in events:
                if isinstance(event, Started):
                    run = event.run
                elif isinstance(event, Noted) and event.is_warning:
                    warnings.warn(event.text, stacklevel=3)
                if report is not None and report(event) is False and not asked:
                    asked = True
                    request_stop()
        except Interrupted as stopped:
            asked = asked or stopped.signum == signal.SIGALRM  # max_time
            if not asked or not run.path.exists():
                raise
    return run
