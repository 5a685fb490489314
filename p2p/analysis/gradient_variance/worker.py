"""Measure at one checkpoint: its peers are restored in one process, a thread each.

Collecting takes no exchange, so the peers do that one after another; then each computes its
gradients in a thread, since methods exchange before a minibatch. Imports torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.exchange.base import Exchange, Phase
from p2p.peer.gradient_variance import GradientVariance
from p2p.peer.peer import Peer
from p2p.peer.reports import split_by_peer
from p2p.runs import RunFolder


class Table:
    """The vectors that the peers of one process exchange."""

    def __init__(self, num_peers: int) -> None:
        self.rows: list[NDArray[Any]] = [np.empty(0)] * num_peers
        self.barrier = threading.Barrier(num_peers)


class ThreadExchange(Exchange):
    """One peer's end of a table: the collective, between threads."""

    def __init__(self, table: Table, rank: int) -> None:
        super().__init__(rank, len(table.rows))
        self._table = table

    def __call__(self, vector: NDArray[Any]) -> NDArray[Any]:
        """Publish `vector` [n] and return those of all peers, [K, n], by rank."""
        table = self._table
        table.rows[self.rank] = vector.copy()
        table.barrier.wait()
        self.shown = np.stack(table.rows)
        table.barrier.wait()
        return self.shown

    def heartbeat(self, phase: Phase | None = None) -> None:
        """Do nothing: peers in threads of one process need no heartbeat."""


def measure_checkpoint(
    folder: Path, milestone: Path, steps: int, minibatches: int, threads: int | None,
    collected: Callable[[int], None],
) -> list[GradientVariance]:  # fmt: skip
    """Return the variance of each peer's gradient at `milestone`, by rank.

    Args:
        folder: the run's.
        steps, minibatches: see `p2p.peer.gradient_variance.measure`.
        threads: that a peer collects in; None: as in training.
        collected: called with the number of steps taken since its last call.

    Raises:
        BadArtefact: the checkpoint is damaged or foreign.
    """
    run = RunFolder.open(folder)
    states = split_by_peer(run.load_milestone(milestone).tensors, run.config.num_peers)
    config = run.config.model_copy(update={"threads_per_peer": threads})
    table, peers, batches = Table(len(states)), [], []
    for rank, state in enumerate(states):
        peer = Peer(rank, config, ThreadExchange(table, rank))
        peer.load_state(state)
        batches.append(peer.fresh_batch(steps))
        collected(len(batches[-1].obs))
        peers.append(peer)

    def measure(rank: int) -> GradientVariance:
        try:
            return peers[rank].gradient_variance(batches[rank], steps, minibatches)
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(len(peers)) as pool:
        futures = [pool.submit(measure, rank) for rank in range(len(peers))]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None and not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in futures]
