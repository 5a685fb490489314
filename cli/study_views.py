"""Views of a running study: a live table, plain lines, JSON, or Markdown."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from p2p.core import registry
from p2p.runs.journal import jsonable
from p2p.study import Engine, Plan, PlannedRun, Results, State, Submitted

from .live.summary import next_lines, short_path
from .study_tables import markdown_table, progress_table, results_table
from .text.formats import count, counted, duration
from .text.layout import wrap
from .text.terminal import columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Group

LONGEST = 60.0  # s between two lines of progress
HINT = "; Ctrl-C saves and stops"
ON_CLUSTER = (State.TESTING, State.RUNNING, State.QUEUED, State.WAITING)


class StudyView(Protocol):
    """A view of a study; its context is entered while runs are trained."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def changed(self, run: PlannedRun) -> None: ...  # noqa: D102
    def submitted(self, jobs: Submitted) -> None: ...  # noqa: D102
    def finished(self, results: Results, written: Sequence[Path]) -> None: ...  # noqa: D102


class StudyLines:
    """A line when a run starts or ends, a line of progress every minute, and the results."""

    def __init__(self, stream: TextIO, plan: Plan, engine: Engine) -> None:
        self._stream, self._plan, self._engine = stream, plan, engine
        self._states = {run.name: run.state for run in plan.runs}
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        for line in header_lines(self._plan, self._engine):
            self._say(line)
        return self

    def __exit__(self, *error: object) -> None:
        """Write how far all runs are, where they go on without this process."""
        if not self._engine.stays and error[0] is None:
            self._say(progress_line(self._plan, self._engine))

    def changed(self, run: PlannedRun) -> None:
        """Write a line if the run's state has changed, or a minute has passed."""
        if self._states[run.name] is not run.state:
            self._states[run.name] = run.state
            self._say(f"{run.state:<8}  {run.name}{_outcome(run)}", " " * 10)
        elif time.monotonic() - self._last >= LONGEST:
            self._last = time.monotonic()
            self._say(progress_line(self._plan, self._engine).removesuffix(HINT))

    def submitted(self, jobs: Submitted) -> None:
        """Write which job was made of which runs."""
        self._say(submitted_line(jobs), " " * 10)

    def finished(self, results: Results, written: Sequence[Path]) -> None:
        """Write the results."""
        for line in result_lines(self._plan, results, written, columns(stream=self._stream)):
            self._print(line)

    def _say(self, sentence: str, indent: str = "") -> None:
        for line in fitted(sentence, columns(stream=self._stream), indent):
            self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class StudyTable:
    """A table that is redrawn in place; at the end, the results below it."""

    def __init__(self, stream: TextIO, plan: Plan, engine: Engine) -> None:
        from rich.console import Console
        from rich.live import Live

        self._plan, self._engine = plan, engine
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(
            get_renderable=self._frame, console=self._console, refresh_per_second=2,
            redirect_stdout=stream is sys.stdout,  # else stdout is read by a program
        )  # fmt: skip

    def __enter__(self) -> Self:
        for line in header_lines(self._plan, self._engine):
            for part in fitted(line, self._console.width):
                self._print(part)
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop redrawing; the last table stays on the screen."""
        self._live.stop()

    def changed(self, run: PlannedRun) -> None:
        """Do nothing: the next frame shows it."""

    def submitted(self, jobs: Submitted) -> None:
        """Print which job was made of which runs."""
        for line in fitted(submitted_line(jobs), self._console.width, " " * 10):
            self._print(line)

    def finished(self, results: Results, written: Sequence[Path]) -> None:
        """Print the results below the table."""
        for line in result_lines(self._plan, results, written, self._console.width):
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def _frame(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        size = self._console.size
        below = wrap(progress_line(self._plan, self._engine), size.width)
        lines = progress_table(self._plan.runs, size.height - 1 - len(below), size.width)
        return Group(*(Text(line, style) for line, style in [*lines, *((b, "dim") for b in below)]))


class StudyJson:
    """One JSON object per line: one for each change of a run, and one for the results."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def changed(self, run: PlannedRun) -> None:
        """Write the run's state and progress."""
        self._print(
            "run",
            run=run.name,
            path=str(run.path),
            state=run.state,
            steps=run.steps,
            total_steps=run.total_steps,
            tested=run.tested,
            steps_per_second=run.rate,
            score=run.score,
            error=run.error or None,
            **({"note": run.note} if run.note else {}),
        )

    def submitted(self, jobs: Submitted) -> None:
        """Write which job was made of which runs."""
        self._print("submitted", job=jobs.job, job_name=jobs.name, runs=list(jobs.runs))

    def finished(self, results: Results, written: Sequence[Path]) -> None:
        """Write the results."""
        self._print("results", **asdict(results))

    def _print(self, name: str, **fields: Any) -> None:
        line = json.dumps(jsonable({"event": name, **fields}), allow_nan=False)
        print(line, file=self._stream, flush=True)


