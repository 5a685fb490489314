"""Tables of a study, as lines of text."""

from __future__ import annotations

import os
from collections.abc import Sequence

from p2p.study import Group, PlannedRun, State

from .tables import table
from .text.formats import compact, count, duration
from .text.layout import shortened, shortened_end, wrap
from .text.terminal import UNLIMITED

STYLES = {
    State.COMPLETE: "green", State.FAILED: "red", State.RUNNING: "bold", State.TESTING: "bold",
}  # fmt: skip
BY_PRIORITY = (  # if not all runs fit on the screen
    State.RUNNING, State.TESTING, State.STOPPING, State.FAILED,
    State.STOPPED, State.QUEUED, State.WAITING, State.COMPLETE, State.SKIPPED,
)  # fmt: skip
BAR = 10  # cells
REST = 54  # cells of the other columns of a table of progress, with their gaps
HEAD = ("run", "state", "progress", "steps/s", "left", "score")


def progress_table(
    runs: Sequence[PlannedRun], height: int, width: int = UNLIMITED
) -> list[tuple[str, str]]:
    """Return a table of runs as (line, style); if not all fit, of those with the first states.

    Args:
        height: lines that the table may have.
        width: cells that a line may have; names are shortened to leave room for the rest.
    """
    by_priority = sorted(runs, key=lambda run: BY_PRIORITY.index(run.state))
    room = len(runs) if len(runs) < height else max(1, height - 2)
    shown = {run.name for run in by_priority[:room]}
    names = short_names([run.name for run in runs], max(8, width - REST))
    size = max(len(HEAD[0]), *map(len, names))
    lines = [(_line(HEAD, size), "bold")]
    for name, run in zip(names, runs, strict=True):
        if run.name in shown:
            line = _line((name, *_cells(run)), size)
            lines.append((shortened_end(line, width), STYLES.get(run.state, "")))
    if hidden := [run.state for run in by_priority[room:]]:
        counts = ((state, hidden.count(state)) for state in BY_PRIORITY)
        rest = ", ".join(f"{number} {state}" for state, number in counts if number)
        lines.append((shortened_end(f"... and {rest}", width), "dim"))
    return lines


def short_names(names: Sequence[str], width: int) -> list[str]:
    """Return names of runs; if one does not fit, without what all begin with, then cut."""
    if max(map(len, names)) <= width:
        return list(names)
    alike = os.path.commonprefix(list(names)) if len(names) > 1 else ""  # noqa: RUF071
    common = alike.rpartition("-")[0]
    return [shortened(name.removeprefix(common + "-"), width) for name in names]


def results_table(summary: Sequence[Group], width: int = UNLIMITED) -> list[str]:
    """Return the summary as text with aligned columns.

    Args:
        width: cells in a line. In a wider table, what all rows share stands in a line above, and
            the other measures go on below.
    """
    head, *rows = _summary(summary, "+-")
    number = _is_number(rows)
    settings = len(summary[0].settings)
    above: list[str] = []
    if sum(max(map(len, column)) + 2 for column in zip(head, *rows, strict=True)) - 2 > width:
        same = [n < settings and len({row[n] for row in rows}) == 1 for n in range(len(head))]
        if any(same) and not all(same[:settings]):
            shared = (f"{head[n]} {rows[0][n]}" for n in range(settings) if same[n])
            above = [*wrap(f"all: {', '.join(shared)}", width), ""]
            settings -= sum(same)
            left = [n for n in range(len(head)) if not same[n]]
            head, *rows = [[row[n] for n in left] for row in (head, *rows)]
            number = [number[n] for n in left]
    sizes = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    padded = [
        [cell.rjust(size) if is_number else cell.ljust(size)
         for cell, size, is_number in zip(row, sizes, number, strict=True)]
        for row in (head, *rows)
    ]  # fmt: skip
    lines = table(padded[0], padded[1:], left=settings, width=width)
    return [*above, *(line.plain for line in lines)]


def markdown_table(summary: Sequence[Group]) -> list[str]:
    """Return the summary as a Markdown table."""
    head, *rows = _summary(summary, "±")
    rule = ["---:" if number else "---" for number in _is_number(rows)]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def _summary(summary: Sequence[Group], sign: str) -> list[list[str]]:
    """Return the rows of cells of the summary; the first is the head.

    Args:
        sign: the text between a mean and its standard deviation.
    """
    shown = _shown_measures(summary)
    words = {"num_peers": "peers"}
    settings = [words.get(name, name.replace("_", " ")) for name in summary[0].settings]
    rows: dict[tuple[str, ...], list[str]] = {}
    for group in summary:
        if group.measure in shown:
            cells = tuple(str(value) for value in group.settings.values())
            row = rows.setdefault(cells, [*cells, str(group.n), *([""] * len(shown))])
            spread = "" if group.std is None else f" {sign} {group.std:.0f}"
            row[len(cells) + 1 + shown.index(group.measure)] = f"{group.mean:.0f}{spread}"
            if len(shown) == 1:
                row += [f"{group.min:.0f}", f"{group.max:.0f}"]
    names = [f"{name.replace('=', ' ')} {sign} std" for name in shown]
    return [[*settings, "seeds", *names, *(["min", "max"] if len(shown) == 1 else [])],
            *rows.values()]  # fmt: skip


def _shown_measures(summary: Sequence[Group]) -> list[str]:
    """Return the measures to show: those at the first, middle and last strength, or the score."""
    names = list(dict.fromkeys(group.measure for group in summary))
    strengths = [name for name in names if name.startswith("eps_te=")]
    few = [strengths[n] for n in (0, len(strengths) // 2, -1)] if strengths else names[:1]
    return list(dict.fromkeys(few))


def _is_number(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Tell which columns hold numbers, which are aligned right."""
    return [all(cell[:1] in "-0123456789" for cell in column) for column in zip(*rows, strict=True)]


def _cells(run: PlannedRun) -> tuple[str, ...]:
    rate = run.rate if run.state in (State.RUNNING, State.TESTING) else None
    left = run.steps_left / rate if rate else None
    last = run.error if run.state is State.FAILED else run.note or compact(run.score)
    share = run.tested if run.state is State.TESTING else run.steps / run.total_steps
    full = int(share * BAR)
    bar = f"{'━' * full}{'─' * (BAR - full)} {share:4.0%}"
    return run.state, bar, count(rate), duration(left), last


def _line(cells: Sequence[str], width: int) -> str:
    name, state, progress, rate, left, score = cells
    return f"{name:<{width}}  {state:<8}  {progress:<{BAR + 5}}  {rate:>7}  {left:>8}  {score:>6}"
