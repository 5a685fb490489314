"""`p2p train`: from options to a run, and from its events to what is shown."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import click

from p2p.cohort.events import Checkpointed, Event, Finished, Iterated, Noted, Started
from p2p.core import env_names
from p2p.core.config import TrainConfig
from p2p.core.errors import Interrupted, P2PError, UsageError
from p2p.core.names import FOLDER_NAME, FOLDER_NAME_RULE
from p2p.core.signals import StopSignals, request_stop
from p2p.exchange.place import Place, find_place

from .interrupt import STOPPING, interrupts, say
from .notices import say_if_compiling
from .options import (
    DURATION,
    FILE,
    FOLDER,
    KINDS,
    SettingsCommand,
    configure,
    flags_in_messages,
    given_on_command_line,
    setting_options,
    term_option,
)
from .text.formats import counted
from .text.terminal import can_redraw, unwritable
from .typed import typed_flags

if TYPE_CHECKING:
    from p2p.cohort.nodes.start import Start

GOAL = ("total_steps", "total_steps_per_peer")
# What a run that goes on may have anew
LATER = (*GOAL, "track", "threads_per_peer", "max_restarts")
ON_RESUME = {"resume", *LATER, "max_time", "as_json", "plain", *KINDS, "term"}


class View(Protocol):
    """Something that shows a run; it is entered before the run starts."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def started(self, event: Started) -> None: ...  # noqa: D102
    def iterated(self, event: Iterated) -> None: ...  # noqa: D102
    def checkpointed(self, event: Checkpointed) -> None: ...  # noqa: D102
    def noted(self, event: Noted) -> None: ...  # noqa: D102
    def finished(self, event: Finished) -> None: ...  # noqa: D102


EXAMPLES = """\b
Examples:
  p2p train --env humanoid --peers 4
  p2p train --env hopper --method ppo --total-steps 3M --seed 1
  p2p train --env Pusher-v5 --randomise domains.toml
  p2p train --resume runs/humanoid-p2pdrl-260101-120000 --total-steps 2M
"""


