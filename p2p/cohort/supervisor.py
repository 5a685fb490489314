"""The peers' processes as their parent sees them: started, watched, reaped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from p2p.cohort import launch, peer_process
from p2p.cohort.forkserver import Process, died
from p2p.core import limits, registry
from p2p.core.config import TrainConfig
from p2p.core.errors import PeerLost
from p2p.core.signals import StopSignals
from p2p.exchange.shared_memory import Arena, Phase
from p2p.peer import reports
from p2p.peer.slots import slot_bytes

CLOSED = object()  # in the inbox: a peer's pipe has closed
POLL = 0.5  # s, between two checks of the peers' heartbeats
SUSPENDED = 4 * POLL  # s, between two checks, after which this process was suspended meanwhile
STOPPED_EARLY = "stopped while the peers were starting"
GRACE = 5.0  # s, for peers to end by themselves before they are killed


class Supervisor:
    """K peer processes, their pipes and their shared memory.

    Args:
        signals: may interrupt the start.
        early: what is said then.

    Attributes:
        arena: the shared memory that the peers exchange through.
    """

    def __init__(
        self,
        config: TrainConfig,
        states: list[reports.State] | None,
        signals: StopSignals | None = None,
        early: str = STOPPED_EARLY,
    ) -> None:
        self.config, self.states, self.signals = config, states, signals or StopSignals()
        self.early = early
        self.processes: list[Process] = []
        self.pipes: list[Connection] = []
        self.inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def __enter__(self) -> Supervisor:
        self.arena = Arena(self.config.num_peers, slot_bytes(self.config))
        try:
            with self.signals.raising(self.early), limits.explaining():
                self._start()
        except BaseException as error:
            self.__exit__(error)
            raise
        self.since = self.checked = time.monotonic_ns()
        return self

    def _start(self) -> None:
        """Start the peers; this waits for the fork server, which may have to import first."""
        context = launch.prepare(self.config.engine)
        sources = registry.sources()
        for rank in range(self.config.num_peers):
            ours, theirs = context.Pipe(duplex=False)
            state = self.states[rank] if self.states else None
            args = (rank, self.config, self.arena, theirs, state, sources)
            child = context.Process(
                target=peer_process.peer_main, args=args, name=f"peer {rank}", daemon=True
            )
            child.start()
            theirs.close()
            self.processes.append(child)
            self.pipes.append(ours)
            threading.Thread(target=self._listen, args=(rank,), daemon=True).start()

    def messages(self) -> Iterator[tuple[int, Any]]:
        """Yield (rank, message), and (-1, None) if none comes for `POLL` seconds.

        Ends when every peer has closed its pipe.

        Raises:
            PeerLost: a peer died or hangs.
        """
        ended: set[int] = set()
        listening = len(self.pipes)
        while listening:
            try:
                rank, message = self.inbox.get(timeout=POLL)
            except queue.Empty:
                rank, message = -1, None
            if message is CLOSED:
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
            self.inbox.put((rank, CLOSED))

    def raise_peer_died(self, rank: int) -> None:
        """Raise PeerLost for a peer whose pipe closed before it had ended.

        If the fork server has died, and the peers with it, that is said.
        """
        child = self.processes[rank]
        child.join(GRACE)
        raise died(child, f"peer {rank} (pid {child.pid}) died while {self._phase(rank)}")

    def check_heartbeats(self, ended: set[int]) -> None:
        """Raise PeerLost if a peer's last heartbeat is more than `peer_timeout` seconds old.

        If this process was suspended, the peers probably were too: the time starts anew.
        """
        now, timeout = time.monotonic_ns(), self.config.peer_timeout
        if now - self.checked > SUSPENDED * 1e9:
            self.since = now
        self.checked = now
        for rank in set(range(len(self.processes))) - ended:
            silent = (now - max(int(self.arena.heartbeats[rank, 0]), self.since)) / 1e9
            if silent > timeout:
                pid = self.processes[rank].pid
                raise PeerLost(
                    f"peer {rank} (pid {pid}) hangs while {self._phase(rank)}: no heartbeat "
                    f"for {silent:.0f} s (--peer-timeout {timeout:g})"
                )

    def _phase(self, rank: int) -> str:
        return Phase(int(self.arena.heartbeats[rank, 1])).name.lower()

    def __exit__(self, *exc: object) -> None:
        """Wait for all peers to end; kill those that do not."""
        self.arena.abort()
        deadline = time.monotonic() + (GRACE if exc[0] is None else 0.2)
        for child in self.processes:
            child.join(max(0.0, deadline - time.monotonic()))
            if child.is_alive():
                child.kill()
                child.join()
