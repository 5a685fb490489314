"""Train a cohort over several machines: node 0 leads, the others follow. Imports torch.

Node 0 has the run folder and shows the run; a follower's peers report to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from p2p.cohort import cohort
from p2p.cohort.events import Event, Noted
from p2p.cohort.nodes.link import Link
from p2p.cohort.nodes.start import Start
from p2p.cohort.peer_process import Failed
from p2p.cohort.supervisor import STOPPED_EARLY, Supervisor
from p2p.core.config import TrainConfig
from p2p.core.errors import Interrupted
from p2p.core.signals import StopSignals
from p2p.envs.build import check_model
from p2p.envs.task import find_task
from p2p.methods import find_method
from p2p.peer import reports

WAITING = "stopped while waiting for other nodes"
TIMEOUT = 300.0  # s, until node 0's own is known


def run(start: Start, max_time: float | None = None) -> Iterator[Event]:
    """Do what was planned for this node.

    Args:
        max_time: as in `cohort.train`; that of node 0 counts.

    Yields:
        On node 0 the events of `cohort.train` or `cohort.resume`; on others Noted.

    Raises:
        UsageError: nodes differ in settings or versions.
        PeerLost: a peer or a node died or hangs, or a node never came.
        P2PError: as `cohort.train`, or another node did.
    """
    if start.place.num_nodes == 1:
        yield from _lead(start, None, max_time)
        return
    timeout = start.config.peer_timeout if start.config else TIMEOUT
    with StopSignals() as signals, signals.raising(WAITING):
        link = Link(start.place, start.config, timeout)
    if start.place.node == 0:
        with link:
            yield from _lead(start, link, max_time)
    else:
        yield from _follow(link)


def _lead(start: Start, link: Link | None, max_time: float | None) -> Iterator[Event]:
    if start.complete:
        if link is not None:
            link.dismiss(start.complete)
        yield Noted(start.complete)
    elif start.resume is not None:
        yield from cohort.resume(start.resume, max_time=max_time, link=link, **start.later)
    else:
        assert start.config is not None
        yield from cohort.train(start.config, out=start.out, max_time=max_time, link=link)


def _follow(link: Link) -> Iterator[Event]:
    """Run this node's peers, and send what they report to node 0."""
    with link, StopSignals() as signals:
        with signals.raising(WAITING):
            begun = link.begun()
        if isinstance(begun, str):
            yield Noted(begun)
            return
        config, states, done = begun
        check_code(config)
        here = ", ".join(map(str, link.ranks))
        yield Noted(f"{link.where}peers {here} of {config.num_peers}; node 0 has the run folder")
        stopped = reports.Stopped(done, 0)
        begun_here = False
        with Supervisor(config, states, signals, STOPPED_EARLY, link) as supervisor:
            for rank, message in supervisor.messages():
                begun_here = begun_here or message is not None
                if signals.received is not None:
                    if not begun_here:
                        raise Interrupted(f"{link.where}{STOPPED_EARLY}", signals.received)
                    supervisor.arena.request_stop(signals.received)
                if isinstance(message, Failed):
                    cohort.raise_failure(rank, message, where=link.where)
                if message is not None:
                    link.report(rank, message)
                if isinstance(message, reports.Iteration):
                    done = max(done, message.iteration + 1)
                if isinstance(message, reports.Stopped):
                    stopped = message
    if stopped.signum:
        raise Interrupted(
            f"stopped after iteration {stopped.completed} of {config.num_iterations}; "
            "the checkpoint is on node 0",
            signals.received or stopped.signum,
        )
    yield Noted(f"{link.where}complete after iteration {done}")


def check_code(config: TrainConfig) -> None:
    """Raise BadArtefact or UsageError if the run's task or method here is missing or another."""
    find_task(config.task)
    find_method(config.method)
    check_model(config.task, config.source_sha256)
