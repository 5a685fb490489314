"""How far an analysis is, and what it found, on a terminal or not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from .formats import duration
from .train import _can_redraw

if TYPE_CHECKING:
    from rich.text import Text

BETWEEN_LINES = 30.0  # s, where there is no progress bar


class Progress(Protocol):
    """What is told of progress, beside what `at` makes of it."""

    @property
    def share(self) -> float: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102


@contextmanager
def progress(
    label: str, at: Callable[[Any], str], *, plain: bool
) -> Iterator[Callable[[Progress], None]]:
    """Yield what is to be told of progress: a bar on stderr, or a line now and then.

    Args:
        label: what is being done.
        at: says in words how far it is.
        plain: no bar, on a terminal too.
    """
    if plain or not _can_redraw(sys.stderr):
        yield _Lines(at)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import TimeRemainingColumn as Left

    columns = (
        TextColumn(label), BarColumn(complete_style="green", finished_style="green"),
        TextColumn("{task.percentage:3.0f}%  {task.fields[at]}"), Left(compact=True),
        TextColumn("left"),
    )  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, at="")
        yield lambda now: bar.update(task, completed=now.share, at=at(now))


class _Lines:
    """A line on stderr every half a minute."""

    def __init__(self, at: Callable[[Any], str]) -> None:
        self._at, self._last = at, time.monotonic()

    def __call__(self, now: Progress) -> None:
        if time.monotonic() - self._last < BETWEEN_LINES:
            return
        self._last = time.monotonic()
        left = now.seconds * (1 / now.share - 1) if now.share else None
        print(f"{self._at(now)}, {duration(left)} left", file=sys.stderr, flush=True)


def print_lines(lines: list[Text], *, styled: bool) -> None:
    """Print `lines`, without their styles unless `styled`."""
    if not styled:
        print("\n".join(line.plain.rstrip() for line in lines))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)
