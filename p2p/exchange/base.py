"""What a peer asks of the others, whatever lies between them: a collective, life, a stop.

Behind it are shared memory (`shared_memory`), threads of one process
(`p2p.analysis.gradient_variance.worker`) and other machines (`nodes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Phase(IntEnum):
    """What a peer is doing; named in the error message if it dies or hangs."""

    STARTING = 0
    COLLECTING = 1
    UPDATING = 2
    WAITING = 3
    REPORTING = 4
    EVALUATING = 5


class Exchange(ABC):
    """One peer's end of the collective `exchange(vector) -> [K, n]`.

    Every peer must make the same calls in the same order, with equal n and dtype.

    Args:
        rank: of this peer.
        num_peers: K.

    Attributes:
        others: the other peers' ranks.
        waited: seconds spent waiting for others so far.
        across_machines: whether some of the peers are on other machines.
        shown: what all peers published last, [K, n]; None if nothing yet.
    """

    across_machines = False

    def __init__(self, rank: int, num_peers: int) -> None:
        self.rank, self.num_peers = rank, num_peers
        self.others = [k for k in range(num_peers) if k != rank]
        self.waited = 0.0
        self.shown: NDArray[Any] | None = None
        self._begun: NDArray[Any] | None = None
        self._vector: NDArray[Any] = np.empty(0)
        self._rows: dict[tuple[int, str], NDArray[Any]] = {}

    @abstractmethod
    def __call__(self, vector: NDArray[T]) -> NDArray[Any]:
        """Publish `vector` [n] and return what all peers publish, [K, n], by rank.

        The result is a view, valid until this peer's next exchange.

        Raises:
            PeerLost: the cohort ends, since a peer, a machine or the parent was lost.
        """

    def publish(self, vector: NDArray[T]) -> None:
        """Publish `vector` [n] for the `gather` that follows: no other exchange may come between.

        What a peer does in between takes no time where it would have waited.
        """
        self._vector = vector.copy()

    def gather(self) -> NDArray[Any]:
        """Return what all peers have published, [K, n], by rank; see `__call__`."""
        return self(self._vector)

    def begin(self, vector: NDArray[T]) -> None:
        """Publish `vector` [n] for a later `finish`; other exchanges may come between.

        Between machines it travels meanwhile. Within one nothing is gained by that: peers publish
        and wait in `finish`.
        """
        self._begun = vector.copy()

    @property
    def has_begun(self) -> bool:
        """Whether a `begin` waits for its `finish`."""
        return self._begun is not None

    def finish(self) -> NDArray[Any]:
        """Return what all peers published in `begin`, [K, n], by rank.

        The result is valid until this peer's next exchange.
        """
        assert self._begun is not None
        begun, self._begun = self._begun, None
        return self(begun)

    def with_others(self, vector: NDArray[T]) -> NDArray[Any]:
        """Publish `vector` [n] and return what the other peers publish, [K-1, n], by rank.

        The result is valid until this peer's next exchange, as that of `__call__`.
        """
        return self.others_of(self(vector))

    def others_of(self, published: NDArray[T]) -> NDArray[Any]:
        """Return the other peers' rows of `published` [K, n].

        Rows are copied one by one into a buffer: numpy's indexing by a list takes 40 us for three
        actors, this 2.
        """
        if len(self.others) == 1:
            row: NDArray[Any] = published[self.others[0]]
            return row[None]
        key = published.shape[1], published.dtype.char
        rows = self._rows.get(key)
        if rows is None:
            rows = np.empty((len(self.others), published.shape[1]), published.dtype)
            self._rows[key] = rows
        for n, k in enumerate(self.others):
            rows[n] = published[k]
        return rows

    @property
    def stop_requested(self) -> int:
        """The signal by which a stop was requested, else 0; peers may see it at different times."""
        return 0

    @abstractmethod
    def heartbeat(self, phase: Phase | None = None) -> None:
        """Record that this peer is alive, and in which phase."""
