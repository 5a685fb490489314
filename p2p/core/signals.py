"""SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 become a stop request that the main loop polls."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar, TypeVar

from p2p.core.errors import Interrupted
from p2p.core.platform import NOTICES, STOP_SIGNALS

Handler = TypeVar("Handler", bound=Callable[..., None])
ECHO = 1.0  # s: `timeout` and some terminals signal the process, and its group as well


def provisional(handler: Handler) -> Handler:
    """Mark a handler of p2p's, which stands only until a run handles the signals."""
    handler.is_provisional = True  # type: ignore[attr-defined]
    return handler


class StopSignals:
    """While active, a first signal is a stop request; a later one ends the process at once.

    Not so the signals of batch systems, of which nobody has two meanings: SIGUSR1 or SIGUSR2 never
    end the process, and the SIGTERM that follows them at the time limit does not either. What does
    is SIGKILL, which the batch system sends if the run has not ended by then.

    Args:
        max_time: seconds, after which `check_time` requests a stop.

    Attributes:
        received: the signal that requested the stop; None if there was none.
    """

    active: ClassVar[StopSignals | None] = None  # the innermost one
    acknowledge: ClassVar[Callable[[], None] | None] = None  # called in the handler of the first
    end_now: ClassVar[Callable[[int], None]] = os._exit  # called with the exit code at a later one

    def __init__(self, max_time: float | None = None) -> None:
        self.received: int | None = None
        self._deadline = None if max_time is None else time.monotonic() + max_time
        self._when = 0.0
        self._followed = False  # whether a notice was followed by another signal
        self._raises = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._outer, StopSignals.active = StopSignals.active, self
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if _is_taken(number):
                    continue
                before = self._before[number] = signal.signal(number, self._receive)
                if number == signal.SIGINT and getattr(before, "received", False):
                    self.request(number)  # what its handler raised was swallowed by a library
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

    def check_time(self) -> None:
        """Request a stop as by SIGALRM if the time is over."""
        over = self._deadline is not None and time.monotonic() >= self._deadline
        if over and self.received is None:
            self.request(signal.SIGALRM)

    def request(self, number: int) -> None:
        """Take note of the first stop request."""
        self.received, self._when = number, time.monotonic()

    def _raise_if_received(self) -> None:
        if self._raises and self.received is not None:
            raise Interrupted(self._raises, self.received)

    @provisional
    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.request(number)
            if StopSignals.acknowledge is not None and not self._raises:
                StopSignals.acknowledge()
            self._raise_if_received()
        elif number in NOTICES:
            return
        elif self.received in NOTICES and not self._followed:
            self._followed, self._when = True, time.monotonic()
        elif time.monotonic() - self._when > ECHO:
            StopSignals.end_now(128 + number)  # the peers die with us

    def __exit__(self, *exc: object) -> None:
        StopSignals.active = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _is_taken(number: int) -> bool:
    """Say whether a signal has another meaning already, which the library's user gave it."""
    handler = signal.getsignal(number)
    if number == signal.SIGHUP:
        return handler is signal.SIG_IGN  # started by nohup: must survive its terminal
    if number not in NOTICES or handler is signal.SIG_DFL:
        return False
    return not getattr(handler, "is_provisional", False)


def is_stopping() -> bool:
    """Say whether a stop was requested."""
    return StopSignals.active is not None and StopSignals.active.received is not None


def request_stop() -> None:
    """Request a stop as SIGTERM does, unless one is requested already."""
    active = StopSignals.active
    if active is None:
        signal.raise_signal(signal.SIGTERM)
    elif active.received is None:
        active.request(signal.SIGTERM)
