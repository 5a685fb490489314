"""What the peers of a run start from: its newest checkpoint, another run's policy, or nothing."""

from __future__ import annotations

from typing import NamedTuple

from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.envs.build import build_envs
from p2p.peer import reports
from p2p.runs import RunFolder
from p2p.runs.initial import initial_state


class Beginning(NamedTuple):
    """Where the peers begin.

    Attributes:
        states: of each peer, by rank; None: afresh.
        done: iterations that they have completed.
        notes: on the checkpoint.
    """

    states: list[reports.State] | None
    done: int = 0
    notes: tuple[str, ...] = ()


def initial_states(config: TrainConfig) -> list[reports.State] | None:
    """Return what each peer of a new run starts from, if anything.

    Raises:
        UsageError: the task, what varies in it, or the policy to start from cannot be used.
        BadArtefact: there is no policy to start from.
    """
    built_in = config.task in registry.BUILT_IN["task"] and config.randomise is None
    if built_in and config.init_from is None:  # nothing that could fail
        return None
    envs = build_envs(config.task, 1, config.randomisation)
    state = initial_state(config, envs.obs_dim, envs.action_dim)
    return None if state is None else [state] * config.num_peers


def newest_states(run: RunFolder, config: TrainConfig) -> Beginning:
    """Return the beginning after the newest valid checkpoint, or that of a new run.

    Raises:
        BadArtefact: no checkpoint is valid, or all were deleted.
    """
    checkpoint = run.load_checkpoint()
    if checkpoint is None:
        return Beginning(initial_states(config), 0, ("no checkpoint yet: starting afresh",))
    states = reports.split_by_peer(checkpoint.tensors, config.num_peers)
    return Beginning(states, checkpoint.iteration, tuple(checkpoint.skipped))
