"""The collective between machines: a leader a node exchanges with the other leaders over gloo.

Within a node it is shared memory, whose arena has slots for all K peers. The node's first peer
is its leader. Once the node's peers have shown their vectors, it sends them to the other leaders,
writes what it receives into the slots of the remote peers, and raises their counters: no other
peer knows that they are remote. Vectors are gathered, and averaged by each peer in rank order:
gloo's own sum has another order with three nodes or more, and other bits.

gloo asks a receiver before it sends, which takes a round trip, unless the receiver has said
before that it is ready. So leaders do not use its collectives: they post receives for turns to
come, and an exchange takes the time of one way.

torch brings gloo; nothing here pickles. Import this late: it imports torch.
"""

from __future__ import annotations

import contextlib
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
from p2p.exchange.shared_memory import (
    LOOKS_BETWEEN_CHECKS,
    NAP,
    Arena,
    Lane,
    SharedExchange,
)

Bytes = NDArray[np.uint8]

BEAT = 0.2  # s, between heartbeats of a leader that waits for others to be through
POSTED = 3  # turns; of two, the second is posted just as it may be sent
ROWS, BYE = 0, 1  # tags
NUMBER = 8  # bytes of a turn's number
PAUSE = 0.0002  # s, between a courier's looks at what peers of this node have published
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
    """Sends the rows of this node's peers to all other nodes, and takes theirs, for one lane.

    A receive that is posted when the last turn has arrived is known to the sender a way later,
    when it may be sending. So some turns are posted at once. Another node sends a turn when it
    has received all before: a buffer is free again by then, and there is one more than turns
    posted.

    A leader looks for the turn's number behind the rows, as it looks at the counters of its own
    node, since gloo can neither be asked whether a message has arrived, nor be waited for with
    heartbeats: its waiting ends with the connection.

    Args:
        lane: whose rows these are.
        group: of the leaders, for this lane alone.
        spans: the ranks on each node.
        alive: called while this waits; raises what ends the waiting.
        longest: s, that this waits for the other nodes.
    """

    def __init__(
        self, lane: Lane, group: Any, place: Place, spans: list[range],
        alive: Callable[[], None], longest: float,
    ) -> None:  # fmt: skip
        self.lane, self.group, self.alive, self.longest = lane, group, alive, longest
        self.own = spans[place.node]
        self.remote = {node: span for node, span in enumerate(spans) if node != place.node}
        room = lane.slots.shape[2]
        self._outgoing = np.empty((2, len(self.own) * room + NUMBER), np.uint8)
        self._sends: list[list[Any]] = [[], []]
        self._sent, self._lock = 0, threading.Lock()
        self._incoming = [
            [np.zeros(len(span) * room + NUMBER, np.uint8) for span in self.remote.values()]
            for _ in range(POSTED + 1)
        ]
        self._receives: list[list[Any]] = [[] for _ in self._incoming]
        for turn in range(1, POSTED + 1):
            self._post(turn)
        self._broken: RuntimeError | None = None
        self._watching = [
            threading.Thread(target=self._watch, args=(node,), daemon=True) for node in self.remote
        ]
        for thread in self._watching:
            thread.start()

    def _post(self, turn: int) -> None:
        """Tell the other nodes that this one is ready to receive their rows of a turn."""
        n = turn % len(self._incoming)
        self._receives[n] = [
            self.group.recv([torch.from_numpy(buffer)], node, ROWS)
            for node, buffer in zip(self.remote, self._incoming[n], strict=True)
        ]

    def _watch(self, node: int) -> None:
        """Wait until another node is through; note the end of the connection before."""
        try:
            self.group.recv([torch.zeros(1)], node, BYE).wait(timedelta(days=365))
        except RuntimeError as error:
            self._broken = error

    def send(self, turn: int, size: int) -> None:
        """Send `size` bytes of each of this node's peers in a turn, unless that was done.

        Raises:
            RuntimeError: gloo's, if a node cannot be reached any more.
        """
        with self._lock:
            if turn <= self._sent:
                return
            self._sent = turn
            self._await_sends(turn & 1, self.longest)
            rows = self.lane.slots[turn & 1, self.own.start : self.own.stop, :size]
            outgoing = self._outgoing[turn & 1, : rows.size + NUMBER]
            outgoing[:-NUMBER].reshape(rows.shape)[:] = rows
            outgoing[-NUMBER:].view(np.int64)[0] = turn
            tensor = torch.from_numpy(outgoing)
            self._sends[turn & 1] = [self.group.send([tensor], node, ROWS) for node in self.remote]

    def _await_sends(self, parity: int, seconds: float) -> None:
        sends, self._sends[parity] = self._sends[parity], []
        for work in sends:
            work.wait(timedelta(seconds=seconds))

    def bring(self, size: int) -> None:
        """Complete the lane's turn, in which each peer shows `size` bytes.

        Raises:
            PeerLost: a node cannot be reached any more, or the cohort was aborted.
        """
        lane, turn = self.lane, self.lane.turn
        n, copy = turn % len(self._incoming), lane.slots[turn & 1]
        spans = self.remote.values()
        try:
            self.send(turn, size)
            for span, buffer, work in zip(spans, self._incoming[n], self._receives[n], strict=True):
                end = len(span) * size
                self._await_number(buffer[end : end + NUMBER].view(np.int64), turn)
                work.wait(timedelta(seconds=self.longest))  # no more than moments
                copy[span.start : span.stop, :size] = buffer[:end].reshape(-1, size)
                lane.raise_counter(slice(span.start, span.stop))
            self._post(turn + POSTED)
        except RuntimeError as error:
            self._await_reason()
            reason = str(error).partition("] ")[2].partition(". ")[0] or str(error)
            raise PeerLost(f"lost the connection to another node ({reason})") from None

    def _await_number(self, number: NDArray[np.int64], turn: int) -> None:
        """Wait until a turn's number has been received."""
        looks, deadline = 0, time.monotonic() + self.longest
        while number[0] != turn:
            time.sleep(NAP / 50)  # the core is wanted by gloo's thread: no spinning
            looks += 1
            if looks % LOOKS_BETWEEN_CHECKS == 0:
                self.alive()
                if self._broken is not None:
                    raise self._broken
                if time.monotonic() > deadline:
                    raise RuntimeError(f"it has shown nothing for {self.longest:g} s")

    def _await_reason(self) -> None:
        """Give the parents time to tell who was lost, which aborts the cohort."""
        deadline = time.monotonic() + EXPLAINED
        while time.monotonic() < deadline:
            self.alive()
            time.sleep(0.01)

    def close(self) -> None:
        """Wait until all nodes are through: what a process has sent may be lost as it ends."""
        with contextlib.suppress(RuntimeError, PeerLost):
            for parity in range(2):
                self._await_sends(parity, self.longest)
            for node in self.remote:
                self.group.send([torch.zeros(1)], node, BYE)
            for thread in self._watching:
                while thread.is_alive():
                    thread.join(BEAT)
                    self.alive()


