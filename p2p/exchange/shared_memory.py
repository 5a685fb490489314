"""The one collective, `exchange(vector) -> [K, n]`, over shared memory.

An `Arena` is allocated by the parent before the peers start. Each peer owns a slot in
each of two copies, and a counter. To exchange for the n-th time, a peer writes its slot
of copy n mod 2, raises its counter to n, and waits until all counters have reached n.
One wait an exchange is enough: nobody overwrites copy n before all have arrived at
n + 1, and whoever arrives at n + 1 has finished reading copy n.

`multiprocessing.Barrier` is not used: a waiter that is killed leaves it hanging past
its timeout (CPython issue 123899), and it costs several times as much.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from p2p.core.errors import NoRoom, PeerLost

CACHE_LINE = 64  # bytes: a counter alone on its line is not invalidated by its neighbours
SPINS_BETWEEN_CHECKS = 2048  # spins are ~1 us; a check is a sign of life and a look around

T = TypeVar("T", bound=np.generic)


class Phase(IntEnum):
    """What a peer is doing, for the message if it is lost there."""

    STARTING = 0
    COLLECTING = 1
    UPDATING = 2
    WAITING = 3
    REPORTING = 4
    EVALUATING = 5


class Arena:
    """Shared memory of a cohort of K peers; pass it to their processes as it is.

    The segments are unlinked as soon as they are made (torch's `file_descriptor`
    sharing), so nothing is left in /dev/shm however the processes end.

    Raises:
        NoRoom: /dev/shm is too small.
    """

    def __init__(self, num_peers: int, slot_bytes: int) -> None:
        self.num_peers = num_peers
        self.slot_bytes = -(-slot_bytes // CACHE_LINE) * CACHE_LINE
        need = 2 * num_peers * self.slot_bytes + (num_peers + 1) * CACHE_LINE * 2
        check_shm(need)
        words = CACHE_LINE // 8
        try:
            torch.multiprocessing.set_sharing_strategy("file_descriptor")  # type: ignore[no-untyped-call]
            self._slots = torch.zeros(2, num_peers, self.slot_bytes, dtype=torch.uint8)
            self._counters = torch.zeros(num_peers, words, dtype=torch.int64)
            self._life = torch.zeros(num_peers, words, dtype=torch.int64)
            self._control = torch.zeros(words, dtype=torch.int64)
            for tensor in (self._slots, self._counters, self._life, self._control):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise NoRoom(f"no shared memory for {need} bytes ({error}); enlarge /dev/shm") from None

    @property
    def slots(self) -> NDArray[np.uint8]:
        """[2, K, slot_bytes]."""
        return self._slots.numpy()

    @property
    def counters(self) -> NDArray[np.int64]:
        """[K], how many exchanges each peer has entered."""
        return self._counters.numpy()[:, 0]

    @property
    def life(self) -> NDArray[np.int64]:
        """[K, 2+]: when each peer last showed life (monotonic, ns), and its `Phase`."""
        return self._life.numpy()

    @property
    def control(self) -> NDArray[np.int64]:
        """[2+]: the parent asks to stop after this iteration; the parent calls it off."""
        return self._control.numpy()

    def ask_stop(self) -> None:
        """Ask the peers to end after the running iteration."""
        self.control[0] = 1

    def abort(self) -> None:
        """Release every waiting peer; it raises PeerLost."""
        self.control[1] = 1


class Exchange:
    """One peer's end of an arena.

    Attributes:
        waited: seconds spent waiting for others so far.
    """

    def __init__(
        self, arena: Arena, rank: int, orphaned: Callable[[], bool] = lambda: False
    ) -> None:
        self.rank, self.num_peers = rank, arena.num_peers
        self.others = [k for k in range(arena.num_peers) if k != rank]
        self.waited = 0.0
        self._arena, self._orphaned = arena, orphaned
        self._slots, self._counters = arena.slots, arena.counters
        self._life, self._control = arena.life[rank], arena.control
        self._turn = 0
        self._fence = threading.Lock()
        self._rows: dict[tuple[int, str], NDArray[Any]] = {}

    def __call__(self, vector: NDArray[T]) -> NDArray[Any]:
        """Show `vector` [n] to all peers and return what all show, [K, n], by rank.

        Every peer must call with the same n and dtype. The result is a view, valid until
        this peer's next exchange.

        Raises:
            PeerLost: the cohort was called off, or the parent died.
        """
        self._turn += 1
        copy, size = self._slots[self._turn & 1], vector.nbytes
        copy[self.rank, :size] = vector.view(np.uint8)
        # Taking and releasing a lock is a full fence: on ARM the counter must not be seen
        # before the slot. x86 keeps stores in order and pays 60 ns.
        with self._fence:
            self._counters[self.rank] = self._turn
        if self.others:
            self._wait()
        with self._fence:
            shown: NDArray[Any] = copy[:, :size].view(vector.dtype)
            return shown

    def with_others(self, vector: NDArray[T]) -> NDArray[Any]:
        """Show `vector` [n] to all peers and return what the others show, [K-1, n], by rank.

        As `__call__`, also in how long it is valid. Rows are copied one by one into the same
        room: numpy's indexing by a list takes 40 us for three actors, this 2.
        """
        shown = self(vector)
        if len(self.others) == 1:
            row: NDArray[Any] = shown[self.others[0]]
            return row[None]
        rows = self._rows.get((vector.size, vector.dtype.char))
        if rows is None:
            rows = np.empty((len(self.others), vector.size), vector.dtype)
            self._rows[vector.size, vector.dtype.char] = rows
        for n, k in enumerate(self.others):
            rows[n] = shown[k]
        return rows

    def _wait(self) -> None:
        """Spin, giving way to other processes, until all peers have entered this turn."""
        counters, turn = self._counters, self._turn
        start, spins = time.perf_counter(), 0
        for k in self.others:
            while counters[k] < turn:
                os.sched_yield()
                spins += 1
                if spins % SPINS_BETWEEN_CHECKS == 0:
                    self._look_around(k)
        self.waited += time.perf_counter() - start

    def _look_around(self, late: int) -> None:
        self.show_life()
        if self._control[1]:
            raise PeerLost(f"the cohort was called off while peer {self.rank} waited for {late}")
        if self._orphaned():
            raise PeerLost(f"the parent of peer {self.rank} is gone")

    def show_life(self, phase: Phase | None = None) -> None:
        """Tell the parent that this peer lives, and what it is doing."""
        self._life[0] = time.monotonic_ns()
        if phase is not None:
            self._life[1] = phase

    @property
    def stop_asked(self) -> bool:
        """Whether the parent asked to stop; peers may see it at different moments."""
        return bool(self._control[0])


def check_shm(need: int) -> None:
    """Raise NoRoom unless /dev/shm has `need` free bytes (tmpfs would fault on write)."""
    try:
        shm = os.statvfs("/dev/shm")
    except OSError as error:
        raise NoRoom(f"/dev/shm cannot be used ({error.strerror}); mount a tmpfs there") from None
    free = shm.f_bavail * shm.f_frsize
    if free < need:
        raise NoRoom(
            f"/dev/shm has {free / 2**20:.1f} MiB free, the peers' exchange needs "
            f"{need / 2**20:.1f}; free some, enlarge it (in a container: --shm-size), "
            "or use fewer peers"
        )