class StudyMarkdown:
    """Only the summary, as a Markdown table."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def changed(self, run: PlannedRun) -> None:
        """Do nothing."""

    def submitted(self, jobs: Submitted) -> None:
        """Do nothing."""

    def finished(self, results: Results, written: Sequence[Path]) -> None:
        """Write the table."""
        if results.summary:
            print("\n".join(markdown_table(results.summary)), file=self._stream, flush=True)


def header_lines(plan: Plan, engine: Engine) -> list[str]:
    """Return the lines before the first run starts: name, number of runs, folder."""
    done = plan.count(State.COMPLETE)
    known = f", {done} complete" if done else ""
    budget = f", budget {plan.study.budget}" if plan.study.budget else ""
    return [
        f"study {plan.study.name}{budget}: {counted(len(plan.runs), 'run')}{known}, {engine.where}",
        f"folder: {short_path(plan.out)}",
    ]


def result_lines(plan: Plan, results: Results, written: Sequence[Path], width: int) -> list[str]:
    """Return the results and their files, the failed and missing runs, and what to type next.

    Args:
        written: the files of the results.
        width: cells in a line.
    """
    lines = [
        part
        for run in plan.runs
        if run.state is State.FAILED
        for part in fitted(f"failed   {run.name}: {run.error}", width, " " * 9)
    ]
    if not results.runs:
        return [*lines, "no run of this study is complete yet"]
    if results.summary:
        lines = ["", *results_table(results.summary, width), "", *lines]
    labels = ["results", *[""] * len(written)]
    lines += [
        f"{label:<7}  {short_path(file)}" for label, file in zip(labels, written, strict=False)
    ]
    for word, names in (("missing", results.missing), ("untested", results.untested)):
        if names:
            first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            text = f"{word:<8} {counted(len(names), 'run')}: {first}"
            lines += fitted(text, width, " " * 9)
    return [*lines, *next_lines(next_commands(plan, results, written), width, 9)]


def fitted(sentence: str, width: int, indent: str = "") -> list[str]:
    """Return a sentence over as many lines as it needs, if it does not fit one."""
    return [sentence] if len(sentence) <= width else wrap(sentence, width, indent)


def next_commands(plan: Plan, results: Results, written: Sequence[Path]) -> list[str]:
    """Return what shows more of the results: a comparison of the runs, and a figure.

    Args:
        written: the study's own table, then the saved ones, which alone show runs without folders.
    """
    from p2p.plots import FIGURES
    from p2p.plots.data import is_shipped

    file = plan.study.file
    folder = shlex.quote(short_path(plan.out))
    study = file.stem if is_shipped(file) else shlex.quote(str(file))
    words = ["p2p figures", study]
    if plan.study.budget and plan.study.name.endswith(f"-{plan.study.budget}"):
        words.append(f"--budget {plan.study.budget}")
    if file.stem not in FIGURES:
        words.append(f"--like {_like(plan)}")
    several = len({tuple(run.settings.values()) for run in results.runs}) > 1
    code = registry.loading_options()
    if len(written) > 1 and not any(run.trained for run in plan.runs):
        return [" ".join([*words, f"--tables {shlex.quote(short_path(written[1].parent))}"]) + code]
    figure = " ".join([*words, f"--runs {folder}"]) + code
    return [*([f"p2p compare {folder}/*/{code}"] if several else []), figure]


def _like(plan: Plan) -> str:
    """Return the figure that shows most of what a study measures."""
    tests = plan.study.evaluate
    over_strength = tests is not None and len(tests.eps_te) > 1
    return "fig4" if over_strength else "fig5" if plan.study.surface else "fig3"


def submitted_line(jobs: Submitted) -> str:
    """Say which job was made of which runs."""
    return f"submitted {counted(len(jobs.runs), 'run')} as job {jobs.job}, {jobs.name}"


def progress_line(plan: Plan, engine: Engine) -> str:
    """Return the progress of the whole study."""
    done = sum(run.steps for run in plan.chosen)
    total = sum(run.total_steps for run in plan.chosen)
    running = [run for run in plan.chosen if run.state in (State.RUNNING, State.TESTING)]
    rate = sum(run.rate or 0.0 for run in running) or None
    text = f"{plan.count(State.COMPLETE)} of {len(plan.chosen)} runs complete"
    if failed := plan.count(State.FAILED):
        text += f", {failed} failed"
    if not engine.stays:
        states = ((plan.count(state), state) for state in ON_CLUSTER)
        text += "".join(f", {number} {state}" for number, state in states if number)
    text += f"; {done / total:.0%} of {count(total)} steps"
    if plan.count(State.STOPPING) or plan.count(State.STOPPED):
        return f"{text}; stopping after this iteration"
    if plan.count(State.COMPLETE) + plan.count(State.FAILED) == len(plan.chosen):
        return text
    if not engine.stays:
        return f"{text}; the same command shows how they do, and goes on"
    left = duration(engine.seconds_left(plan.runs))
    return f"{text}, {count(rate)} steps/s, {left} left{HINT}"


def _outcome(run: PlannedRun) -> str:
    if run.state is State.COMPLETE and run.score is not None:
        return f"  score {run.score:.0f}"
    if run.state is State.FAILED:
        return f"  {run.error}"
    share = f"  {run.steps / run.total_steps:.0%}" if run.note and run.steps else ""
    return f"{share}  {run.note}" if run.note else ""
