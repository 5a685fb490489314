"""The collective between machines: a leader a node exchanges with the other leaders over gloo.

Within a node it is shared memory, whose arena has slots for all K peers. The node's first peer
is its leader. Once the node's peers have shown their vectors, it sends them to the other leaders,
writes what it receives into the slots of the remote peers, and raises their counters: no other
peer knows that they are remote. Vectors are gathered, and averaged by each peer in rank order:
gloo's own sum has another order with three nodes or more, and other bits.

torch brings gloo; nothing here pickles. Import this late: it imports torch.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, Store, TCPStore

from p2p.core.errors import PeerLost
from p2p.exchange.base import T
from p2p.exchange.place import Place
from p2p.exchange.shared_memory import Arena, Lane, SharedExchange

Bytes = NDArray[np.uint8]

BEAT = timedelta(seconds=0.2)  # between heartbeats while a leader waits for the network
PAUSE = 0.0002  # s, between two looks at what peers of this node have begun ahead
PATIENCE = 30.0  # s, beyond --peer-timeout: who is stuck is to be named first, by its parent
EXPLAINED = 2.0  # s, for the parents to say why a connection broke


def connect(place: Place, timeout: float) -> Store:
    """Return the store at node 0, as a client."""
    return TCPStore(place.address, place.port, is_master=False, timeout=timedelta(seconds=timeout))


def join(store: Store, name: str, place: Place, timeout: float) -> ProcessGroupGloo:
    """Connect this process with one of each other node, by the addresses that `store` passes on.

    It listens on the node's own address alone.

    Args:
        name: of the group.
        timeout: s, of an operation without one of its own.
    """
    options = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    device = {"interface": place.interface} if place.interface else {"hostname": place.own}
    options._devices = [ProcessGroupGloo.create_device(**device)]
    options._timeout = timedelta(seconds=timeout)
    options._threads = 1
    return ProcessGroupGloo(PrefixStore(name, store), place.node, place.num_nodes, options)


class Relay:
    """Sends the rows of this node's peers to all other nodes, and takes theirs.

    Args:
        group: of the leaders.
        spans: the ranks on each node.
        alive: called while this waits; raises what ends the waiting.
    """

    def __init__(
        self, group: Any, place: Place, spans: list[range], alive: Callable[[], None]
    ) -> None:
        self.group, self.alive = group, alive
        self.own = spans[place.node]
        self.remote = [span for node, span in enumerate(spans) if node != place.node]
        self.splits = [(0 if span is self.own else 1, len(span)) for span in spans]
        self._buffers: dict[int, tuple[Bytes, Bytes, list[Any]]] = {}

    def __call__(self, copy: Bytes, size: int) -> None:
        """Complete a turn's `copy` [K, bytes], of which `size` bytes are in use.

        Raises:
            PeerLost: a node cannot be reached any more, or the cohort was aborted.
        """
        sent, received, arguments = self._prepared(size)
        own, others = len(self.own), len(self.remote)
        sent.reshape(others, own, size)[:] = copy[self.own.start : self.own.stop, :size]
        try:
            work = self.group.alltoall_base(*arguments)
            while not self._is_done(work):
                self.alive()
        except RuntimeError as error:
            self._await_reason()
            reason = str(error).partition("] ")[2].partition(". ")[0] or str(error)
            raise PeerLost(f"lost the connection to another node ({reason})") from None
        rows = received.reshape(-1, size)
        start = 0
        for span in self.remote:
            copy[span.start : span.stop, :size] = rows[start : start + len(span)]
            start += len(span)

    def _prepared(self, size: int) -> tuple[Bytes, Bytes, list[Any]]:
        """Return room for what is sent and received, and gloo's arguments; kept for each size."""
        if size not in self._buffers:
            sent = np.empty(len(self.remote) * len(self.own) * size, np.uint8)
            received = np.empty(sum(map(len, self.remote)) * size, np.uint8)
            takes = [other * rows * size for other, rows in self.splits]
            gives = [other * len(self.own) * size for other, _ in self.splits]
            tensors = torch.from_numpy(received), torch.from_numpy(sent)
            self._buffers[size] = sent, received, [*tensors, takes, gives]
        return self._buffers[size]

    @staticmethod
    def _is_done(work: Any) -> bool:
        """Wait for a moment; return whether the collective is through."""
        try:
            work.wait(BEAT)
        except RuntimeError:
            if not work.is_completed():
                return False
            work.wait()  # raises what it failed with; it may also have ended well since
        return True

    def _await_reason(self) -> None:
        """Give the parents time to tell who was lost, which aborts the cohort."""
        deadline = time.monotonic() + EXPLAINED
        while time.monotonic() < deadline:
            self.alive()
            time.sleep(0.01)


