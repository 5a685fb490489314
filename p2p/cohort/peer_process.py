"""The process of one peer: its signals, threads and cores, and its pipe to the parent."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from p2p.algorithm import run_peer
from p2p.cohort.launch import die_with_parent, orphaned
from p2p.core import limits, registry
from p2p.core.config import TrainConfig
from p2p.core.errors import P2PError
from p2p.core.platform import STOP_SIGNALS, run_on, usable_cores
from p2p.core.registry import Source
from p2p.envs.build import build_envs
from p2p.envs.groups import gains_by_threads
from p2p.exchange.base import Phase
from p2p.exchange.place import Place
from p2p.exchange.shared_memory import Arena, SharedExchange
from p2p.peer.reports import State
from p2p.peer.sampler import threads_of

CLOSED = object()  # in the parent's inbox: a peer has no more to say
Nodes = tuple[Place, list[range]]  # this machine's place, and the ranks on each node


class Failed(NamedTuple):
    """The last message of a peer that failed."""

    error: P2PError | None  # None: an unforeseen error
    text: str  # its message, or the traceback of an unforeseen one


def peer_main(
    rank: int,
    config: TrainConfig,
    arena: Arena,
    pipe: Connection,
    resume: State | None,
    sources: Sequence[Source],
    nodes: Nodes | None = None,
) -> None:
    """Run peer `rank` to its end; send its reports, or the error that it raised, to the parent.

    Args:
        sources: of the user's tasks and methods that the parent has loaded.
        nodes: of a cohort over several machines.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent handles them: see Arena.request_stop
    die_with_parent()
    import torch  # which the fork server has imported; the parent needs none

    torch.set_num_threads(1)
    here = nodes[1][nodes[0].node] if nodes else range(config.num_peers)
    run_on(cores_for(rank - here.start, len(here), usable_cores()))
    SharedExchange(arena, rank).heartbeat(Phase.STARTING)
    try:
        registry.add_sources(sources)
        exchange = exchange_of(arena, rank, config, nodes)
        run_peer(rank, with_threads(config, len(here)), exchange, pipe.send, resume)
        exchange.close()
    except Exception as error:
        told = limits.explained(error) or error
        if isinstance(told, P2PError):
            send_failure(pipe, Failed(told, str(told)))
        else:
            send_failure(pipe, Failed(None, traceback.format_exc()))
    finally:
        pipe.close()


def exchange_of(
    arena: Arena, rank: int, config: TrainConfig, nodes: Nodes | None
) -> SharedExchange:
    """Return the peer's end of the cohort's collective."""
    if nodes is None:
        return SharedExchange(arena, rank, orphaned)
    from p2p.exchange.nodes import LeaderExchange, MemberExchange  # brings gloo

    place, spans = nodes
    if rank != spans[place.node].start:
        return MemberExchange(arena, rank, orphaned)
    return LeaderExchange(arena, rank, orphaned, place, spans, config.peer_timeout)


def with_threads(config: TrainConfig, num_here: int) -> TrainConfig:
    """Return the config with a peer's share of this machine's cores, if peers are elsewhere too.

    Args:
        num_here: peers on this machine.
    """
    if num_here == config.num_peers:
        return config
    threads = threads_of(config.model_copy(update={"num_peers": num_here}))
    if threads > 1 and not gains_by_threads(build_envs(config.task, 1, config.randomisation)):
        return config
    return config.model_copy(update={"threads_per_peer": threads})


def cores_for(rank: int, num_peers: int, cores: Iterable[int]) -> set[int]:
    """Return which of `cores` a peer runs on.

    One core if there are more peers than cores and each core gets equally many; else all cores.
    The scheduler would move four peers about on two cores, and while three of them share a core
    all four wait: 0.82 to 0.89 of the steps/s of two peers, with fixed cores 0.87 to 0.88.
    """
    ordered = sorted(cores)
    if num_peers == len(ordered) or num_peers % len(ordered):
        return set(ordered)
    return {ordered[rank % len(ordered)]}


def send_failure(pipe: Connection, failed: Failed) -> None:
    """Send the last message; exit with 1 if the parent has closed the pipe."""
    try:
        pipe.send(failed)
    except OSError:
        sys.exit(1)