class Courier:
    """A leader's thread that sends what this node's peers publish while the leader goes on.

    Args:
        mates: the other peers of this node.
        check: called while this waits; raises what ends the waiting.
    """

    def __init__(self, mates: list[int], check: Callable[[], None]) -> None:
        self.mates, self.check = mates, check
        self._jobs: queue.SimpleQueue[tuple[Relay, int, int]] = queue.SimpleQueue()
        if mates:
            threading.Thread(target=self._run, name="courier", daemon=True).start()

    def send(self, relay: Relay, size: int) -> None:
        """Send `size` bytes of each peer in the lane's turn as soon as all have published."""
        if self.mates:
            self._jobs.put((relay, relay.lane.turn, size))
            return
        with contextlib.suppress(RuntimeError):  # `Relay.bring` meets it, too
            relay.send(relay.lane.turn, size)

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError, PeerLost):  # `Relay.bring` meets it, too
            while True:
                relay, turn, size = self._jobs.get()
                while (relay.lane.counters[self.mates] < turn).any():
                    self.check()
                    time.sleep(PAUSE)
                relay.send(turn, size)


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
        return self._rows_of(self._ahead, begun.nbytes, begun.dtype)


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
        longest = timeout + PATIENCE
        try:
            store = PrefixStore(f"leaders/{place.attempt}", connect(place, longest))
            self._await_all(store, place)
            self._relays = {}
            for name, lane in (("now", self._lane), ("ahead", self._ahead)):
                group = join(store, name, place, longest)
                self._relays[lane] = Relay(lane, group, place, spans, self._live, longest)
        except RuntimeError as error:  # torch's
            raise PeerLost(f"lost another node while leaders were meeting ({error})") from None
        self._courier = Courier(self._mates, self._check)

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

    def __call__(self, vector: NDArray[T]) -> NDArray[Any]:
        """See `Exchange`; without a thread."""
        super().publish(vector)
        return self.gather()

    def publish(self, vector: NDArray[T]) -> None:
        """See `Exchange`; it travels from now on."""
        super().publish(vector)
        self._courier.send(self._relays[self._lane], vector.nbytes)

    def begin(self, vector: NDArray[T]) -> None:
        """See `Exchange`; it travels from now on."""
        super().begin(vector)
        self._courier.send(self._relays[self._ahead], vector.nbytes)

    def _complete(self, lane: Lane, size: int) -> None:
        """Wait for the node's own peers, then bring the others' rows for all of them."""
        self._wait_for(self._mates, lane)
        self._relays[lane].bring(size)

    def close(self) -> None:
        """Let what was begun arrive: other nodes may wait for it."""
        if self._begun is not None:
            self._wait_for(self._mates, self._ahead)
            with contextlib.suppress(RuntimeError):
                self._relays[self._ahead].send(self._ahead.turn, self._begun.nbytes)
        for relay in self._relays.values():
            relay.close()
