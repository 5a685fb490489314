"""`p2p plot`: the learning curves of runs, in the terminal and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.core.errors import BadArtefact, UsageError

from .analysis import Files, latest_run, leave_out_folders, output_options, show
from .options import FILE, source_options
from .tables import as_text, table
from .text.formats import NOTHING, compact, count
from .text.terminal import can_redraw, columns

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.analysis.learning import LearningGroup, LearningRun

SUFFIXES = ("png", "svg")
PIPED = 80  # columns of a file or pipe
WIDEST = 120  # columns of a chart
EXAMPLES = """\b
Examples:
  p2p plot                                  the latest finished run
  p2p plot runs/studies/methods/hopper-*    a band a method, over its seeds
  p2p plot runs/a runs/b --measure return,entropy --x hours -o ab.svg

Measures: return, length, entropy, kl, speed; approx_kl, clip_fraction, value_loss,
explained_variance, log_std, learning_rate, grad_norm_actor, grad_norm_critic;
reward/NAME of a task that names its reward terms.
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path),
    callback=leave_out_folders,
)  # fmt: skip
@click.option(
    "--measure", "measures", metavar="NAME,...",
    help="What to draw [default: return, length, entropy, kl, speed and reward terms].",
)  # fmt: skip
@click.option(
    "--x", type=click.Choice(["steps", "hours", "iterations"]), default="steps",
    show_default=True, help="What it is drawn over; steps are over all peers.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=FILE, metavar="FILE",
    help="Picture, .png or .svg; both if it ends in neither [default: curves.png and curves.svg].",
)  # fmt: skip
@output_options
@source_options
def plot(
    runs: tuple[Path, ...],
    measures: str | None,
    x: str,
    out: Path | None,
    as_json: bool,
    plain: bool,
) -> None:
    """Draw the learning curves of each RUN, also of one that trains or has crashed.

    Runs that differ in their seed alone are one line, the mean over seeds, with a band: Student's
    t 95% interval of the mean. No RUN: the latest finished one under runs/.
    """
    from p2p.analysis.learning import choose_measures, group_learning

    found, failed = _read(runs or (latest_run().path,))
    names = [name.strip() for name in (measures or "").split(",") if name.strip()]
    if measures is not None and not names:
        raise UsageError(f"--measure {measures!r} names no measure")
    chosen = choose_measures(found, names)
    groups, notes = group_learning(found)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    files = Files()
    written = _draw(groups, chosen, x, out, files)
    braille = can_redraw(_stdout()) and not plain
    lines = partial(render, groups, chosen, x, columns(PIPED), named=bool(names), braille=braille)
    show(_Found(groups, chosen, x), lines, {"figures": written}, as_json=as_json, plain=plain)
    files.raise_failed()
    if failed is not None:
        raise failed


def _stdout() -> Any:
    import sys

    return sys.stdout


def _read(paths: Sequence[Path]) -> tuple[list[LearningRun], BadArtefact | None]:
    """Read the runs; return the error of the first that is damaged, if others are whole.

    Raises:
        BadArtefact: all are damaged.
    """
    from p2p.analysis.comparison.runs import unique
    from p2p.analysis.learning import read_learning

    found: list[LearningRun] = []
    failed: list[BadArtefact] = []
    for path in unique(paths):
        try:
            found.append(read_learning(path))
        except BadArtefact as error:
            failed.append(error)
    if not found:
        raise failed[0]
    for other in failed[1:]:
        click.echo(f"note: {other}", err=True)
    return found, failed[0] if failed else None


class _Found:
    """What is printed as JSON."""

    def __init__(self, groups: Sequence[LearningGroup], measures: Sequence[str], x: str) -> None:
        self.groups, self.measures, self.x = groups, measures, x

    def to_dict(self) -> dict[str, Any]:
        """Return every curve, and the mean over seeds with its interval."""
        return {"x": self.x, "groups": [self._group(group) for group in self.groups]}

    def _group(self, group: LearningGroup) -> dict[str, Any]:
        from p2p.analysis.statistics import mean_interval
        from p2p.plots.curves import group_curve

        means = {}
        for measure in self.measures:
            one = group_curve(group, measure, self.x)
            rows = [
                {self.x: x, "mean": mean, "ci": mean_interval(one.points[x])}
                for x, mean in one.mean
            ]
            means[measure] = {"seeds": one.seeds, "points": rows}
        runs = [
            {
                "path": run.path, "seed": run.seed, "finished": run.finished,
                "iterations_a_point": run.size, "points": run.points, "last_tenth": run.last,
            }
            for run in group.runs
        ]  # fmt: skip
        return {"task": group.task, "label": group.label, "means": means, "runs": runs}


