"""Views without a terminal: lines for people and logs, JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TextIO

from p2p.cohort.events import Checkpointed, Finished, Iterated, Noted, Started

from ..text.formats import compact, count, counted, duration
from ..text.layout import message_lines
from ..text.terminal import columns
from .history import History
from .summary import describe_run, short_path, summary

SHORTEST, LONGEST = 2.0, 60.0  # seconds between two lines
STRIDE = 0.01  # share of the run between two lines, so that a log has about a hundred
COLUMNS = {  # title: width
    "iteration": 9,
    "steps": 10,
    "steps/s": 7,
    "left": 8,
    "return": 7,
    "length": 6,
    "KL": 7,
    "unstable": 8,
}


NARROW = ("length", "left", "steps", "KL")  # left out in this order where a line is too narrow


class PlainLines:
    """A header, lines of progress, a summary; ASCII without escape codes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last_line = -LONGEST
        self._last_steps = 0
        self._last_test = 0
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def started(self, event: Started) -> None:
        """Write task, settings and run folder; once alone, if the peers are started again."""
        past = event.run.journal.stream() if event.resumed_from else ()
        self._history = History(event.config, past)
        if not self._begun:
            self._begun = True
            self._say(", ".join(describe_run(event.config)))
            self._print(f"run: {short_path(event.run.path)}")
        if event.resumed_from:
            self._print(f"resumed after iteration {event.resumed_from}")
        for note in event.notes:
            self._say(f"note: {note}")
        self._print(_line({name: name for name in COLUMNS}, self._width))
        self._last_line = self._clock() - LONGEST  # the first iteration gets a line

    def iterated(self, event: Iterated) -> None:
        """Write a line if one is due; always for the last iteration."""
        history = self._history
        history.add(event.record)
        waited = self._clock() - self._last_line
        far = history.steps - self._last_steps >= STRIDE * history.total_steps
        if history.complete or waited >= LONGEST or (far and waited >= SHORTEST):
            self._last_line, self._last_steps = self._clock(), history.steps
            self._print(_line(_cells(history), self._width))
            self._print_test(history)

    def _print_test(self, history: History) -> None:
        """Write the newest test's returns, unless they were written."""
        if not history.tests or history.tests[-1][0] == self._last_test:
            return
        self._last_test, returns = history.tests[-1]
        mean, best = sum(returns) / len(returns), history.best_mean
        domains = counted(history.config.test_domains, "held-out domain")
        self._say(
            f"tested at {count(self._last_test)} steps: return {compact(mean)}, best "
            f"{compact(best)} ({domains})"
        )

    def checkpointed(self, event: Checkpointed) -> None:
        """Do nothing."""

    def noted(self, event: Noted) -> None:
        """Write the note."""
        self._say(str(event))

    def finished(self, event: Finished) -> None:
        """Write the summary."""
        self._print("\n".join(["", *summary(event, self._history, self._width)]))

    @property
    def _width(self) -> int:
        return columns(stream=self._stream)

    def _say(self, sentence: str) -> None:
        for line in message_lines(sentence, self._width):
            self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class JsonLines:
    """One JSON object per line and event; numbers that are not finite become null."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def started(self, event: Started) -> None:
        """Write the run's folder and settings."""
        self._print(
            "started",
            run=str(event.run.path),
            resumed_from=event.resumed_from,
            notes=event.notes,
            config=event.config.model_dump(mode="json"),
        )

    def iterated(self, event: Iterated) -> None:
        """Write the journal's record of the iteration."""
        self._print("iteration", **event.record)

    def checkpointed(self, event: Checkpointed) -> None:
        """Write the checkpoint's path and iteration."""
        self._print("checkpoint", path=str(event.path), iteration=event.iteration)

    def noted(self, event: Noted) -> None:
        """Write the note."""
        self._print("note", text=event.text, is_warning=event.is_warning)

    def finished(self, event: Finished) -> None:
        """Write the scores and the duration."""
        self._print(
            "finished",
            run=str(event.run.path),
            scores=event.scores,
            seconds=event.seconds,
            steps=event.steps,
        )

    def _print(self, name: str, **fields: Any) -> None:
        from p2p.runs.journal import jsonable  # imports h5py, so not before the first line

        line = json.dumps(jsonable({"event": name, **fields}), allow_nan=False)
        print(line, file=self._stream, flush=True)


def _cells(history: History) -> dict[str, str]:
    """Return the cells of one iteration; returns and lengths are means over the peers."""
    cells = (
        f"{history.iterations}/{history.config.num_iterations}",
        count(history.steps),
        count(history.rate),
        duration(history.seconds_left),
        compact(history.mean_return),
        count(history.mean_length),
        compact(history.mean_kl),
        str(history.unstable),
    )
    return dict(zip(COLUMNS, cells, strict=True))


def _line(cells: Mapping[str, str], width: int) -> str:
    """Align cells at the right edges of their columns; a longer one takes the gap beside it."""
    shown = dict(COLUMNS)
    for name in NARROW:
        if sum(size + 2 for size in shown.values()) - 2 > width:
            del shown[name]
    line, edge = "", -2
    for name, size in shown.items():
        edge += 2 + size
        line += f" {cells[name]}".rjust(edge - len(line)) if line else cells[name].rjust(size)
    return line
