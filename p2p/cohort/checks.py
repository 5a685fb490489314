"""What can be wrong with a run before it starts, found without torch.

`p2p.cohort.cohort` brings torch, which takes seconds: call these first, so that a wrong argument
is answered at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from p2p.cohort import launch
from p2p.cohort.tracking import check_installed
from p2p.core.config import TrainConfig, build_config
from p2p.core.consistency import override
from p2p.core.errors import UsageError
from p2p.core.platform import num_cores
from p2p.envs.task import find_task
from p2p.methods import find_method
from p2p.runs import RunFolder
from p2p.runs.claim import check_claimable
from p2p.runs.initial import policy_sha256

MAX_PEERS_PER_CORE = 16  # beyond this peers only wait for one another


def check_new(config: TrainConfig, out: Path | None) -> None:
    """Check that a run can start: number of peers, run folder, what it starts from.

    Args:
        out: as in `RunFolder.create`.

    Raises:
        UsageError, BadArtefact, NoRoom: it cannot.
    """
    launch.check_working_directory()
    check_peers(config)
    check_installed(config.track)
    check_claimable(config, out)
    if config.init_from is not None:
        policy_sha256(Path(config.init_from))


def check_peers(config: TrainConfig) -> None:
    """Raise UsageError for more than `MAX_PEERS_PER_CORE` peers on a core of this machine."""
    cores = num_cores()
    if config.num_peers > cores * MAX_PEERS_PER_CORE:
        raise UsageError(
            f"{config.num_peers} peers on {cores} cores would only wait for one another; "
            f"use at most {cores * MAX_PEERS_PER_CORE}"
        )


def check_resumable(
    path: Path, *, total_steps: int | None = None, total_steps_per_peer: int | None = None,
    track: Sequence[str] | None = None, threads_per_peer: int | None = None,
) -> tuple[RunFolder, TrainConfig]:  # fmt: skip
    """Return the run at `path`, and its settings with the new goal, trackers and threads.

    Args:
        total_steps, total_steps_per_peer, track, threads_per_peer: as in `p2p.resume`.

    Raises:
        BadArtefact: `path` is not a run folder, holds no valid checkpoint, or was made with a
            user's code that this process has not been told of.
        UsageError: the run has already reached its goal, may not have this one, or is being
            written by another process; the package of a tracker is missing.
    """
    run = RunFolder.open(path)
    config = run.config
    find_task(config.task)  # raises where code of the user's was not named
    find_method(config.method)
    given = {
        "total_steps": total_steps, "total_steps_per_peer": total_steps_per_peer, "track": track,
        "threads_per_peer": threads_per_peer,
    }  # fmt: skip
    later = {name: value for name, value in given.items() if value is not None}
    config = build_config(**override(config.settings, later))
    check_installed(config.track)
    if run.config.why_its_end_counts and config.total_steps != run.config.total_steps:
        raise UsageError(
            f"{path} cannot have another goal: {run.config.why_its_end_counts}; start a new run"
        )
    check_peers(config)
    with run:  # no other process writes there
        checkpoint = run.load_checkpoint()
    check_unfinished(run, config, checkpoint.iteration if checkpoint else 0)
    return run, config


def check_unfinished(run: RunFolder, config: TrainConfig, done: int) -> None:
    """Raise UsageError if the run has reached the goal of `config`.

    Args:
        done: iterations that its newest checkpoint has completed.
    """
    result = run.result()  # perhaps of a lower goal that the run had before
    if done >= config.num_iterations and result and result["steps"] >= config.whole_steps:
        why = config.why_its_end_counts
        then = f"{why}; start a new run" if why else "give --total-steps to train on"
        raise UsageError(f"{run.path} is complete ({done} iterations); {then}")
