"""What a peer tells the parent, and how the parent puts the peers' states together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import BadArtefact
from p2p.core.reading import DAMAGE

POLICY = "policy.artefact"  # of a peer in a milestone: the bytes of its policy file
State = dict[str, NDArray[np.generic]]


@contextmanager
def fitting() -> Iterator[None]:
    """Raise BadArtefact where a state turns out to be of another run."""
    try:
        yield
    except DAMAGE as error:
        raise BadArtefact(f"the checkpoint does not fit this run ({error}); remove it") from None


class Checkpoint(NamedTuple):
    """A peer's state after `iteration` iterations, and its policy then."""

    iteration: int
    state: State
    policy: bytes


class Milestone(NamedTuple):
    """A peer's state after `iteration` iterations, and its policy then, to be kept for good."""

    iteration: int
    state: State
    policy: bytes


class Iteration(NamedTuple):
    """What one peer did in one iteration: its part of a journal record."""

    iteration: int
    metrics: dict[str, Any]


class Tested(NamedTuple):
    """A peer's policy after `iteration` iterations, and its score in held-out domains."""

    iteration: int
    score: dict[str, float]
    policy: bytes


class Ended(NamedTuple):
    """A peer is through: its score in the nominal domain (None if it was not asked for)."""

    completed: int
    score: dict[str, float] | None


class Stopped(NamedTuple):
    """A peer left after a checkpoint, since the cohort was asked to stop."""

    completed: int
    signum: int  # by which it was asked, on one of the machines


Report = Callable[[Checkpoint | Milestone | Iteration | Tested | Ended | Stopped], None]


def join_peers(parts: Sequence[Checkpoint | Milestone]) -> dict[str, NDArray[Any]]:
    """Put the peers' states together, by rank, as a checkpoint names them.

    The policies of a milestone lie among them: no other file has them.
    """
    joined = {
        f"peer{rank}.{name}": np.asarray(value)
        for rank, part in enumerate(parts)
        for name, value in part.state.items()
    }
    kept = {
        f"peer{rank}.{POLICY}": np.frombuffer(part.policy, np.uint8)
        for rank, part in enumerate(parts)
        if isinstance(part, Milestone)
    }
    return {**joined, **kept}


def split_by_peer(tensors: dict[str, Any], num_peers: int) -> list[State]:
    """Undo the `peer<rank>.` prefixes of a checkpoint's names."""
    states: list[State] = [{} for _ in range(num_peers)]
    try:
        for name, value in tensors.items():
            rank, _, rest = name.removeprefix("peer").partition(".")
            states[int(rank)][rest] = value
    except (ValueError, IndexError):
        raise BadArtefact(f"checkpoint holds {name!r}, which no peer of this run owns") from None
    return states
