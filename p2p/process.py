"""The process that a peer lives in: signals, threads, and its pipe to the parent.

This module is what the fork server preloads, so that K peers pay for the imports once
and share their pages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import torch

from p2p.config import TrainConfig
from p2p.errors import P2PError
from p2p.exchange import Arena, Exchange, Phase
from p2p.peer import State, run_peer

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Failed(NamedTuple):
    """A peer's last words: what it raised, and for an unforeseen error where."""

    error: P2PError | None
    text: str


def peer_main(
    rank: int, config: TrainConfig, arena: Arena, pipe: Connection, resume: State | None
) -> None:
    """Be peer `rank` until it ends; send what it reports, or what it raised, to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides: see Arena.ask_stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    torch.set_num_threads(1)
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


def _last_words(pipe: Connection, failed: Failed) -> None:
    try:
        pipe.send(failed)
    except OSError:  # nobody listens any more
        sys.exit(1)


def die_with_parent() -> None:
    """Be killed when the fork server ends, which it does when the training process ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned():  # it ended before the call above
        os._exit(1)


def orphaned() -> bool:
    """Return whether the process that trains is gone."""
    parent: Any = parent_process()
    return parent is not None and bool(wait([parent.sentinel], 0))
