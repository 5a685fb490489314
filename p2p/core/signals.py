"""SIGINT, SIGTERM and SIGHUP become a stop request that the main loop polls."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from p2p.core.errors import Interrupted
from p2p.core.platform import STOP_SIGNALS

ECHO = 1.0  # s: `timeout` and some terminals signal the process, and its group as well


class StopSignals:
    """While active, a first signal is a stop request; a later one ends the process at once.

    Attributes:
        received: the signal that requested the stop; None if there was none.
    """

    active: ClassVar[StopSignals | None] = None  # the innermost one
    acknowledge: ClassVar[Callable[[], None] | None] = None  # called in the handler of the first
    end_now: ClassVar[Callable[[int], None]] = os._exit  # called with the exit code at a later one

    def __init__(self) -> None:
        self.received: int | None = None
        self._when = 0.0
        self._raises = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._outer, StopSignals.active = StopSignals.active, self
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # started by nohup: must survive its terminal
                self._before[number] = signal.signal(number, self._receive)
        return self

    @contextmanager
    def raising(self, message: str) -> Iterator[None]:
        """Let a signal interrupt the block, which waits for something and has nothing to save.

        Raises:
            Interrupted: with `message`, at the first signal, or if there was one before.
        """
        self._raises = message
        try:
            self._raise_if_received()
            yield
        finally:
            self._raises = ""

    def request(self, number: int) -> None:
        """Take note of the first stop request."""
        self.received, self._when = number, time.monotonic()

    def _raise_if_received(self) -> None:
        if self._raises and self.received is not None:
            raise Interrupted(self._raises, self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.request(number)
            if StopSignals.acknowledge is not None and not self._raises:
                StopSignals.acknowledge()
            self._raise_if_received()
        elif time.monotonic() - self._when > ECHO:
            StopSignals.end_now(128 + number)  # the peers die with us

    def __exit__(self, *exc: object) -> None:
        StopSignals.active = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)


def request_stop() -> None:
    """Request a stop as SIGTERM does, unless one is requested already."""
    active = StopSignals.active
    if active is None:
        signal.raise_signal(signal.SIGTERM)
    elif active.received is None:
        active.request(signal.SIGTERM)
