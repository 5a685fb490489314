"""Ctrl-C at any moment of a command: acknowledged at once, a second one ends at once.

It comes before everything else is imported, so it imports little itself.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys

TYPE_CHECKING = False  # as in p2p/__init__.py

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

SIGINT_EXIT = 130  # 128 + signal, as a shell counts
STOPPING = "stopping after this iteration, with a checkpoint; Ctrl-C again ends at once"
SHOW_CURSOR = b"\r\n\x1b[?25h"  # a live view hides it


class Interrupts:
    """What stop signals do where no run or analysis handles them.

    While a command loads there is nothing to save, and an exception in the midst of an import may
    be swallowed or become another one: the process ends at once. Later SIGINT raises
    KeyboardInterrupt, and a second one ends the process.

    Attributes:
        received: whether there was a SIGINT.
        said: whether a line has told so.
    """

    is_provisional = True  # as `p2p.core.signals.provisional` marks handlers

    def __init__(self) -> None:
        self.received = self.said = False
        self._loading = 1  # until a command works
        self._over = False

    def install(self) -> None:
        """Handle the signals that would have their default effect: not those that are ignored.

        As Python ends it gives them their default effect again, after all exit handlers: the last
        of these, the first to be registered, has them ignored, so that the exit code stays.
        """
        atexit.register(self._ignore)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self)
        for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self)

    def _ignore(self) -> None:
        for number in signal.valid_signals():
            if signal.getsignal(number) is self:
                signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Say that the block has nothing to save: a signal ends the process."""
        self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Say that the block may have something to save, and handles KeyboardInterrupt."""
        self._loading -= 1
        try:
            yield
        finally:
            self._loading += 1
            self._over = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """End the process, or raise KeyboardInterrupt."""
        if number == signal.SIGINT and not self._loading and not self.received:
            self.received = self.said = True
            say("interrupted")
            raise KeyboardInterrupt
        if self._loading and not self._over:
            say("interrupted while loading: nothing was started")
        self.end_now(128 + number)

    def check(self) -> None:
        """Raise KeyboardInterrupt again, if an import has swallowed it."""
        if self.received:
            raise KeyboardInterrupt

    @staticmethod
    def end_now(exit_code: int) -> NoReturn:
        """End the process and those that it started, without a word and without waiting."""
        with contextlib.suppress(OSError):
            for stream in (1, 2) if "rich.live" in sys.modules else ():
                if os.isatty(stream):
                    os.write(stream, SHOW_CURSOR)
                    break
        end_server()
        os._exit(exit_code)


def say(line: str) -> None:
    """Write a line to stderr, from within a signal handler too."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())


def end_server() -> None:
    """End the fork server, if one was started; it may be busy importing for seconds."""
    launch = sys.modules.get("p2p.cohort.launch")
    kill = getattr(launch, "kill_server", None)
    if kill is not None:
        kill()


interrupts = Interrupts()
