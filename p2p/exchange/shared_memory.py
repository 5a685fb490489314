"""The collective within a machine, over shared memory.

An `Arena` is allocated by the parent before the peers start. Each peer owns a slot in
each of two copies, and a counter. To exchange for the n-th time, a peer writes its slot
of copy n mod 2, raises its counter to n, and waits until all counters have reached n.
One wait per exchange is enough: no peer overwrites copy n before all have arrived at
n + 1, and a peer that arrives at n + 1 has finished reading copy n.

Such copies and counters are a `Lane`. Where the cohort spans machines a second one serves
`begin` and `finish`, so that what travels ahead is in nobody's way.

`multiprocessing.Barrier` is not used: a waiter that is killed leaves it hanging past
its timeout (CPython issue 123899), and it costs several times as much.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing import heap
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import NoRoom, PeerLost
from p2p.core.platform import free_shared_memory, yield_core
from p2p.exchange.base import Exchange, Phase, T

CACHE_LINE = 64  # bytes: a counter alone on its line is not invalidated by its neighbours
# Looks for a late peer: ~1 us each at first, then between naps. A peer that spins takes the core
# from one that works where others run too, and a container's quota from all of its peers.
SPINS = 1000
NAP = 50e-6  # s
LOOKS_BETWEEN_CHECKS = 2048  # a check is a heartbeat and `check_liveness`
WORDS = ("counters", "heartbeats", "ahead")  # a cache line a peer each; then one for `control`


class Arena:
    """Shared memory of a cohort of K peers; pass it to their processes unchanged.

    One file without a name in /dev/shm (where there is none, among the temporary files), so
    nothing is left however the processes end.

    Args:
        slot_bytes: room for a peer's largest exchange.
        ahead_bytes: room for what a peer begins and finishes later; 0: none does so.

    Raises:
        NoRoom: /dev/shm is too small.
    """

    def __init__(self, num_peers: int, slot_bytes: int, ahead_bytes: int = 0) -> None:
        self.num_peers = num_peers
        self.slot_bytes, self.ahead_bytes = (
            -(-size // CACHE_LINE) * CACHE_LINE for size in (slot_bytes, ahead_bytes)
        )
        need = self.slots_bytes + (len(WORDS) * num_peers + 1) * CACHE_LINE
        check_shm(need)
        if free_shared_memory() is None:  # Linux without /dev/shm: Python would look there
            heap.Arena._dir_candidates = []  # type: ignore[attr-defined]
        try:
            self._memory = RawArray("B", need + CACHE_LINE)  # zeros; room to start at a cache line
        except (OSError, MemoryError) as error:
            raise NoRoom(f"no shared memory for {need} bytes ({error}); enlarge /dev/shm") from None

    def _view(self, start: int, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes from `start` on."""
        memory = np.frombuffer(self._memory, np.uint8)
        start += -memory.ctypes.data % CACHE_LINE
        return memory[start : start + size]

    @property
    def slots_bytes(self) -> int:
        """Size of both copies of all slots, in both lanes."""
        return 2 * self.num_peers * (self.slot_bytes + self.ahead_bytes)

    @property
    def slots(self) -> NDArray[np.uint8]:
        """[2, K, slot_bytes]."""
        K, size = self.num_peers, self.slot_bytes
        return self._view(0, 2 * K * size).reshape(2, K, size)

    @property
    def counters(self) -> NDArray[np.int64]:
        """[K], how many exchanges each peer has entered."""
        return self._words_of("counters")[:, 0]

    def lanes(self) -> tuple[Lane, Lane]:
        """Return the lane of exchanges, and that of those begun ahead."""
        K, size = self.num_peers, self.ahead_bytes
        ahead = self._view(2 * K * self.slot_bytes, 2 * K * size).reshape(2, K, size)
        return Lane(self.slots, self.counters), Lane(ahead, self._words_of("ahead")[:, 0])

    @property
    def heartbeats(self) -> NDArray[np.int64]:
        """[K, 2+]: time of each peer's last heartbeat (monotonic, ns), and its `Phase`."""
        return self._words_of("heartbeats")

    @property
    def control(self) -> NDArray[np.int64]:
        """[2+], what the parent sets: the signal to stop by, after this iteration; abort now."""
        start = self.slots_bytes + len(WORDS) * self.num_peers * CACHE_LINE
        words: NDArray[np.int64] = self._view(start, CACHE_LINE).view(np.int64)
        return words

    def _words_of(self, name: str) -> NDArray[np.int64]:
        size = self.num_peers * CACHE_LINE
        start = self.slots_bytes + WORDS.index(name) * size
        words: NDArray[np.int64] = self._view(start, size).view(np.int64)
        return words.reshape(self.num_peers, -1)

    def request_stop(self, signum: int = 1) -> None:
        """Request that the peers end after the current iteration, because of a signal."""
        self.control[0] = signum

    def abort(self) -> None:
        """Release every waiting peer; it raises PeerLost."""
        self.control[1] = 1


