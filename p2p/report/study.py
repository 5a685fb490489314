"""The page of a study, or of any folder of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from p2p.analysis.comparison.runs import NAMED
from p2p.analysis.learning import LearningGroup, choose_measures, group_learning, label_of
from p2p.core.version import p2p_version
from p2p.plots.curves import BANDS, looks_of
from p2p.plots.method_styles import TASKS, MethodStyle
from p2p.report.comparing import BY_ITSELF, comparison_section, results_section, strength_section
from p2p.report.formats import counted, duration, number
from p2p.report.learning import learning_caption, learning_charts, spotlit
from p2p.report.page import Block, Charts, Fact, Page, Section, Table, Text, legend
from p2p.report.settings import settings_section
from p2p.report.source import Source, StudyRun

ALL_SHOWN = 24  # runs in a list that is not folded


def study_page(source: Source, *, date: str | None = None) -> Page:
    """Return the page of a study.

    Args:
        date: to state; None: when the last of its run folders was written to, if there are any.
    """
    groups, notes = group_learning(run.curves for run in source.runs)
    looks = looks_of(groups)
    with_curves = [group for group in groups if any(run.points for run in group.runs)]
    configs = [run.config for run in source.runs if run.config is not None]
    ended = source._replace(runs=[run for run in source.runs if run.curves.finished])
    of_ended = _finished(groups)
    sections = [
        results_section(ended, of_ended, looks, _left_out(source)),
        comparison_section(ended, of_ended, looks),
        strength_section(ended, of_ended, looks),
        _curves(with_curves, looks) if with_curves else None,
        _runs(source, groups, looks, [*source.notes, *notes]),
        settings_section(configs) if configs else None,
    ]
    lines = [source.where]
    if when := date or _last_written(source):
        lines.append(f"Last trained on {when}.")
    return Page(
        f"Study {source.name}",
        "study",
        lines,
        _facts(source, groups),
        [section for section in sections if section is not None],
        list(looks.values()),
        [f"Written by p2p {p2p_version()}."],
    )


def _finished(groups: Sequence[LearningGroup]) -> list[LearningGroup]:
    """Return the groups without runs that are not finished."""
    ended = (group._replace(runs=[run for run in group.runs if run.finished]) for group in groups)
    return [group for group in ended if group.runs]


def _left_out(source: Source) -> str:
    """Say which runs are in learning curves alone, as they are not finished; empty of none."""
    names = [run.name for run in source.runs if not run.curves.finished]
    if not names:
        return ""
    more = f" and {number(len(names) - NAMED)} more" if len(names) > NAMED else ""
    return (
        f"Left out of results and comparison, not finished: {counted(len(names), 'run')}, "
        f"{', '.join(names[:NAMED])}{more}."
    )


def _facts(source: Source, groups: Sequence[LearningGroup]) -> list[Fact]:
    runs = source.runs
    steps = [run.steps for run in runs]
    seeds = sorted({len(group.runs) for group in groups})
    tasks = [TASKS[task] for task in dict.fromkeys(run.curves.task for run in runs)]
    known = [run.seconds for run in runs if run.seconds is not None]
    of = f"of {source.planned}" if source.planned and source.planned != len(runs) else ""
    labels = dict.fromkeys(group.label for group in groups)
    return [
        Fact("runs", number(len(runs)), of),
        Fact("tasks", number(len(tasks)), ", ".join(tasks)),
        Fact("groups", number(len(labels)), "of method and settings"),
        Fact("seeds a group", "\u2013".join(dict.fromkeys((str(seeds[0]), str(seeds[-1]))))),
        Fact("steps a run", number(max(steps)), "at most" if min(steps) != max(steps) else ""),
        Fact("training time", duration(sum(known)), "of all runs together"),
    ]


def _curves(groups: Sequence[LearningGroup], looks: Mapping[str, MethodStyle]) -> Section:
    """Return a row of charts a measure, a chart a task; of one task, all in one."""
    runs = [run for group in groups for run in group.runs if run.points]
    measures = choose_measures(runs)
    tasks = list(dict.fromkeys(group.task for group in groups))
    single: list[Markup] = []
    rows: list[list[Markup]] = [[] for _ in measures]
    for task in tasks:
        here = [group for group in groups if group.task == task]
        for row, measure in zip(rows, measures, strict=True):
            row += learning_charts(here, [measure], looks, f"{TASKS[task]}: ")
        single += spotlit(here, measures[0], looks, f"{TASKS[task]}: ")
    if len(tasks) == 1:
        rows = [[chart for row in rows for chart in row]]
    named, last = legend(list(looks.values())), len(rows) - 1
    blocks: list[Block] = [
        Charts(row, learning_caption(groups) if n == last else "", [] if n else named)
        for n, row in enumerate(rows)
    ]
    if single:
        caption = f"{label_of(measures[0]).capitalize()}; the other groups are thin. {BANDS}."
        blocks.append(Charts(single, caption, summary=BY_ITSELF))
    return Section("curves", "Learning curves", blocks)


def _runs(
    source: Source,
    groups: Sequence[LearningGroup],
    looks: Mapping[str, MethodStyle],
    notes: Sequence[str],
) -> Section:
    of = {run.path: group.label for group in groups for run in group.runs}
    rows = [_run(run, looks[of[run.curves.path]].label) for run in source.runs
            if run.curves.path in of]  # fmt: skip
    blocks: list[Block] = [Text(note) for note in notes]
    unfinished = sum(not run.curves.finished for run in source.runs)
    if unfinished:
        blocks.append(Text(f"{counted(unfinished, 'run')} of these not finished."))
    head = ["run", "task", "group", "seed", "final score", "training", "steps", "time", "steps/s"]
    summary = f"all {len(rows)} runs" if len(rows) > ALL_SHOWN else ""
    versions = sorted({run.version for run in source.runs if run.version})
    caption = f"Made by p2p {', '.join(versions)}." if versions else ""
    blocks.append(Table(head, rows, caption, left=3, summary=summary))
    return Section("runs", "Runs", blocks)


def _run(run: StudyRun, label: str) -> list[str]:
    seconds = run.seconds
    return [
        run.name,
        TASKS[run.curves.task],
        label,
        str(run.curves.seed),
        number(run.measures.get("score") if run.curves.finished else None),
        number(run.measures.get("train")),
        number(run.steps) + ("" if run.curves.finished else " *"),
        number(None) if seconds is None else duration(seconds),
        number(run.steps / seconds if seconds else None),
    ]


def _last_written(source: Source) -> str:
    """Return the day on which the last of the runs wrote to its journal, UTC; empty of tables."""
    journals = [Path(run.curves.path) / "journal.jsonl" for run in source.runs if run.config]
    times = [journal.stat().st_mtime for journal in journals if journal.exists()]
    return f"{datetime.fromtimestamp(max(times), UTC):%-d %B %Y}" if times else ""
