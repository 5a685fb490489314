"""Algorithm 1, as one peer runs it."""

from __future__ import annotations

from p2p.core.config import TrainConfig
from p2p.exchange.base import Exchange
from p2p.peer.peer import Peer
from p2p.peer.reports import Report, State


def run_peer(
    rank: int, config: TrainConfig, exchange: Exchange, report: Report, resume: State | None = None
) -> None:
    """Run Algorithm 1 as peer `rank`; [n] is the paper's line.

    Departs from it once: line 11 updates the peers in turn, here all K step at once
    from what was shown before the minibatch.

    Args:
        exchange: this peer's end of the cohort's collective.
        report: told of each iteration, each checkpoint, and the end.
        resume: the state of a checkpoint to continue from.
    """
    peer = Peer(rank, config, exchange, report)  # [2-3]
    peer.begin(resume)
    while peer.goes_on:  # [4]
        peer.enter_domain()  # [6]
        batch = peer.collect()  # [7], [14]
        for minibatch in peer.minibatches(batch):  # [9-10], [12]
            peer.update(minibatch)  # [13], [15]
        peer.end_iteration(batch)
    peer.end()