def _draw(
    groups: Sequence[LearningGroup], measures: Sequence[str], x: str, out: Path | None, files: Files
) -> list[str]:
    """Draw the pictures, and return their paths."""
    from p2p.plots.curves import draw_curves
    from p2p.runs import write_atomically

    suffix = "" if out is None else out.suffix[1:].lower()
    if suffix and suffix not in SUFFIXES:
        raise UsageError(f"-o {out}: pictures are .png or .svg")
    wanted = (suffix,) if suffix else SUFFIXES
    written: list[str] = []
    with files.writing("name another with -o", asked=out is not None):
        drawn = draw_curves(groups, measures, x)
        for one in wanted:
            path = Path("curves").with_suffix(f".{one}") if out is None else out
            path = path if suffix or out is None else path.with_name(f"{path.name}.{one}")
            write_atomically(path, drawn.files[one], "figure")
            written.append(str(path))
    return written


def render(
    groups: Sequence[LearningGroup],
    measures: Sequence[str],
    x: str,
    width: int,
    *,
    named: bool,
    braille: bool,
) -> list[Text]:
    """Return a chart a task of the return (of each measure, if they were named), and a table.

    Args:
        width: cells in a line.
        braille: whether the output knows braille.
    """
    from p2p.analysis.learning import AXES, label_of
    from p2p.plots.curves import how_smoothed

    lines: list[Text] = []
    for task in dict.fromkeys(group.task for group in groups):
        here = [group for group in groups if group.task == task]
        for measure in measures if named else measures[:1]:
            if drawn := _chart(here, measure, x, AXES[x], width, braille=braille):
                lines += [as_text(f"{task}: {label_of(measure)}", "bold"), *drawn, as_text()]
        known = [m for m in measures if any(run.curve(m) for group in here for run in group.runs)]
        lines += [*_table(task, here, known, width), as_text()]
    notes = [f"Table: last tenth of each run. {how_smoothed(groups)}"]
    if any(len(group.runs) > 1 for group in groups):
        notes.append("Lines and numbers are means over seeds; bands are in the pictures.")
    import textwrap

    fits = [part for note in notes for part in textwrap.wrap(note, min(width, WIDEST))]
    return [*lines, *(as_text(note, "dim") for note in fits)]


def _chart(
    groups: Sequence[LearningGroup], measure: str, x: str, x_label: str, width: int, *,
    braille: bool,
) -> list[Text]:  # fmt: skip
    from p2p.plots.curves import group_curve

    from .text.chart import Series, chart

    series = []
    for group in groups:
        found = group_curve(group, measure, x)
        seeds = f" ({found.seeds} seeds)" if found.seeds > 1 else ""
        # without a common stretch the seeds are drawn by themselves
        for curve in [found.mean] if found.points else found.alone:
            series.append(Series(f"{group.label}{seeds}", curve))
    return chart(
        series, min(width, WIDEST), x_label=x_label, braille=braille,
        x_text=compact if x == "hours" else count,
    )  # fmt: skip


def _table(
    task: str, groups: Sequence[LearningGroup], measures: Sequence[str], width: int
) -> list[Text]:
    """Return a row a group: the mean over seeds of each measure in the last tenth of training."""
    from p2p.analysis.learning import TERM

    heads = [measure.removeprefix(TERM) for measure in measures]
    rows = [
        [group.label, str(len(group.runs)), _steps(group), *(_last(group, m) for m in measures)]
        for group in groups
    ]
    head = [task, "seeds", "steps", *heads]
    while len(head) > 4 and max(map(len, table(head, rows))) > width:
        head, rows = head[:-1], [row[:-1] for row in rows]
    room = width - (max(map(len, table(head, rows))) - max(len(row[0]) for row in [head, *rows]))
    rows = [[_cut(row[0], max(12, room)), *row[1:]] for row in rows]
    return table([_cut(head[0], max(12, room)), *head[1:]], rows)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 3] + "..."


def _steps(group: LearningGroup) -> str:
    steps = sorted(int(run.points[-1]["steps"]) for run in group.runs)
    return count(steps[0]) if steps[0] == steps[-1] else f"{count(steps[0])}-{count(steps[-1])}"


def _last(group: LearningGroup, measure: str) -> str:
    from statistics import fmean

    values = [run.last[measure] for run in group.runs if measure in run.last]
    return compact(fmean(values)) if values else NOTHING
