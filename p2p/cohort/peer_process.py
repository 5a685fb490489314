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
from p2p.exchange.shared_memory import Arena, Exchange, Phase
from p2p.peer.reports import State


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
) -> None:
    """Run peer `rank` to its end; send its reports, or the error that it raised, to the parent.

    Args:
        sources: of the user's tasks and methods that the parent has loaded.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent handles them: see Arena.request_stop
    die_with_parent()
    import torch  # which the fork server has imported; the parent needs none

    torch.set_num_threads(1)
    run_on(cores_for(rank, config.num_peers, usable_cores()))
    exchange = Exchange(arena, rank, orphaned)
    exchange.heartbeat(Phase.STARTING)
    try:
        registry.add_sources(sources)
        run_peer(rank, config, exchange, pipe.send, resume)
    except Exception as error:
        told = limits.explained(error) or error
        if isinstance(told, P2PError):
            send_failure(pipe, Failed(told, str(told)))
        else:
            send_failure(pipe, Failed(None, traceback.format_exc()))
    finally:
        pipe.close()


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
