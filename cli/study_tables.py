"""Tables of a study, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.study import Group, PlannedRun, State

from .text.formats import compact, count, duration

STYLES = {
    State.COMPLETE: "green", State.FAILED: "red", State.RUNNING: "bold", State.TESTING: "bold",
}  # fmt: skip
BY_PRIORITY = (  # if not all runs fit on the screen
    State.RUNNING, State.TESTING, State.STOPPING, State.FAILED,
    State.STOPPED, State.WAITING, State.COMPLETE, State.SKIPPED,
)  # fmt: skip
BAR = 10  # cells
HEAD = ("run", "state", "progress", "steps/s", "left", "score")


def progress_table(runs: Sequence[PlannedRun], height: int) -> list[tuple[str, str]]:
    """Return a table of runs as (line, style); if not all fit, of those with the first states.

    Args:
        height: lines that the table may have.
    """
    by_priority = sorted(runs, key=lambda run: BY_PRIORITY.index(run.state))
    room = len(runs) if len(runs) < height else max(1, height - 2)
    shown = {run.name for run in by_priority[:room]}
    width = max(len(HEAD[0]), *(len(run.name) for run in runs))
    lines = [(_line(HEAD, width), "bold")]
    for run in runs:
        if run.name in shown:
            lines.append((_line(_cells(run), width), STYLES.get(run.state, "")))
    if hidden := [run.state for run in by_priority[room:]]:
        counts = ((state, hidden.count(state)) for state in BY_PRIORITY)
        rest = ", ".join(f"{number} {state}" for state, number in counts if number)
        lines.append((f"... and {rest}", "dim"))
    return lines


def results_table(summary: Sequence[Group]) -> list[str]:
    """Return the summary as text with aligned columns."""
    head, *rows = _summary(summary, "+-")
    sizes = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(size) if number else cell.ljust(size)
            for cell, size, number in zip(row, sizes, _is_number(rows), strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


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
    last = run.error if run.state is State.FAILED else compact(run.score)
    share = run.tested if run.state is State.TESTING else run.steps / run.total_steps
    full = int(share * BAR)
    bar = f"{'━' * full}{'─' * (BAR - full)} {share:4.0%}"
    return run.name, run.state, bar, count(rate), duration(left), last


def _line(cells: Sequence[str], width: int) -> str:
    name, state, progress, rate, left, score = cells
    return f"{name:<{width}}  {state:<8}  {progress:<{BAR + 5}}  {rate:>7}  {left:>8}  {score:>6}"
