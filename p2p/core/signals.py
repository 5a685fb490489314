"""SIGINT, SIGTERM and SIGHUP become a stop request that the main loop polls."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, ClassVar

ECHO = 1.0  # s: `timeout` and some terminals signal the process, and its group as well


class StopSignals:
    """While active, a first signal is a stop request; a later one ends the process at once.

    Attributes:
        received: the signal that requested the stop; None if there was none.
    """

    active: ClassVar[StopSignals | None] = None  # the innermost one

    def __init__(self) -> None:
        self.received: int | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._outer, StopSignals.active = StopSignals.active, self
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # started by nohup: must survive its terminal
                self._before[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._when = number, time.monotonic()
        elif time.monotonic() - self._when > ECHO:
            os._exit(128 + number)  # the peers die with us

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
        active._receive(signal.SIGTERM, None)
