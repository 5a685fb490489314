"""The collective: what it returns, in which order, and how it ends."""

from __future__ import annotations

import os
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from p2p.core.errors import NoRoom, PeerLost
from p2p.exchange.shared_memory import Arena, SharedExchange, check_shm


def run_all(arena: Arena, body) -> list:
    """Run `body(exchange)` for every rank in a thread of its own; return results by rank."""
    results: list = [None] * arena.num_peers

    def run(rank: int) -> None:
        try:
            results[rank] = body(SharedExchange(arena, rank))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(arena.num_peers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.parametrize("num_peers", [1, 2, 4])
def test_every_peer_sees_what_every_peer_showed_this_turn(num_peers):
    """200 turns with peers of uneven speed: no stale row, no row of the next turn."""
    arena = Arena(num_peers, 64)

    def body(exchange: SharedExchange) -> bool:
        rng = np.random.default_rng(exchange.rank)
        for turn in range(200):
            own = np.full(8, 1000.0 * turn + exchange.rank, np.float32)
            shown = exchange(own)
            if rng.random() < 0.05:
                time.sleep(0.001)
            expected = 1000.0 * turn + np.arange(num_peers)
            if not (shown == expected[:, None]).all():
                return False
        return True

    assert run_all(arena, body) == [True] * num_peers


@pytest.mark.parametrize("num_peers", [1, 2, 4])
def test_what_the_others_show_is_all_but_the_own_row(num_peers):
    """In their order, and as it is this turn."""
    arena = Arena(num_peers, 64)

    def body(exchange: SharedExchange) -> list[list[float]]:
        seen = []
        for turn in range(3):
            own = np.full(2, 10.0 * turn + exchange.rank, np.float32)
            others = exchange.with_others(own)
            assert others.shape == (num_peers - 1, 2)
            seen.append(others[:, 1].tolist())
        return seen

    ranks = range(num_peers)
    assert run_all(arena, body) == [
        [[10.0 * turn + k for k in ranks if k != rank] for turn in range(3)] for rank in ranks
    ]


def test_float64_travels_bit_for_bit():
    """Moments are float64; the slots are bytes, so nothing is rounded."""
    arena = Arena(2, 64)
    value = np.array([0.1, 1e300, -0.0, np.pi])
    for shown in run_all(arena, lambda exchange: exchange(value).copy()):
        assert shown.dtype == np.float64
        assert (shown.view(np.int64) == value.view(np.int64)).all()


def test_a_waiter_leaves_when_the_cohort_is_called_off():
    """A dead peer never arrives; the others must not wait for ever."""
    arena = Arena(2, 64)
    threading.Timer(0.1, arena.abort).start()
    with pytest.raises(PeerLost, match="aborted while peer 0 waited for 1"):
        SharedExchange(arena, 0)(np.zeros(1, np.float32))


def test_a_waiter_leaves_when_its_parent_is_gone():
    arena = Arena(2, 64)
    with pytest.raises(PeerLost, match="parent of peer 1 is gone"):
        SharedExchange(arena, 1, orphaned=lambda: True)(np.zeros(1, np.float32))


def test_a_waiting_peer_sends_heartbeats():
    """So that the parent blames the peer that hangs, not those that wait for it."""
    arena = Arena(2, 64)
    threading.Timer(0.2, arena.abort).start()
    before = time.monotonic_ns()
    with pytest.raises(PeerLost):
        SharedExchange(arena, 0)(np.zeros(1, np.float32))
    assert arena.heartbeats[0, 0] > before + 1e8
    assert arena.heartbeats[1, 0] == 0


def test_nothing_lies_in_dev_shm():
    """Segments are unlinked at once, so no way of dying leaves one behind."""
    shm = Path("/dev/shm")
    before = set(shm.iterdir())
    arena = Arena(4, 1 << 20)
    assert set(shm.iterdir()) == before
    assert arena.slots.shape == (2, 4, 1 << 20)


def test_too_small_a_shm_is_refused_before_it_faults(monkeypatch):
    """Memory files hand out pages at the first write: without the check that is a SIGBUS."""
    stat = namedtuple("stat", "f_bavail f_frsize")(10, 4096)
    monkeypatch.setattr(os, "statvfs", lambda _: stat)
    check_shm(40_960)
    with pytest.raises(NoRoom, match=r"/dev/shm has 0.0 MiB free.*fewer peers"):
        check_shm(40_961)
