"""This node's parent among those of all nodes: it sends reports to node 0, or takes them."""

from __future__ import annotations

import queue
import time
from typing import Any

from p2p.cohort.nodes import frames, rendezvous
from p2p.cohort.nodes.frames import Frame, Message
from p2p.cohort.nodes.identity import (
    Identity,
    check_equal,
    identity_of,
    name_of,
    notes_on_processors,
)
from p2p.cohort.nodes.line import FAREWELL, Line
from p2p.cohort.peer_process import CLOSED
from p2p.core.config import TrainConfig, stored_config
from p2p.core.errors import Interrupted, PeerLost
from p2p.exchange.nodes import join
from p2p.exchange.place import Place
from p2p.peer import reports

BYE = Frame("bye", {})


class Link:
    """The parents' connection, open within a `with` block, which must not outlive the process.

    Args:
        config: of this node; None: node 0's is taken over.
        timeout: s without a sign of life from another node, after which it is lost.

    Attributes:
        place: of this node.
        nodes: who they are, by node.
        inbox: (rank, message) of peers of other nodes; (-1, error) if another node has failed;
            (-1, frame) of other frames.

    Raises:
        UsageError: nodes differ in settings or versions.
        PeerLost: a node never came.
    """

    def __init__(self, place: Place, config: TrainConfig | None, timeout: float) -> None:
        self.place, self.timeout = place, timeout
        self.inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        try:
            self._meet(place, identity_of(place, config))
        except RuntimeError as error:  # torch's
            raise PeerLost(f"lost another node while all were meeting ({error})") from None
        others = range(1, place.num_nodes) if place.node == 0 else range(1)
        self._lines = {node: self._line(node, self.nodes[node]) for node in others}

    def _meet(self, place: Place, own: Identity) -> None:
        """Find the other nodes, compare them with this one, and connect."""
        store = rendezvous.open_store(place)
        self.nodes = rendezvous.introduce(store, place, own, check_equal)
        if own["settings"] is None:
            self.timeout = self.nodes[0]["peer_timeout"]
        # kept: when node 0's goes, so does the server, and leaders have yet to meet there
        self._store, self.spans = store, [range(0)] * place.num_nodes
        self._ended = False
        self._group = join(store, f"parents/{place.attempt}", place, self.timeout)

    def _line(self, node: int, other: Identity) -> Line:
        def deliver(frame: Frame) -> None:
            if frame.kind in frames.REPORTS:
                self.inbox.put(frames.to_report(frame))
            elif frame.kind == "end":
                self.inbox.put((-1, frames.to_error(frame, name_of(node, other))))
            elif frame.kind == "bye":
                for rank in self.spans[node] if self.place.node == 0 else ():
                    self.inbox.put((rank, CLOSED))
            else:
                self.inbox.put((-1, frame))

        def lose(error: PeerLost) -> None:
            self.inbox.put((-1, error))

        return Line(self._group, node, name_of(node, other), self.timeout, deliver, lose)

    @property
    def where(self) -> str:
        """What messages say before what happened on this node."""
        return f"{name_of(self.place.node, self.nodes[self.place.node])}: "

    @property
    def notes(self) -> list[str]:
        """What to say at the run's start: which peers are where."""
        ends = (f"{s.start}-{s.stop - 1}" if len(s) > 1 else f"{s.start}" for s in self.spans)
        nodes = (name_of(node, one) for node, one in enumerate(self.nodes))
        where = ", ".join(f"{e} on {node}" for e, node in zip(ends, nodes, strict=True))
        return [f"peers {where}", *notes_on_processors(self.nodes)]

    @property
    def ranks(self) -> range:
        """The ranks of this node's peers."""
        return self.spans[self.place.node]

    def begin(self, config: TrainConfig, states: list[reports.State] | None, done: int) -> None:
        """Tell the other nodes, from node 0, what they train and what their peers start from."""
        self.spans = self.place.spans(config.num_peers)
        fields = {"config": config.model_dump(mode="json"), "done": done}
        for node, line in self._lines.items():
            given = {}
            if states is not None:
                given = {
                    f"peer{rank}.{name}": value
                    for rank in self.spans[node]
                    for name, value in states[rank].items()
                }
            line.send(Frame("begin", {**fields, "fresh": states is None}, given))

    def dismiss(self, why: str) -> None:
        """Tell the other nodes, from node 0, that there is nothing to do."""
        for line in self._lines.values():
            line.send(Frame("complete", {"why": why}))

    def begun(self) -> tuple[TrainConfig, list[reports.State] | None, int] | str:
        """Wait for what node 0 says in `begin`: settings, states by rank, iterations completed.

        Of peers of other nodes the state is empty. Where there is nothing to do, node 0 says why.
        """
        while True:
            try:
                _, frame = self.inbox.get(timeout=0.2)  # lets signals be handled
                break
            except queue.Empty:
                continue
        if isinstance(frame, Exception):
            raise frame
        if frame.kind == "complete":
            return str(frame.fields["why"])
        config = stored_config(frame.fields["config"])
        self.spans = self.place.spans(config.num_peers)
        states = None
        if not frame.fields["fresh"]:
            states = reports.split_by_peer(frame.tensors, config.num_peers)
        return config, states, frame.fields["done"]

    def report(self, rank: int, report: Message) -> None:
        """Send a report of one of this node's peers to node 0."""
        self._lines[0].send(frames.of_report(rank, report))

    def tell(self, error: BaseException) -> None:
        """Tell the other nodes what ends this one, without waiting for that."""
        self._end(frames.of_error(error))

    def _end(self, last: Frame) -> None:
        if not self._ended:
            self._ended = True
            for line in self._lines.values():
                line.end(last)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say `bye` and wait for that of the others, or tell them what ended this node.

        Raises:
            P2PError: another node failed after this one was through.
        """
        if error is not None:
            self.tell(error)
            deadline = time.monotonic() + FAREWELL
        else:
            self._end(BYE)
            deadline = None
        for line in self._lines.values():
            line.join(deadline)
        while error is None and not self.inbox.empty():
            _, late = self.inbox.get()
            if isinstance(late, Exception) and not isinstance(late, Interrupted):
                raise late
