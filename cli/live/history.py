"""The records of a run so far, condensed to what a view shows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from p2p.core.config import TrainConfig
from p2p.core.returns import RECENT_ITERATIONS, RecentReturns, mean_of

PHASES = ("physics", "policy", "update", "waiting")


class PeerRow(NamedTuple):
    """The current numbers of one peer; None: not known yet.

    Attributes:
        factors: its domain, one number per factor.
        episode_return, length: recent ones (`p2p.core.returns.RecentReturns`).
        kl: the KL that its method penalises, nats.
        entropy: of its policy, nats.
        clip_fraction: share of samples whose ratio was clipped, 0..1.
        value_loss: the critic's.
    """

    rank: int
    factors: Mapping[str, float]
    episode_return: float | None
    length: float | None
    kl: float | None
    entropy: float | None
    clip_fraction: float | None
    value_loss: float | None


class History:
    """The iterations of a run so far.

    Args:
        config: the run's settings.
        past: records of iterations before this session, if the run was resumed: they count for
            returns and episodes, not for speed.
    """

    def __init__(self, config: TrainConfig, past: Iterable[Mapping[str, Any]] = ()) -> None:
        self.config = config
        self.total_steps = config.whole_steps
        self.iterations = 0
        self.unstable = 0
        self.returns: list[float] = []
        self.rows: list[PeerRow] = []
        self._recent = [
            RecentReturns(config.cuts_episodes, config.max_episode_steps)
            for _ in range(config.num_peers)
        ]
        self.tests: list[tuple[int, list[float]]] = []  # steps, return of each peer
        self._window: deque[tuple[float, dict[str, float]]] = deque(maxlen=RECENT_ITERATIONS)
        self._timed, self._seconds = 0, 0.0  # iterations, and their time
        self._session = 0  # iterations of this session
        for record in past:
            self.add(record)
        self._forget_times()
        self._session = 0

    @property
    def steps(self) -> int:
        """Steps so far, over all peers and sessions."""
        return self.iterations * self.config.steps_per_iteration

    @property
    def complete(self) -> bool:
        """Whether the last iteration has ended."""
        return self.iterations >= self.config.num_iterations

    @property
    def rate(self) -> float | None:
        """Steps/s over the last iterations of this session."""
        seconds = sum(seconds for seconds, _ in self._window)
        return len(self._window) * self.config.steps_per_iteration / seconds if seconds else None

    @property
    def session_rate(self) -> float | None:
        """Steps/s over all iterations of this session."""
        steps = self._timed * self.config.steps_per_iteration
        return steps / self._seconds if self._seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Time until the last step at the current rate."""
        return max(0, self.total_steps - self.steps) / self.rate if self.rate else None

    @property
    def shares(self) -> dict[str, float]:
        """Share of each phase in the peers' time over the last iterations; empty at first."""
        spent = {name: sum(times[name] for _, times in self._window) for name in PHASES}
        total = sum(spent.values())
        return {name: seconds / total for name, seconds in spent.items()} if total else {}

    @property
    def mean_return(self) -> float | None:
        """Mean over the peers of their recent returns."""
        return mean_of(row.episode_return for row in self.rows)

    @property
    def mean_length(self) -> float | None:
        """Mean over the peers of their recent episode lengths, steps."""
        return mean_of(row.length for row in self.rows)

    @property
    def mean_kl(self) -> float | None:
        """Mean over the peers of the KL that their method penalises, nats."""
        return mean_of(row.kl for row in self.rows)

    @property
    def reward_terms(self) -> dict[str, float]:
        """Mean a step of each named reward term over peers and recent iterations, as the task has.

        Of tasks whose terms are summed at once there are none.
        """
        seen = [peer.get("reward_terms", {}) for one in self._recent for peer in one.iterations]
        names = dict.fromkeys(name for terms in seen for name in terms)
        means = {name: mean_of(terms.get(name) for terms in seen) for name in names}
        return {name: mean for name, mean in means.items() if mean is not None}

    @property
    def best(self) -> list[tuple[int, float]]:
        """Steps and return of each peer's best test, of equal ones the first; [] without a test."""
        ranks = range(self.config.num_peers if self.tests else 0)
        scores = [[(steps, returns[rank]) for steps, returns in self.tests] for rank in ranks]
        return [max(tests, key=lambda test: test[1]) for tests in scores]

    @property
    def best_mean(self) -> float | None:
        """Mean over the peers of their best tests."""
        return mean_of(score for _, score in self.best)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the record of one iteration."""
        peers = record["peers"]
        self.iterations = record["iteration"] + 1
        if self._session == 1:  # the first one's time includes the start of the peers
            self._forget_times()
        self._session += 1
        self._timed += 1
        self._seconds += record["seconds"]
        times = {name: sum(peer["time"].get(name, 0.0) for peer in peers) for name in PHASES}
        self._window.append((record["seconds"], times))
        self.unstable += sum(peer["unstable"] for peer in peers)
        self.rows = [self._row(rank, peer) for rank, peer in enumerate(peers)]
        if (mean := self.mean_return) is not None:
            self.returns.append(mean)
        if all("test" in peer for peer in peers):
            self.tests.append((self.steps, [_number(peer["test"]["return"]) for peer in peers]))

    def _forget_times(self) -> None:
        self._window.clear()
        self._timed, self._seconds = 0, 0.0

    def _row(self, rank: int, peer: Mapping[str, Any]) -> PeerRow:
        recent = self._recent[rank]
        recent.add(peer)
        return PeerRow(
            rank=rank,
            factors=peer["factors"],
            episode_return=recent.mean,
            length=recent.length,
            kl=peer.get("penalty_kl", peer.get("kl_to_peers")),
            entropy=peer["entropy"],
            clip_fraction=peer["clip_fraction"],
            value_loss=peer["value_loss"],
        )


def _number(value: float | None) -> float:
    """Return a return of the journal, which holds one that is not finite as null."""
    return -math.inf if value is None else value
