"""The words at the start and at the end of a run, with the commands to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from p2p.cohort.events import Finished
from p2p.core import registry
from p2p.core.config import TrainConfig

from ..text.formats import compact, count, counted, duration
from ..text.layout import command_lines, wrap
from .history import History

NEXT = (  # commands to type after a run; {run} is its folder, quoted for a shell
    "p2p eval {run} --eps-te 0.5{code}",
    "p2p train --resume {run} --total-steps {twice}{code}",
)


def describe_run(config: TrainConfig) -> list[str]:
    """Return the parts of a header: task, method, peers, strength, seed."""
    return [
        config.task,
        config.method,
        counted(config.num_peers, "peer"),
        f"eps_tr {config.eps_tr:g}",
        f"seed {config.seed}",
    ]


def describe_tests(config: TrainConfig) -> str:
    """Return where `test_every` tests."""
    return f"{counted(config.test_domains, 'held-out domain')}, strength {config.test_eps:g}"


def short_path(path: Path) -> str:
    """Return the path, relative to the working directory if it lies below it."""
    cwd = Path.cwd()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def summary(event: Finished, history: History, width: int) -> list[str]:
    """Return the last lines of a run: scores, duration, folder, and the next commands.

    Args:
        width: cells in a line; a path alone may be longer.
    """
    run = short_path(event.run.path)
    peers = history.config.num_peers
    each = f" ({count(event.steps // peers)} a peer)" if peers > 1 else ""
    lines = wrap(
        f"finished: {count(event.steps)} steps{each}; {duration(event.seconds)}, "
        f"{count(history.session_rate)} steps/s while training",
        width, "          ",
    )  # fmt: skip
    if history.unstable:
        lines.append(f"physics diverged in {counted(history.unstable, 'episode')}")
    if event.scores:
        lines += ["", *_scores(event.scores, width)]
    if history.tests:
        lines += ["", *_best(history)]
    config = history.config
    filled = {
        "run": shlex.quote(run),
        "twice": 2 * config.total_steps,
        "code": registry.loading_options(config.task, config.method),
    }
    following = NEXT[:1] if config.why_its_end_counts else NEXT
    if history.tests:
        following = (following[0] + " --policies best", *following)
    commands = [text.format(**filled) for text in following]
    return [*lines, "", f"run    {run}", *next_lines(commands, width)]


def next_lines(commands: Sequence[str], width: int, size: int = 7) -> list[str]:
    """Return the commands to type next, behind a label of `size` cells."""
    labels = ["next".ljust(size), *[" " * size] * (len(commands) - 1)]
    pairs = zip(commands, labels, strict=True)
    return [line for command, label in pairs for line in command_lines(command, width, label)]


def _best(history: History) -> list[str]:
    """Return a row per peer: its best test, and when that was."""
    tests = counted(len(history.tests), "test")
    rows = [(f"peer {k}", compact(best), count(at)) for k, (at, best) in enumerate(history.best)]
    if len(rows) > 1:
        rows.append(("mean", compact(history.best_mean), ""))
    names = max(len(row[0]) for row in rows)
    return [
        f"best of {tests}: mean action, {describe_tests(history.config)}",
        f"{'':{names}} {'return':>8} {'at steps':>12}",
        *(f"{name:<{names}} {best:>8} {at:>12}".rstrip() for name, best, at in rows),
    ]


def _scores(scores: list[dict[str, float]], width: int) -> list[str]:
    """Return a row per peer, and their mean, which is the method's score."""
    rows = [
        (f"peer {s['peer']}", s["mean"], f"+- {compact(s['std']):>6}", s["length"]) for s in scores
    ]
    if len(scores) > 1:
        mean, length = (sum(s[key] for s in scores) / len(scores) for key in ("mean", "length"))
        rows.append(("mean", mean, "", length))
    names = max(len(row[0]) for row in rows)
    episodes = counted(int(scores[0]["episodes"]), "episode")
    title = f"score of the final policies: mean action, nominal domain, {episodes} each"
    return [
        *wrap(title, width),
        f"{'':{names}} {'return':>8} +- {'std':>6} {'length':>8}",
        *(
            f"{name:<{names}} {compact(mean):>8} {spread:9} {length:>8.0f}"
            for name, mean, spread, length in rows
        ),
    ]
