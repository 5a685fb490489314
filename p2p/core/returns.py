"""The return of a training episode, whether or not rollouts are long enough for whole ones.

Where envs are reset each iteration and a rollout is shorter than the time limit, the episodes
that end within it are the short ones, and on HalfCheetah none does: the mean of their returns is
biased or says nothing. What can be counted without bias, step by step, is the reward and how
often an episode terminates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

MAX_EPISODE_STEPS = 1000  # Gymnasium's time limit of the five tasks
RECENT_EPISODES = 20
RECENT_ITERATIONS = 10


def expected_length(termination_rate: float, limit: int = MAX_EPISODE_STEPS) -> float:
    """Return the mean length of episodes that terminate at this rate a step, or at `limit`.

    With the same rate h at each step: sum over t < limit of (1 - h)^t = (1 - (1 - h)^limit) / h.
    A rate above 1, of a damaged journal, counts as 1.
    """
    h = min(termination_rate, 1.0)
    return (1.0 - (1.0 - h) ** limit) / h if h > 0 else float(limit)


def training_length(
    records: Iterable[Mapping[str, Any]], limit: int = MAX_EPISODE_STEPS
) -> float | None:
    """Estimate the mean length of one peer's whole episodes, steps; None without a step.

    Arguments, and what of versions that did not count terminations, as of `training_return`.
    """
    records = list(records)
    rates = [r["terminations_per_step"] for r in records if r.get("reward_per_step") is not None]
    if rates:
        return expected_length(fmean(rates), limit)
    lengths = [length for record in records for _, length in record["episodes"]]
    return fmean(lengths) if lengths else None


def training_return(
    records: Iterable[Mapping[str, Any]], limit: int = MAX_EPISODE_STEPS
) -> float | None:
    """Estimate the undiscounted return of one peer's whole episodes; None without a step.

    The mean reward a step times `expected_length` at the rate with which episodes terminated.
    Over whole episodes it is their mean return, but for how terminations are spread over the
    steps of an episode. It does not depend on where rollouts are cut, so K = 8 and K = 2, or
    other numbers of envs, can be compared.

    Args:
        records: the peer's part of the journal's records, each of equally many steps. Of a run
            of a version that did not count rewards, the mean over the episodes that ended.
        limit: the task's time limit, steps.
    """
    records = list(records)
    counted = [r for r in records if r.get("reward_per_step") is not None]
    if not counted:
        ended = [total for record in records for total, _ in record["episodes"]]
        return fmean(ended) if ended else None
    rewards = sum(r["reward_per_step"] for r in counted)
    terminations = sum(r["terminations_per_step"] for r in counted)
    n = len(counted)
    return float(rewards / n * expected_length(terminations / n, limit))


class RecentReturns:
    """One peer's return and length while it trains, as the live view and trackers show them.

    Means over its last 20 episodes. If iterations cut episodes before the time limit, the return
    is estimated from the last 10 iterations, and there is no length.

    Args:
        cut: whether iterations cut episodes (`TrainConfig.cuts_episodes`).
        limit: the task's time limit, steps.
    """

    def __init__(self, cut: bool, limit: int = MAX_EPISODE_STEPS) -> None:
        self.cut, self.limit = cut, limit
        self.episodes: deque[tuple[float, float]] = deque(maxlen=RECENT_EPISODES)
        self.iterations: deque[Mapping[str, Any]] = deque(maxlen=RECENT_ITERATIONS)

    def add(self, peer: Mapping[str, Any]) -> None:
        """Add the peer's part of an iteration's record."""
        self.episodes.extend((total, length) for total, length in peer["episodes"])
        self.iterations.append(peer)

    @property
    def mean(self) -> float | None:
        """The return; None if nothing is known yet."""
        if self.cut:
            return training_return(self.iterations, self.limit)
        return mean_of(total for total, _ in self.episodes)

    @property
    def length(self) -> float | None:
        """The mean length of episodes, steps; None if it is not known."""
        return None if self.cut else mean_of(length for _, length in self.episodes)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