class Lane:
    """Two copies of K slots, with counters, and how far this peer has come.

    Args:
        slots: [2, K, bytes].
        counters: [K], how many turns each peer has published.
    """

    def __init__(self, slots: NDArray[np.uint8], counters: NDArray[np.int64]) -> None:
        self.slots, self.counters, self.turn = slots, counters, 0
        self._fence = threading.Lock()

    def publish(self, rank: int, vector: NDArray[Any]) -> None:
        """Show `vector` as that of peer `rank` in its next turn."""
        self.turn += 1
        self.slots[self.turn & 1, rank, : vector.nbytes] = vector.view(np.uint8)
        self.raise_counter(rank)

    def raise_counter(self, ranks: int | slice) -> None:
        """Say that slots of this turn are filled.

        Taking and releasing a lock is a full fence: on ARM the counter must not be seen before
        the slot. x86 keeps stores in order and pays 60 ns.
        """
        with self._fence:
            self.counters[ranks] = self.turn

    def rows(self, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return what all have shown this turn, [K, n], once all have arrived."""
        with self._fence:
            shown: NDArray[Any] = self.slots[self.turn & 1, :, :size].view(dtype)
            return shown


class SharedExchange(Exchange):
    """See `Exchange`: one peer's end of an arena.

    Args:
        orphaned: says whether the parent is gone.
    """

    def __init__(
        self, arena: Arena, rank: int, orphaned: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(rank, arena.num_peers)
        self._orphaned = orphaned
        self._lane, self._ahead = arena.lanes()
        self._heartbeat, self._control = arena.heartbeats[rank], arena.control
        self._published: tuple[int, np.dtype[Any]]

    def __call__(self, vector: NDArray[T]) -> NDArray[Any]:
        """See `Exchange`."""
        self.publish(vector)
        return self.gather()

    def publish(self, vector: NDArray[T]) -> None:
        """See `Exchange`."""
        self._lane.publish(self.rank, vector)
        self._published = vector.nbytes, vector.dtype

    def gather(self) -> NDArray[Any]:
        """See `Exchange`."""
        return self._rows_of(self._lane, *self._published)

    def _rows_of(self, lane: Lane, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Wait for what all peers show in the lane's turn, `size` bytes each; return it."""
        if self.others:
            start = time.perf_counter()
            self._complete(lane, size)
            self.waited += time.perf_counter() - start
        self.shown = lane.rows(size, dtype)
        return self.shown

    def _complete(self, lane: Lane, size: int) -> None:
        """Wait until the lane's turn has `size` bytes of each peer."""
        self._wait_for(self.others, lane)

    def _wait_for(self, ranks: Iterable[int], lane: Lane) -> None:
        """Wait until these peers have entered the turn: yield to other processes, then sleep."""
        counters, turn, looks = lane.counters, lane.turn, 0
        for k in ranks:
            while counters[k] < turn:
                if looks < SPINS:
                    yield_core()
                else:
                    time.sleep(NAP)
                looks += 1
                if looks % LOOKS_BETWEEN_CHECKS == 0:
                    self.heartbeat()
                    self.check_liveness(k)

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

    def close(self) -> None:
        """Leave: this peer exchanges nothing more."""

    @property
    def stop_requested(self) -> int:
        """The signal by which the parent has requested a stop; 0 if it has not."""
        return int(self._control[0])


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
