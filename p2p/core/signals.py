"""Ctrl-C and its like, taken as a wish that somebody looks at when it suits."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, ClassVar

ECHO = 1.0  # s: `timeout` and some terminals signal the process and its group


class StopSignals:
    """SIGINT, SIGTERM, SIGHUP become a wish to stop; another, later one ends the process."""

    active: ClassVar[StopSignals | None] = None  # the one that listens

    def __init__(self) -> None:
        self.received: int | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._outer, StopSignals.active = StopSignals.active, self
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # started with nohup: the terminal may go
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


def wish_to_stop() -> None:
    """Wish to stop as SIGTERM does, but never as a second signal, which would end the process."""
    active = StopSignals.active
    if active is None:
        signal.raise_signal(signal.SIGTERM)
    elif active.received is None:
        active._receive(signal.SIGTERM, None)
