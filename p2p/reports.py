"""What a peer tells the process that trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[np.generic]]


class Checkpoint(NamedTuple):
    """A peer's state after `iteration` iterations, and its policy then."""

    iteration: int
    state: State
    policy: bytes


class Milestone(NamedTuple):
    """A peer's state after `iteration` iterations, to be kept for good."""

    iteration: int
    state: State


class Iteration(NamedTuple):
    """What one peer did in one iteration: its part of a journal record."""

    iteration: int
    metrics: dict[str, Any]


class Ended(NamedTuple):
    """A peer is through: its score in the nominal domain (None if it was not asked for)."""

    completed: int
    score: dict[str, float] | None


class Stopped(NamedTuple):
    """A peer left after a checkpoint, since the cohort was asked to stop."""

    completed: int


Report = Callable[[Checkpoint | Milestone | Iteration | Ended | Stopped], None]