def _explain(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the glossary and end."""
    if asked and not ctx.resilient_parsing:
        from .glossary import lines
        from .tables import print_lines
        from .text.terminal import columns

        print_lines(lines(columns()))
        ctx.exit()


@click.command(cls=SettingsCommand, params=setting_options(), epilog=EXAMPLES)
@click.option(
    "--config",
    "file",
    type=FILE,
    metavar="FILE.toml",
    help="Settings, or a run's config.json; flags win.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the run's folder in runs/ [task, method, time]."
)
@click.option("--out", type=FOLDER, metavar="DIR", help="The run's folder, if not in runs/.")
@click.option("--resume", type=FOLDER, metavar="RUN", help="Continue the run in this folder.")
@click.option(
    "--max-time", type=DURATION, metavar="TIME",
    help="Stop after this time with a checkpoint, as in 90m, 3h30m or 3:30:00 (exit 142).",
)  # fmt: skip
@term_option
@click.option(
    "--set", "more", multiple=True, metavar="NAME=VALUE", help="A setting of a method of your own."
)
@click.option(
    "--env-kwargs", multiple=True, metavar="KEY=VALUE",
    help="An argument of Gymnasium's env; its value as TOML has it, else text.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object an event on stdout.")
@click.option("--plain", is_flag=True, help="Plain lines, on a terminal too.")
@click.option("--explain", is_flag=True, is_eager=True, expose_value=False, callback=_explain,
              help="Say what each word on the screen means, and exit.")  # fmt: skip
@click.pass_context
def train(
    ctx: click.Context,
    /,
    file: Path | None,
    name: str | None,
    out: Path | None,
    resume: Path | None,
    max_time: int | None,
    as_json: bool,
    plain: bool,
    **settings: object,
) -> None:
    """Train a cohort of peers, one process each, and show how they do."""
    given = given_on_command_line(ctx)
    place = find_place()
    if resume is not None:
        _check_resumable(ctx)
        for setting in given.keys() - set(KINDS):  # each alone: their agreement depends on the K
            configure({setting: given[setting]})
        if place is None or place.node == 0:  # other nodes have no folder
            _check_same_run(resume, {kind: given[kind] for kind in KINDS if kind in given})
    folder = _named(name, out)
    later = {name: given[name] for name in LATER if name in given}
    session: dict[str, Any] = {} if max_time is None else {"max_time": max_time}
    config = configure({} if resume else given, file)
    launched = _planned(place, config, folder, resume, later) if place is not None else None
    engine = launched.engine if launched else _checked(config, folder, resume, later).engine
    say_if_compiling(engine)
    with interrupts.loading():
        from p2p.cohort import launch

        launch.prepare(engine)  # imports torch while we do; no thread runs yet

    def events() -> Iterator[Event]:
        with interrupts.loading():  # it takes a while: after the first line is on screen
            from p2p.cohort import cohort

            if launched:
                from p2p.cohort.nodes import launched as nodes
        interrupts.check()
        if launched:
            return nodes.run(launched, **session)
        if resume is None:
            return cohort.train(config, out=folder, **session)
        return cohort.resume(resume, **later, **session)

    label = f"loading {resume}" if resume else f"starting {counted(config.num_peers, 'peer')}"
    _show(events, _views(label, place, as_json=as_json, plain=plain))


def _named(name: str | None, out: Path | None) -> Path | None:
    """Return the run's folder; None for a new one in runs/ by its default name."""
    if name is None:
        return out
    if out is not None:
        raise UsageError("--name and --out both name the run's folder; give one of them")
    if not FOLDER_NAME.fullmatch(name):
        raise UsageError(f"--name {name} {FOLDER_NAME_RULE}; --out takes any path")
    return Path("runs") / name


def _planned(
    place: Place, config: TrainConfig, out: Path | None, resume: Path | None, later: dict[str, Any]
) -> Start:
    """Return what this node of a launched run is to do; see `_checked`."""
    with interrupts.loading():
        from p2p.cohort.nodes.start import plan_start

    with flags_in_messages():
        return plan_start(place, config, out=out, resume=resume, later=later)


def _checked(
    config: TrainConfig, out: Path | None, resume: Path | None, later: dict[str, Any]
) -> TrainConfig:
    """Return the settings of the run; what is wrong with it is said before torch is imported."""
    with interrupts.loading():
        from p2p.cohort import checks

    if resume is None:
        checks.check_new(config, out)
        return config
    with flags_in_messages():
        return checks.check_resumable(resume, **later)[1]


def _check_same_run(run: Path, given: Mapping[str, object]) -> None:
    """Raise UsageError if the task or method typed is not that of the run."""
    from p2p.runs import RunFolder

    config = RunFolder.open(run).config if given else None
    for kind, name in given.items():
        if name not in (had := getattr(config, kind), env_names.base_of(had)):
            raise UsageError(
                f"{run} is a run of {kind} {getattr(config, kind)!r}, not {name!r}; "
                "leave it out, or start a new run"
            )


def _check_resumable(ctx: click.Context) -> None:
    """Raise UsageError if an option was typed that would change what is resumed."""
    typed = [flag for name, flag in typed_flags(ctx).items() if name not in ON_RESUME]
    if typed:
        raise UsageError(
            "--resume continues a run with its own settings and folder; it takes "
            "--total-steps (or --total-steps-per-peer), --track, --threads-per-peer, "
            "--max-restarts, --max-time, --json and --plain (and --task or --method, to name code "
            f"of yours), not {', '.join(typed)}"
        )


def _views(label: str, place: Place | None, *, as_json: bool, plain: bool) -> list[View]:
    """Choose who shows the run: JSON has stdout to itself, people then read stderr.

    Of several nodes the first one shows it; on others there are notes alone.
    """
    from .live.plain import JsonLines, PlainLines

    stream = sys.stderr if as_json else sys.stdout
    if place is not None and place.node > 0:
        return [PlainLines(stream)]
    if place is not None and place.num_nodes > 1:
        label += f" on {place.num_nodes} nodes"
    views: list[View] = [JsonLines(sys.stdout)] if as_json else []
    if plain or not can_redraw(stream) or (as_json and sys.stdout.isatty()):
        return [*views, PlainLines(stream)]
    from .live.console import LiveView

    return [*views, LiveView(stream, label)]


def _show(start: Callable[[], Iterator[Event]], views: list[View]) -> None:
    """Pass every event of a run to every view.

    If the output can no longer be written, the run stops as it does for SIGTERM, with a
    checkpoint. It is closed here whatever happens: a traceback would keep its peers alive.

    Raises:
        Interrupted: also when nobody reads the output any more (`| head`).
        NoRoom: the disk that the output goes to is full.
    """
    unwritten: OSError | None = None
    with ExitStack() as stack:
        stack.enter_context(_acknowledging(views))
        for view in views:
            stack.enter_context(view)
        events = stack.enter_context(closing(cast("Generator[Event]", start())))
        try:
            for event in events:
                try:
                    for view in views:
                        _dispatch(event, view)
                except OSError as error:
                    if unwritten is None:
                        request_stop()
                    unwritten = error
        except Interrupted as stopped:
            if unwritten is None or stopped.signum != signal.SIGTERM:  # not for the output
                raise
            raise _unwritable(unwritten, str(stopped)) from None
    if unwritten is not None:
        raise _unwritable(unwritten, "the run is complete")


@contextmanager
def _acknowledging(views: list[View]) -> Iterator[None]:
    """Say at a first Ctrl-C that it was heard, unless a view does: the iteration ends first."""
    if not any(getattr(view, "says_that_it_stops", False) for view in views):
        StopSignals.acknowledge = lambda: say(STOPPING)
    try:
        yield
    finally:
        StopSignals.acknowledge = None


def _unwritable(error: OSError, run: str) -> P2PError:
    """Return what ends a run whose output cannot be written."""
    if isinstance(error, BrokenPipeError):
        return Interrupted(run, signal.SIGPIPE)
    return unwritable(error, run)


def _dispatch(event: Event, view: View) -> None:
    match event:
        case Started():
            view.started(event)
        case Iterated():
            view.iterated(event)
        case Checkpointed():
            view.checkpointed(event)
        case Noted():
            view.noted(event)
        case Finished():
            view.finished(event)
