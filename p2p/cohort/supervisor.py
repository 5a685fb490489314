"""The peers' processes as their parent sees them: started, watched, reaped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from p2p.cohort import launch, peer_process
from p2p.cohort.forkserver import Process, died
from p2p.core import limits, registry
from p2p.core.config import TrainConfig
from p2p.core.errors import PeerLost
from p2p.core.signals import StopSignals
from p2p.exchange.base import Phase
from p2p.exchange.shared_memory import Arena
from p2p.peer import reports
from p2p.peer.slots import ahead_bytes, slot_bytes

if TYPE_CHECKING:
    from p2p.cohort.nodes.link import Link  # brings torch

POLL = 0.5  # s, between two checks of the peers' heartbeats
SUSPENDED = 4 * POLL  # s, between two checks, after which this process was suspended meanwhile
STOPPED_EARLY = "stopped while the peers were starting"
GRACE = 5.0  # s, for peers to end by themselves before they are killed


class Supervisor:
    """This machine's peer processes, their pipes and their shared memory.

    Args:
        signals: may interrupt the start.
        early: what is said then.
        link: to other machines, whose peers' messages come in among those of the peers here.

    Attributes:
        arena: the shared memory that the peers exchange through.
    """

    def __init__(
        self,
        config: TrainConfig,
        states: list[reports.State] | None,
        signals: StopSignals | None = None,
        early: str = STOPPED_EARLY,
        link: Link | None = None,
    ) -> None:
        self.config, self.states, self.signals = config, states, signals or StopSignals()
        self.early, self.link = early, link
        self.ranks = range(config.num_peers) if link is None else link.ranks
        self.processes: dict[int, Process] = {}
        self.pipes: dict[int, Connection] = {}
        self._listeners: list[threading.Thread] = []
        self.inbox: queue.SimpleQueue[tuple[int, Any]] = link.inbox if link else queue.SimpleQueue()

    def __enter__(self) -> Supervisor:
        config = self.config
        ahead = ahead_bytes(config) if self.link else 0
        self.arena = Arena(config.num_peers, slot_bytes(config), ahead)
        try:
            with self.signals.raising(self.early), limits.explaining():
                self._start()
        except BaseException as error:
            self.__exit__(type(error), error)
            raise
        self.since = self.checked = time.monotonic_ns()
        return self

    def _start(self) -> None:
        """Start the peers; this waits for the fork server, which may have to import first."""
        context = launch.prepare(self.config.engine)
        sources = registry.sources()
        nodes = (self.link.place, self.link.spans) if self.link else None
        for rank in self.ranks:
            ours, theirs = context.Pipe(duplex=False)
            state = self.states[rank] if self.states else None
            args = (rank, self.config, self.arena, theirs, state, sources, nodes)
            child = context.Process(
                target=peer_process.peer_main, args=args, name=f"peer {rank}", daemon=True
            )
            child.start()
            theirs.close()
            self.processes[rank], self.pipes[rank] = child, ours
            listener = threading.Thread(target=self._listen, args=(rank,), daemon=True)
            listener.start()
            self._listeners.append(listener)

    def messages(self) -> Iterator[tuple[int, Any]]:
        """Yield (rank, message), and (-1, None) if none comes for `POLL` seconds.

        Ends when every peer has closed its pipe; on node 0 of several, every peer of all nodes.

        Raises:
            PeerLost: a peer died or hangs, or another node is gone.
            P2PError: another node failed.
        """
        ended: set[int] = set()
        listening = len(self.pipes)
        if self.link and self.link.place.node == 0:
            listening = self.config.num_peers
        while listening:
            try:
                rank, message = self.inbox.get(timeout=POLL)
            except queue.Empty:
                rank, message = -1, None
            if isinstance(message, Exception):
                raise message
            if message is peer_process.CLOSED:
                listening -= 1
                if rank not in ended:
                    self.raise_peer_died(rank)
                continue
            if isinstance(message, reports.Ended | reports.Stopped | peer_process.Failed):
                ended.add(rank)
            yield rank, message
            self.check_heartbeats(ended)

    def _listen(self, rank: int) -> None:
        """Move the messages of peer `rank` to the inbox until its pipe closes.

        In a thread of its own: a peer that hangs within a message must not block the parent.
        """
        try:
            while True:
                self.inbox.put((rank, self.pipes[rank].recv()))
        except (EOFError, OSError):
            self.inbox.put((rank, peer_process.CLOSED))

    def raise_peer_died(self, rank: int) -> None:
        """Raise PeerLost for a peer whose pipe closed before it had ended.

        If the fork server has died, and the peers with it, that is said.
        """
        child = self.processes[rank]
        child.join(GRACE)
        died_while = f"died while {self._phase(rank)}"
        raise died(child, f"{self.where}peer {rank} (pid {child.pid}) {died_while}")

    @property
    def where(self) -> str:
        """What messages say first: which node this is, if there are several."""
        return self.link.where if self.link else ""

    def check_heartbeats(self, ended: set[int]) -> None:
        """Raise PeerLost if a peer's last heartbeat is more than `peer_timeout` seconds old.

        If this process was suspended, the peers probably were too: the time starts anew.
        """
        now, timeout = time.monotonic_ns(), self.config.peer_timeout
        if now - self.checked > SUSPENDED * 1e9:
            self.since = now
        self.checked = now
        for rank in self.processes.keys() - ended:
            silent = (now - max(int(self.arena.heartbeats[rank, 0]), self.since)) / 1e9
            if silent > timeout:
                pid = self.processes[rank].pid
                raise PeerLost(
                    f"{self.where}peer {rank} (pid {pid}) hangs while {self._phase(rank)}: no "
                    f"heartbeat for {silent:.0f} s (--peer-timeout {timeout:g})"
                )

    def _phase(self, rank: int) -> str:
        return Phase(int(self.arena.heartbeats[rank, 1])).name.lower()

    def __exit__(self, *exc: object) -> None:
        """Wait for all peers to end; kill those that do not."""
        if self.link and isinstance(exc[1], Exception):
            self.link.tell(exc[1])  # first: the peers of other nodes wait for those here
        self.arena.abort()
        deadline = time.monotonic() + (GRACE if exc[0] is None else 0.2)
        for child in self.processes.values():
            child.join(max(0.0, deadline - time.monotonic()))
            if child.is_alive():
                child.kill()
                child.join()
        for listener in self._listeners:  # a pipe's end: also of a peer whose fork server was
            listener.join(GRACE)  # killed, which may outlive it for a moment
