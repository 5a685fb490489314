"""What the analysis commands share: options, progress, output and files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from p2p.core.errors import NoRoom, P2PError, UsageError

from .notices import note
from .options import WholeRange
from .tables import print_lines
from .text.formats import count, counted, duration
from .text.terminal import can_redraw

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.analysis.session import Progress
    from p2p.runs import RunFolder

BETWEEN_LINES = 30.0  # s, where there is no progress bar
Command = TypeVar("Command", bound=Callable[..., None])


def output_options(command: Command) -> Command:
    """Add --json and --plain."""
    command = click.option("--plain", is_flag=True, help="Plain text, on a terminal too.")(command)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(
        command
    )


def work_options(command: Command) -> Command:
    """Add --workers and --no-save."""
    return click.option(
        "--workers", type=WholeRange(min=1), help="Processes [default: one a core]."
    )(no_save_option(command))


def no_save_option(command: Command) -> Command:
    """Add --no-save."""
    return click.option(
        "--no-save", is_flag=True, help="Keep nothing beside the run, and look for nothing."
    )(command)


def leave_out_folders(
    ctx: click.Context, _: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Return the RUNs without what a glob pattern matches too: folders and files of other kinds.

    A folder that has parts of a run, but no config.json, is named. If nothing would remain, all
    do: the command then says what is wrong with the first.
    """
    left = tuple(path for path in paths if _may_be_run(path))
    if not left or left == paths:
        return paths
    if not ctx.resilient_parsing:  # shell completion
        for path in paths:
            if path not in left and (path / "journal.jsonl").exists():
                note(f"left out, no complete run folder (no config.json): {path}")
    return left


def check_runs(paths: Iterable[Path]) -> None:
    """Raise BadArtefact, before MuJoCo is imported, for a path at which there is no run or file."""
    from p2p.runs import RunFolder
    from p2p.runs.bundle import is_bundle
    from p2p.runs.files import reachable

    for path in paths:
        if not (reachable(path).is_file() or is_bundle(path)):
            RunFolder.open(path)


def _may_be_run(path: Path) -> bool:
    """Tell whether it may be a run, bundle or policy; what is unreadable or not there may."""
    with suppress(OSError):
        if path.is_dir():
            return any((path / name).exists() for name in ("config.json", "policy.json"))
        return path.suffix in (".safetensors", ".onnx") or not path.exists()
    return True


def latest_run() -> RunFolder:
    """Return the run that is meant where none is named, and say which it is."""
    from p2p.runs import RunFolder
    from p2p.runs.listing import State, latest_run

    found = latest_run()
    finished = found.state is State.FINISHED
    which = "the latest finished run" if finished else f"the latest run, which is {found.state}"
    note(f"no RUN is named: {found.path}, {which}")
    return RunFolder.open(found.path)


@contextmanager
def progress(
    label: str, at: Callable[[Any], str], *, plain: bool
) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback that shows progress: a bar on stderr, or a line now and then.

    Args:
        label: of the bar, such as "evaluating".
        at: puts into words how far it is.
        plain: no bar, on a terminal too.
    """
    if plain or not can_redraw(sys.stderr):
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


class Found(Protocol):
    """The result of an analysis."""

    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102


def show(
    found: Found,
    tables: Callable[[], list[Text]],
    files: Mapping[str, str | Sequence[str] | None],
    *,
    as_json: bool,
    plain: bool,
) -> None:
    """Print what was found: one JSON object, or its tables and where its files lie.

    Args:
        tables: called only if tables are shown.
        files: path or paths that were written, by their name in the JSON.
        plain: no styles, on a terminal too.
    """
    if as_json:
        from p2p.runs.journal import jsonable

        print(json.dumps(jsonable({**found.to_dict(), **files}), allow_nan=False))
        return
    print_lines(tables(), styled=can_redraw(sys.stdout) and not plain)
    for kind, paths in files.items():
        for path in [paths] if isinstance(paths, str) else paths or []:
            print(f"{kind.removesuffix('s')}: {path}")


class Files:
    """The files that a command writes; if one fails, the results are shown all the same."""

    def __init__(self) -> None:
        self._failed: P2PError | None = None
        self._noted: set[str] = set()

    @contextmanager
    def writing(self, advice: str, *, asked: bool) -> Iterator[None]:
        """Keep the error if the block fails for want of room, permission or matplotlib.

        Args:
            advice: what the user can do then.
            asked: the file was asked for, so `raise_failed` fails; else a note on stderr is all.
        """
        from p2p.runs.files import advising

        try:
            with advising(advice):
                yield
        except (NoRoom, UsageError) as error:
            if asked:
                self._failed = self._failed or error
            elif str(error) not in self._noted:
                self._noted.add(str(error))
                note(str(error))

    def write(
        self, path: Path, encode: Callable[[], bytes], kind: str, advice: str, *, asked: bool
    ) -> str | None:
        """Write a file and return its path, or None if `writing` kept an error."""
        from p2p.runs import write_atomically

        with self.writing(advice, asked=asked):
            write_atomically(path, encode(), kind)
            return str(path)
        return None

    def raise_failed(self) -> None:
        """Raise the error of the first file that was asked for, once the results are shown."""
        if self._failed is not None:
            raise self._failed


def how_far(now: Any) -> str:
    """Return how far an evaluation is, in words."""
    rate = count(now.steps / now.seconds)
    return f"{now.done:,} of {counted(now.total, 'episode')}  {rate} steps/s"