class Courier:
    """A leader's thread that relays what was begun ahead, while the leader does other things.

    Args:
        lane: of what is begun ahead.
        relay: of a group of its own.
        mates: the other peers of this node.
    """

    def __init__(self, lane: Lane, relay: Relay, mates: list[int]) -> None:
        self.lane, self.relay, self.mates = lane, relay, mates
        self.error: PeerLost | None = None
        self._jobs: queue.SimpleQueue[tuple[Bytes, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()

    def send(self, copy: Bytes, size: int) -> None:
        """Complete a turn's `copy` as soon as this node's peers have filled theirs."""
        self._jobs.put((copy, size))

    def close(self) -> None:
        """Wait until all has been sent."""
        self._jobs.put(None)
        self._thread.join(EXPLAINED)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                while (self.lane.counters[self.mates] < self.lane.turn).any():
                    self.relay.alive()
                    time.sleep(PAUSE)
                self.relay(*job)
                for span in self.relay.remote:
                    self.lane.raise_counter(slice(span.start, span.stop))
        except PeerLost as error:
            self.error = error


class MemberExchange(SharedExchange):
    """See `Exchange`: the end of a peer whose node's leader brings the remote rows."""

    across_machines = True

    def begin(self, vector: NDArray[T]) -> None:
        """See `Exchange`; it travels from now on."""
        super().begin(vector)
        self._ahead.publish(self.rank, vector)

    def finish(self) -> NDArray[Any]:
        """See `Exchange`."""
        assert self._begun is not None
        begun, self._begun = self._begun, None
        start = time.perf_counter()
        self._wait_for(self.others, self._ahead)
        self.waited += time.perf_counter() - start
        self.shown = self._ahead.rows(begun.nbytes, begun.dtype)
        return self.shown


class LeaderExchange(MemberExchange):
    """See `Exchange`: the end of a node's leader, which brings the other nodes' rows.

    Args:
        spans: the ranks on each node.
        timeout: s, --peer-timeout.

    Raises:
        PeerLost: another node's leader cannot be reached.
    """

    def __init__(
        self, arena: Arena, rank: int, orphaned: Callable[[], bool], place: Place,
        spans: list[range], timeout: float,
    ) -> None:  # fmt: skip
        super().__init__(arena, rank, orphaned)
        self._mates = [k for k in spans[place.node] if k != rank]
        self._first_remote = next(k for k in self.others if k not in spans[place.node])
        self._courier: Courier | None = None
        longest = timeout + PATIENCE
        try:
            store = PrefixStore(f"leaders/{place.attempt}", connect(place, longest))
            self._await_all(store, place)
            now, ahead = (join(store, name, place, longest) for name in ("now", "ahead"))
        except RuntimeError as error:  # torch's
            raise PeerLost(f"lost another node while leaders were meeting ({error})") from None
        self._relay = Relay(now, place, spans, self._live)
        self._courier = Courier(self._ahead, Relay(ahead, place, spans, self._check), self._mates)

    def _await_all(self, store: Store, place: Place) -> None:
        """Wait, with heartbeats, until the leaders of all nodes are about to connect."""
        store.set(str(place.node), "")
        nodes = [str(node) for node in range(place.num_nodes)]
        while not store.check(nodes):
            self._live()
            time.sleep(0.02)

    def _live(self) -> None:
        self.heartbeat()
        self._check()

    def _check(self) -> None:
        self.check_liveness(self._first_remote)

    def check_liveness(self, late: int) -> None:
        """See `SharedExchange`; also whether what travels ahead can still arrive."""
        super().check_liveness(late)
        if self._courier is not None and self._courier.error is not None:
            raise self._courier.error

    def _gather(self, copy: Bytes, size: int) -> None:
        """Wait for the node's own peers, then bring the others' rows for all of them."""
        self._wait_for(self._mates, self._lane)
        self._relay(copy, size)
        for span in self._relay.remote:
            self._lane.raise_counter(slice(span.start, span.stop))

    def begin(self, vector: NDArray[T]) -> None:
        """See `Exchange`; it travels from now on."""
        super().begin(vector)
        assert self._courier is not None
        self._courier.send(self._ahead.slots[self._ahead.turn & 1], vector.nbytes)

    def close(self) -> None:
        """Let what was begun arrive: other nodes may wait for it."""
        if self._courier is not None:
            self._courier.close()
