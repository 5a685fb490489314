"""The one collective, `exchange(vector) -> [K, n]`, over shared memory.

An `Arena` is allocated by the parent before the peers start. Each peer owns a slot in
each of two copies, and a counter. To exchange for the n-th time, a peer writes its slot
of copy n mod 2, raises its counter to n, and waits until all counters have reached n.
One wait per exchange is enough: no peer overwrites copy n before all have arrived at
n + 1, and a peer that arrives at n + 1 has finished reading copy n.

`multiprocessing.Barrier` is not used: a waiter that is killed leaves it hanging past
its timeout (CPython issue 123899), and it costs several times as much.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import IntEnum
from multiprocessing import heap
from multiprocessing.sharedctypes import RawArray
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import NoRoom, PeerLost
from p2p.core.platform import free_shared_memory, yield_core

CACHE_LINE = 64  # bytes: a counter alone on its line is not invalidated by its neighbours
# Looks for a late peer: ~1 us each at first, then between naps. A peer that spins takes the core
# from one that works where others run too, and a container's quota from all of its peers.
SPINS = 1000
NAP = 50e-6  # s
LOOKS_BETWEEN_CHECKS = 2048  # a check is a heartbeat and `check_liveness`

T = TypeVar("T", bound=np.generic)


class Phase(IntEnum):
    """What a peer is doing; named in the error message if it dies or hangs."""

    STARTING = 0
    COLLECTING = 1
    UPDATING = 2
    WAITING = 3
    REPORTING = 4
    EVALUATING = 5


class Arena:
    """Shared memory of a cohort of K peers; pass it to their processes unchanged.

    One file without a name in /dev/shm (where there is none, among the temporary files), so
    nothing is left however the processes end.

    Raises:
        NoRoom: /dev/shm is too small.
    """

    def __init__(self, num_peers: int, slot_bytes: int) -> None:
        self.num_peers = num_peers
        self.slot_bytes = -(-slot_bytes // CACHE_LINE) * CACHE_LINE
        need = 2 * num_peers * self.slot_bytes + (2 * num_peers + 1) * CACHE_LINE
        check_shm(need)
        if free_shared_memory() is None:  # Linux without /dev/shm: Python would look there
            heap.Arena._dir_candidates = []  # type: ignore[attr-defined]
        try:
            self._memory = RawArray("B", need + CACHE_LINE)  # zeros; room to start at a cache line
        except (OSError, MemoryError) as error:
            raise NoRoom(f"no shared memory for {need} bytes ({error}); enlarge /dev/shm") from None

    def _view(self, lines: int, count: int) -> NDArray[np.uint8]:
        """Return `count` cache lines after `lines` others, which follow the slots."""
        memory = np.frombuffer(self._memory, np.uint8)
        start = -memory.ctypes.data % CACHE_LINE + self.slots_bytes + lines * CACHE_LINE
        return memory[start : start + count * CACHE_LINE]

    @property
    def slots_bytes(self) -> int:
        """Size of both copies of all slots."""
        return 2 * self.num_peers * self.slot_bytes

    @property
    def slots(self) -> NDArray[np.uint8]:
        """[2, K, slot_bytes]."""
        lines = self.slots_bytes // CACHE_LINE
        return self._view(-lines, lines).reshape(2, self.num_peers, self.slot_bytes)

    @property
    def counters(self) -> NDArray[np.int64]:
        """[K], how many exchanges each peer has entered."""
        return self._words_of(0, self.num_peers)[:, 0]

    @property
    def heartbeats(self) -> NDArray[np.int64]:
        """[K, 2+]: time of each peer's last heartbeat (monotonic, ns), and its `Phase`."""
        return self._words_of(self.num_peers, self.num_peers)

    @property
    def control(self) -> NDArray[np.int64]:
        """[2+], flags that the parent sets: stop after this iteration; abort now."""
        row: NDArray[np.int64] = self._words_of(2 * self.num_peers, 1)[0]
        return row

    def _words_of(self, first: int, count: int) -> NDArray[np.int64]:
        words: NDArray[np.int64] = self._view(first, count).view(np.int64).reshape(count, -1)
        return words

    def request_stop(self) -> None:
        """Request that the peers end after the current iteration."""
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
        self._heartbeat, self._control = arena.heartbeats[rank], arena.control
        self._turn = 0
        self._fence = threading.Lock()
        self._rows: dict[tuple[int, str], NDArray[Any]] = {}

    def __call__(self, vector: NDArray[T]) -> NDArray[Any]:
        """Publish `vector` [n] and return what all peers publish, [K, n], by rank.

        Every peer must call with the same n and dtype. The result is a view, valid until
        this peer's next exchange.

        Raises:
            PeerLost: the parent aborted the cohort, or died.
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
            published: NDArray[Any] = copy[:, :size].view(vector.dtype)
            return published

    def with_others(self, vector: NDArray[T]) -> NDArray[Any]:
        """Publish `vector` [n] and return what the other peers publish, [K-1, n], by rank.

        The result is valid until this peer's next exchange, as that of `__call__`. Rows are copied
        one by one into a buffer: numpy's indexing by a list takes 40 us for three actors, this 2.
        """
        published = self(vector)
        if len(self.others) == 1:
            row: NDArray[Any] = published[self.others[0]]
            return row[None]
        rows = self._rows.get((vector.size, vector.dtype.char))
        if rows is None:
            rows = np.empty((len(self.others), vector.size), vector.dtype)
            self._rows[vector.size, vector.dtype.char] = rows
        for n, k in enumerate(self.others):
            rows[n] = published[k]
        return rows

    def _wait(self) -> None:
        """Wait until all peers have entered this turn: yield to other processes, then sleep."""
        counters, turn = self._counters, self._turn
        start, looks = time.perf_counter(), 0
        for k in self.others:
            while counters[k] < turn:
                if looks < SPINS:
                    yield_core()
                else:
                    time.sleep(NAP)
                looks += 1
                if looks % LOOKS_BETWEEN_CHECKS == 0:
                    self.heartbeat()
                    self.check_liveness(k)
        self.waited += time.perf_counter() - start

    def check_liveness(self, late: int) -> None:
        """Raise PeerLost if there is no use in waiting for peer `late`."""
        if self._control[1]:
            raise PeerLost(f"the cohort was aborted while peer {self.rank} waited for {late}")
        if self._orphaned():
            raise PeerLost(f"the parent of peer {self.rank} is gone")

    def heartbeat(self, phase: Phase | None = None) -> None:
        """Record, for the parent, that this peer is alive and in which phase."""
        self._heartbeat[0] = time.monotonic_ns()
        if phase is not None:
            self._heartbeat[1] = phase

    @property
    def stop_requested(self) -> bool:
        """Whether the parent has requested a stop; peers may see this at different times."""
        return bool(self._control[0])


def check_shm(need: int) -> None:
    """Raise NoRoom unless /dev/shm, if there is one, has `need` free bytes.

    Memory files hand out pages at the first write, which would be a SIGBUS.
    """
    free = free_shared_memory()
    if free is not None and free < need:
        raise NoRoom(
            f"/dev/shm has {free / 2**20:.1f} MiB free, the peers' exchange needs "
            f"{need / 2**20:.1f}; free some, enlarge it (in a container: --shm-size), "
            "or use fewer peers"
        )
