"""What acts: a trained policy, several whose actions are averaged, or one that was exported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from p2p.core.errors import UsageError
from p2p.policy.parameters import Floats
from p2p.policy.policy import Policy


class ActingPolicy(Protocol):
    """All that evaluations, and a user's own loop, ask of a policy.

    Attributes:
        task: name of the task it was trained on.
        meta: further facts about its training.
        low, high: [A], bounds of its actions.
    """

    task: str
    meta: dict[str, Any]
    low: Floats
    high: Floats

    @property
    def obs_dim(self) -> int:
        """Length of an observation."""

    def act(
        self,
        obs: ArrayLike,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        noise: Floats | None = None,
    ) -> Floats:
        """Return the action for raw observations, as `Policy.act` does."""

    def digest(self) -> str:
        """Return the SHA-256 of all that determines its actions."""


class MeanPolicy:
    """The mean of several policies' mean actions.

    Each action is clipped to its bounds before it is averaged: it is what that peer would have
    done. A policy far out of bounds then has no more weight than one at the bound.

    Args:
        policies: of one task, K of them.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        first = policies[0]
        self.policies, self.task = tuple(policies), first.task
        self.low, self.high, self.obs_dim = first.low, first.high, first.obs_dim
        self.meta = {name: value for name, value in first.meta.items() if name != "peer"}

    def act(
        self,
        obs: ArrayLike,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        noise: Floats | None = None,
    ) -> Floats:
        """Return the averaged action for raw observations [n] or [B, n]: [A] or [B, A], float32.

        Raises:
            UsageError: actions are to be sampled, or the last axis is not `obs_dim` long.
        """
        check_deterministic(deterministic, "the peers' averaged action")
        mean = np.mean([policy.act(obs) for policy in self.policies], axis=0, dtype=np.float32)
        clipped: Floats = np.clip(mean, self.low, self.high)  # rounding may pass a bound
        return clipped

    def digest(self) -> str:
        """Return the SHA-256 of all that determines its actions."""
        parts = [policy.digest() for policy in self.policies]
        return hashlib.sha256("mean of ".join(["", *parts]).encode()).hexdigest()


def check_deterministic(deterministic: bool, what: str) -> None:
    """Raise UsageError if actions are to be sampled from what has a mean action alone."""
    if not deterministic:
        raise UsageError(f"{what} has no standard deviation to sample with; leave --sampled out")
