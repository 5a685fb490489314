"""The process that a peer lives in: signals, threads, and its pipe to the parent."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch

from p2p.algorithm import run_peer
from p2p.cohort.launch import die_with_parent, orphaned
from p2p.core.config import TrainConfig
from p2p.core.errors import P2PError
from p2p.exchange.shared_memory import Arena, Exchange, Phase
from p2p.peer.reports import State


class Failed(NamedTuple):
    """A peer's last words: what it raised, and for an unforeseen error where."""

    error: P2PError | None
    text: str


def peer_main(
    rank: int, config: TrainConfig, arena: Arena, pipe: Connection, resume: State | None
) -> None:
    """Be peer `rank` until it ends; send what it reports, or what it raised, to the parent."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides: see Arena.ask_stop
    die_with_parent()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, cores_for(rank, config.num_peers, os.sched_getaffinity(0)))
    exchange = Exchange(arena, rank, orphaned)
    exchange.show_life(Phase.STARTING)
    try:
        run_peer(rank, config, exchange, pipe.send, resume)
    except P2PError as error:
        _last_words(pipe, Failed(error, str(error)))
    except Exception:
        _last_words(pipe, Failed(None, traceback.format_exc()))
    finally:
        pipe.close()


def cores_for(rank: int, num_peers: int, cores: Iterable[int]) -> set[int]:
    """Return which of `cores` a peer runs on: all, or one if each gets equally many of more peers.

    Four peers on two cores are moved about by the scheduler, and while three of them share one
    core all four wait for these: 0.82 to 0.89 of the steps/s of two peers, with this 0.87 to 0.88.
    """
    ordered = sorted(cores)
    if num_peers == len(ordered) or num_peers % len(ordered):
        return set(ordered)
    return {ordered[rank % len(ordered)]}


def _last_words(pipe: Connection, failed: Failed) -> None:
    try:
        pipe.send(failed)
    except OSError:  # nobody listens any more
        sys.exit(1)
