"""Algorithm 1, as one peer runs it."""

from __future__ import annotations

from p2p.core.config import TrainConfig
from p2p.exchange.shared_memory import Exchange, Phase
from p2p.peer.peer import Peer
from p2p.peer.reports import Ended, Iteration, Milestone, Report, State, Stopped


def run_peer(
    rank: int, config: TrainConfig, exchange: Exchange, report: Report, resume: State | None = None
) -> None:
    """Live Algorithm 1 as peer `rank`; [n] is the paper's line.

    Departs from it once: line 11 updates the peers in turn, here all K step at once
    from what was shown before the minibatch.

    Args:
        exchange: this peer's end of the cohort's collective.
        report: told of each iteration, each checkpoint, and the end.
        resume: the state of a checkpoint to continue from.
    """
    peer = Peer(rank, config, exchange)  # [2-3]
    peer.load_state(resume)
    if resume is not None and peer.iteration == config.num_iterations:
        report(peer.checkpoint())  # killed before its score, and perhaps before its policy
    if resume is None and config.is_milestone(0):
        report(Milestone(0, peer.state()))
    stop = False
    while peer.iteration < config.num_iterations and not stop:  # [4]
        if config.grad_variance_every and peer.iteration % config.grad_variance_every == 0:
            peer.look_at_gradient()
        peer.enter_domain()  # [6]
        batch, stop = peer.collect()  # [7], [14]
        for minibatch in peer.minibatches(batch):  # [9-10], [12]
            peer.update(minibatch)  # [13], [15]
        peer.end_iteration()
        exchange.show_life(Phase.REPORTING)
        report(Iteration(peer.iteration - 1, peer.metrics(batch)))
        if config.is_milestone(peer.iteration):
            report(Milestone(peer.iteration, peer.state()))
        last = stop or peer.iteration == config.num_iterations
        if last or peer.iteration % config.checkpoint_every == 0:
            report(peer.checkpoint())
    report(Stopped(peer.iteration) if stop else Ended(peer.iteration, peer.final_score()))
