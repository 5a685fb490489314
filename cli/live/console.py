"""The live view on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from threading import Lock
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from p2p.cohort.events import Checkpointed, Finished, Iterated, Noted, Started
from p2p.core.signals import StopSignals

from ..interrupt import STOPPING
from ..text.layout import message_lines
from .frame import render
from .history import History
from .summary import short_path, summary

REFRESH = 2  # frames/s; each takes about 2 ms from the peers' cores
WIDEST = 120  # columns; in a wider frame rows are hard to follow


class LiveView:
    """A frame that is redrawn in place; at the end, the summary below it.

    A thread redraws it, so that the clock runs while the main thread waits for peers.

    Args:
        stream: the terminal.
        label: the status until the first iteration ends.
    """

    says_that_it_stops = True

    def __init__(self, stream: TextIO, label: str) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._lock = Lock()
        self._history: History | None = None
        self._run = ""
        self._saved = 0
        self._phase: str | None = label
        self._phase_began = time.monotonic()
        on_stdout = stream is sys.stdout  # else stdout is read by a program
        self._live = Live(
            get_renderable=self._frame,
            console=self._console,
            refresh_per_second=REFRESH,
            redirect_stdout=on_stdout,
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        """Draw the last frame, without the status."""
        with self._lock:
            self._phase = ""
        with contextlib.suppress(OSError):  # of a closed terminal: the run's own error matters more
            self._live.stop()

    def started(self, event: Started) -> None:
        """Show task and run folder; print notes above the frame."""
        history = History(event.config, event.run.journal.stream() if event.resumed_from else ())
        for note in event.notes:
            for line in message_lines(f"note: {note}", self._console.width):
                self._console.print(Text(line), soft_wrap=True)
        with self._lock:
            if self._history is not None:
                self._phase, self._phase_began = "restarting the peers", time.monotonic()
            self._history = history
            self._run = short_path(event.run.path)
            self._saved = event.resumed_from

    def iterated(self, event: Iterated) -> None:
        """Add an iteration; the next frame shows it."""
        with self._lock:
            assert self._history is not None  # Started comes first
            self._history.add(event.record)
            self._phase = None
            if self._history.complete:
                self._phase, self._phase_began = "scoring the final policies", time.monotonic()

    def checkpointed(self, event: Checkpointed) -> None:
        """Show the iteration of the last checkpoint."""
        with self._lock:
            self._saved = event.iteration

    def noted(self, event: Noted) -> None:
        """Print the note, above the frame while there is one."""
        for line in message_lines(str(event), self._console.width):
            self._console.print(Text(line), soft_wrap=True)

    def finished(self, event: Finished) -> None:
        """End the frame and print the summary below it."""
        self.__exit__()
        assert self._history is not None
        first, *others = summary(event, self._history, self._console.width)
        self._console.print()
        self._console.print(Text(first, "bold green"), soft_wrap=True)
        for line in others:  # rich would break paths
            self._console.print(Text(line), soft_wrap=True)

    def _frame(self) -> Group:
        size = self._console.size
        with self._lock:
            lines = render(
                self._history, self._run, self._status(), min(size.width, WIDEST), size.height - 1
            )
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _status(self) -> str:
        stopping = StopSignals.active is not None and StopSignals.active.received is not None
        if stopping and self._phase != "":
            return STOPPING
        if self._phase is None:
            saved = f"saved up to iteration {self._saved:,}; " if self._saved else ""
            text = f"{saved}Ctrl-C saves and stops"
            unstable = self._history.unstable if self._history else 0
            return f"{text}; {unstable:,} unstable" if unstable else text
        waited = time.monotonic() - self._phase_began
        return f"{self._phase}: {waited:.0f} s" if self._phase else ""
