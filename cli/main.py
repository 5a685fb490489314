"""`p2p`: the group of commands, each imported when it is called, and the exit codes.

Neither this module nor a command's module imports torch, numpy, MuJoCo or numba at its top, so
that `--help` and shell completion answer at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from p2p.core.errors import Interrupted, P2PError
from p2p.core.names import nearest
from p2p.core.signals import StopSignals

from .interrupt import SIGINT_EXIT, end_server, interrupts
from .text.layout import message_lines
from .text.terminal import columns, unwritable

COMMANDS = {  # name: one line of help; the module of the same name (`_` for `-`) has the command
    "train": "Train a cohort of peers, or resume a run.",
    "runs": "List the runs on disk, find the latest, remove some.",
    "eval": "Test trained policies in randomised domains.",
    "export": "Take a policy out as ONNX and plain C, checked.",
    "video": "Film a trained policy in domains, side by side.",
    "play": "Watch a trained policy in MuJoCo's viewer.",
    "surface": "Map the return on a plane through a run's policies.",
    "grad-variance": "Measure the variance of the gradient through training.",
    "plot": "Draw the learning curves of runs.",
    "report": "Write a run or a study as one page of HTML.",
    "compare": "Compare groups of runs, and test their differences.",
    "study": "Train a grid of runs, and tabulate the results.",
    "figures": "Draw a figure of the paper from a study's results.",
    "bench": "Measure the speed of training on this machine.",
    "env": "Describe a task: observations, actions, speed.",
    "domains": "Show what a domains file changes of a robot, and try it.",
    "methods": "List the methods, with what each minimises and exchanges.",
    "completion": "Print a shell's completion script.",
    "doctor": "Check this machine and installation for what p2p needs.",
}

OTHER_WORDS = {  # that other programs have for a command
    "resume": "train --resume RUN", "run": "train", "learn": "train", "fit": "train",
    "test": "eval", "evaluate": "eval", "benchmark": "bench", "sweep": "study", "tune": "study",
    "ls": "runs", "list": "runs", "rm": "runs rm", "tasks": "env", "envs": "env",
}  # fmt: skip

LAYOUT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
SIGPIPE_EXIT = 141  # 128 + signal, as a shell counts
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # full, over quota, a closed terminal


class Program(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return the command, or fail with the nearest name."""
        if name in COMMANDS:
            return _import(name)
        if not ctx.resilient_parsing:  # shell completion must not fail
            near = OTHER_WORDS.get(name) or nearest(name, COMMANDS)
            hint = f"did you mean {near!r}? " if near else ""
            ctx.fail(f"no command {name!r}; {hint}known: {', '.join(COMMANDS)}")
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run the command line and end the process with its exit code."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # closed by the caller (`>&-`)
                setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
            elif isinstance(stream, TextIOWrapper):  # escape what the locale lacks
                stream.reconfigure(errors="backslashreplace")
        exit_code = _run(self, sys.argv[1:] if args is None else list(args))
        for stream in (sys.stdout, sys.stderr):
            if _cannot_flush(stream):  # Python would print an error at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if "p2p.cohort.nodes.link" in sys.modules:  # gloo takes seconds to close what has failed
            interrupts.end_now(exit_code)
        sys.exit(exit_code)


def _import(name: str) -> click.Command:
    name = name.replace("-", "_")
    with interrupts.loading():
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
    return command


@click.group(cls=Program, invoke_without_command=True, context_settings=LAYOUT)
@click.version_option(package_name="p2pdrl", message="%(prog)s %(version)s")
@click.pass_context
def p2p(ctx: click.Context) -> None:
    """Train peers that distil into each other on randomised MuJoCo tasks (P2PDRL)."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Run the console script `p2p`."""
    interrupts.install()
    StopSignals.end_now = interrupts.end_now
    try:
        p2p.main()
    finally:
        end_server()


def _run(program: Program, args: list[str]) -> int:
    """Run the command and return the exit code; an error of the user's is one line on stderr.

    Any other exception is a defect of the program. It is not caught, so that Python prints the
    traceback and ends with 1.
    """
    try:
        # click's own `main` is not used: it treats any broken pipe as a closed stdout and ends
        # with 1, also one between processes of a cohort.
        if instruction := os.environ.get("_P2P_COMPLETE"):
            from click.shell_completion import shell_complete

            return shell_complete(program, {}, "p2p", "_P2P_COMPLETE", instruction)
        with interrupts.working(), program.make_context("p2p", args) as ctx:
            program.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except P2PError as error:
        told = _limit_of(error) or error
        return _fail(str(told), told.exit_code, interrupted=isinstance(error, Interrupted))
    except click.ClickException as error:
        return _fail_usage(error)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except BrokenPipeError:
        if not (_reader_is_gone(sys.stdout) or _reader_is_gone(sys.stderr)):
            raise
        return SIGPIPE_EXIT
    except Exception as error:
        if interrupts.received:
            return _interrupted()
        if (limit := _limit_of(error)) is not None:
            return _fail(str(limit), limit.exit_code)
        if not isinstance(error, OSError) or error.errno not in UNWRITABLE or error.filename:
            raise  # with a filename it is a file, not a stream
        cannot_write = unwritable(error)
        return _fail(str(cannot_write), cannot_write.exit_code)
    return 0


def _limit_of(error: Exception) -> P2PError | None:
    """Return what to say if a limit of memory, files or processes has caused an error."""
    from p2p.core.limits import explained

    return explained(error)


def _interrupted() -> int:
    """Say so, unless the signal's handler has, and return the exit code."""
    if not interrupts.said:
        click.echo("interrupted", err=True)
    return SIGINT_EXIT


def _fail(message: str, exit_code: int, *, interrupted: bool = False) -> int:
    """Print one line on stderr, in colour and wrapped on a terminal; return the exit code."""
    label, colour = ("interrupted", "yellow") if interrupted else ("error", "red")
    line = f"{label}: {'; '.join(message.splitlines())}"
    colours = False if "NO_COLOR" in os.environ else None
    with contextlib.suppress(OSError):  # stderr is closed too: the exit code must do
        for part in message_lines(line, columns(stream=sys.stderr)):
            click.secho(part, fg=colour, err=True, color=colours)
    return exit_code


def _fail_usage(error: click.ClickException) -> int:
    ctx = getattr(error, "ctx", None)
    where = f" (see {ctx.command_path} --help)" if ctx else ""
    message = " ".join(error.format_message().split()).rstrip(".")  # click lists choices in lines
    if ctx and isinstance(error, click.NoSuchOption):
        message = _no_option(error, ctx) or message
    return _fail(message + where, error.exit_code)


def _no_option(error: click.NoSuchOption, ctx: click.Context) -> str:
    """Return what an option of other trainers, or one with underscores, is called here."""
    from p2p.core.foreign import translated
    from p2p.core.names import plain

    options = {
        param.name: max(param.opts, key=len)
        for param in ctx.command.params
        if param.name and not str(param.metavar).startswith("PATH:")  # which load code
    }
    typed = error.option_name
    if plain(typed) in options and typed.startswith("--"):
        return f"no option {typed}: write {options[plain(typed)]}"
    said = translated(typed, options, lambda name: options[name])
    return f"no option {typed}{said.replace(';', ':', 1)}" if said else ""


def _cannot_flush(stream: TextIO) -> bool:
    """Whether the stream's buffered output cannot be written."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


def _reader_is_gone(stream: TextIO) -> bool:
    """Whether the stream is a pipe whose reading end is closed."""
    with contextlib.suppress(OSError, ValueError):  # the stream is not a file
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False
