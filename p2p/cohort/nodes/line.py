"""The parents of all nodes, connected over gloo: node 0 with each other one.

Reports travel to node 0, which writes them; what ends one node travels to all. A sign of life is
sent when there is nothing else, so that a machine that is gone, or no longer reached, is noticed.
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

from p2p.cohort.nodes import frames
from p2p.cohort.nodes.frames import Frame
from p2p.core.errors import PeerLost

HEAD, BODY = 0, 1  # tags: the size of a frame, and the frame
SIGN_OF_LIFE = 1.0  # s between frames, at most
SLOWEST = 1e6  # bytes/s: what a large frame may take longer
FAREWELL = 0.5  # s for the last words of a node that failed

Deliver = Callable[[Frame], None]


class Line:
    """The connection with one other parent; a thread sends, another one receives.

    Args:
        group: of the parents.
        node: the other one.
        name: what it is called in messages.
        timeout: s without a sign of life, after which it is lost.
        deliver: told of each frame received, in the receiving thread.
        lose: told why, if the connection ends before the other node has said `bye`.
    """

    def __init__(
        self, group: Any, node: int, name: str, timeout: float, deliver: Deliver,
        lose: Callable[[PeerLost], None],
    ) -> None:  # fmt: skip
        self.group, self.node, self.name, self.timeout = group, node, name, timeout
        self.deliver, self.lose = deliver, lose
        self._outbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=run, name=f"{run.__name__} {node}", daemon=True)
            for run in (self._send_all, self._receive_all)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, frame: Frame) -> None:
        """Send a frame, without waiting for that."""
        self._outbox.put(frame)

    def end(self, last: Frame) -> None:
        """Send a last frame, without waiting for that."""
        self._outbox.put(last)
        self._outbox.put(None)

    def join(self, deadline: float | None) -> None:
        """Wait until all is sent and the other node has sent its last frame.

        Args:
            deadline: monotonic, s; None: as long as it shows signs of life.
        """
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _send_all(self) -> None:
        pause = min(SIGN_OF_LIFE, self.timeout / 4)
        with contextlib.suppress(RuntimeError):  # the receiving thread tells
            while True:
                try:
                    frame = self._outbox.get(timeout=pause)
                except queue.Empty:
                    frame = Frame("alive", {})
                if frame is None:
                    return
                data = np.frombuffer(frames.to_bytes(frame), np.uint8)
                size = torch.tensor([data.size])
                self._wait(self.group.send([size], self.node, HEAD), self.timeout)
                body = torch.from_numpy(data.copy())
                self._wait(self.group.send([body], self.node, BODY), self._longest(data.size))

    def _receive_all(self) -> None:
        try:
            while True:
                size = torch.zeros(1, dtype=torch.int64)
                self._wait(self.group.recv([size], self.node, HEAD), self.timeout)
                body = np.empty(int(size), np.uint8)
                work = self.group.recv([torch.from_numpy(body)], self.node, BODY)
                self._wait(work, self._longest(body.size))
                frame = frames.from_bytes(body.tobytes())
                if frame.kind != "alive":
                    self.deliver(frame)
                if frame.kind in ("bye", "end"):
                    return
        except Exception as error:  # gloo raises RuntimeError; what is received may be anything
            self.lose(PeerLost(self._why(str(error))))

    def _longest(self, size: int) -> float:
        return self.timeout + size / SLOWEST

    @staticmethod
    def _wait(work: Any, seconds: float) -> None:
        work.wait(timedelta(seconds=seconds))

    def _why(self, error: str) -> str:
        if "closed" in error or "reset" in error:
            return f"{self.name} is gone: its p2p has ended, or was killed"
        if "imed out" in error:
            return (
                f"no sign of life from {self.name} for {self.timeout:g} s (--peer-timeout); its "
                "machine or the network between is down, or it was suspended"
            )
        return f"lost the connection to {self.name} ({error})"
