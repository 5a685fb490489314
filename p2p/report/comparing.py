"""Groups of runs on a page: tables of results, returns over strength, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from p2p.analysis.comparison.compare import compare_scores
from p2p.analysis.comparison.results import Comparison, Group, PairTest, Summary
from p2p.analysis.comparison.runs import FINAL, ScoredRun
from p2p.analysis.learning import LearningGroup
from p2p.analysis.statistics import mean_interval
from p2p.core.errors import UsageError
from p2p.plots.curves import BANDS
from p2p.plots.method_styles import TASKS, MethodStyle
from p2p.plots.style import RETURN
from p2p.report.charts import Curve, Row, interval_chart, line_chart
from p2p.report.crowds import crowded, spotlights
from p2p.report.formats import NOTHING, counted, from_to, number, plus_minus
from p2p.report.page import Block, Charts, Section, Table, Text, dash_of, legend
from p2p.report.source import Source, StudyRun

TEST = "eps_te="
SHOWN = (0.0, 0.2, 0.5, 1.0)  # strengths that the table of results has
NEAREST = 0.5  # the paper's eps_te, at which groups are compared
BY_ITSELF = "each group by itself, with its band"
FOLDED = 10  # tests in a table that is shown at once
Looks = Mapping[str, MethodStyle]
Values = Mapping[str, list[float]]  # of seeds, by measure


def values_of(source: Source, groups: Sequence[LearningGroup]) -> dict[tuple[str, str], Values]:
    """Return each group's values over its seeds, by task and label."""
    by_path = {run.curves.path: run.measures for run in source.runs}
    found: dict[tuple[str, str], Values] = {}
    for group in groups:
        rows = [by_path[run.path] for run in group.runs]
        names = dict.fromkeys(name for row in rows for name in row)
        values = {name: [row[name] for row in rows if name in row] for name in names}
        found[group.task, group.label] = values
    return found


def strengths_of(source: Source) -> list[float]:
    """Return the strengths at which some run was tested."""
    names = {name for run in source.runs for name in run.measures if name.startswith(TEST)}
    return sorted(float(name.removeprefix(TEST)) for name in names)


def how_tested(tests: Mapping[str, Any]) -> str:
    """Say in what the runs were tested."""
    if not tests:
        return "mean action, mean over peers"
    action = "sampled actions" if tests.get("sampled") else "mean action"
    domains, episodes = int(tests.get("domains", 0)), int(tests.get("episodes", 0))
    which = "each run in those of its own training" if tests.get("own") else "the same for all runs"
    return (
        f"{action}, {counted(domains, 'domain')} a strength, {which}, "
        f"{counted(episodes, 'episode')} each, mean over peers"
    )


def results_section(
    source: Source, groups: Sequence[LearningGroup], looks: Looks, left_out: str = ""
) -> Section:
    """Return a table a task: the mean over seeds of each measure, with its interval.

    Args:
        source, groups: of finished runs alone.
        left_out: says which other runs there are, if any.
    """
    title = "Results"
    notes: list[Block] = [Text(left_out)] if left_out else []
    if not groups:
        return Section("results", title, [Text("No run is finished yet."), *notes])
    values = values_of(source, groups)
    tested = [eps for eps in strengths_of(source) if eps in SHOWN] or strengths_of(source)[:4]
    columns = {"train": "training", "score": "final score"}
    columns |= {f"{TEST}{eps:g}": f"test {eps:g}" for eps in tested}
    columns = {k: v for k, v in columns.items() if any(k in one for one in values.values())}
    rows = []
    for task in dict.fromkeys(group.task for group in groups):
        named = TASKS[task]
        for group in groups:
            if group.task == task:
                known = values[task, group.label]
                cells = [_cell(known.get(name, []), len(group.runs)) for name in columns]
                rows.append([named, looks[group.label].label, str(len(group.runs)), *cells])
                named = ""
    caption = (
        "Undiscounted returns: mean over seeds \u00b1 half of its Student's t 95% interval. "
        "Training: sampled actions, the last tenth of training. Final score: mean action, "
        "nominal domain, mean over peers."
    )
    if tested:
        caption += (
            f" Test: return at that strength of the test domains; {how_tested(source.tests)}."
        )
    head = ["task", "group", "seeds", *columns.values()]
    return Section("results", title, [*notes, Table(head, rows, caption, left=2)])


def _cell(values: Sequence[float], seeds: int) -> str:
    """Return the mean over seeds with its interval, and their number if some have no value."""
    if not values:
        return NOTHING
    number_of = f" (n = {len(values)})" if len(values) < seeds else ""
    return plus_minus(sum(values) / len(values), mean_interval(values)) + number_of


def strength_section(
    source: Source, groups: Sequence[LearningGroup], looks: Looks
) -> Section | None:  # fmt: skip
    """Return a chart a task: the return over the strength of the test domains."""
    strengths, values = strengths_of(source), values_of(source, groups)
    if len(strengths) < 2:
        return None
    slots = {label: n for n, label in enumerate(looks)}
    charts: list[Markup] = []
    single: list[Markup] = []
    label = "strength of the test domains"
    for task in dict.fromkeys(group.task for group in groups):
        curves: dict[str, list[Curve]] = {}
        for group in groups:
            known = values[group.task, group.label]
            at = _at_strengths(known, strengths)
            if group.task == task and at:
                curves[group.label] = [_strength(at, slots[group.label], looks[group.label])]
        every = [curve for own in curves.values() for curve in own]
        title = f"{TASKS[task]}: {RETURN}"
        charts.append(line_chart(crowded(every), title=title, x_label=label, zero=True))
        titles = {name: f"{TASKS[task]}: {looks[name].label}" for name in curves}
        single += spotlights(curves, titles, label, zero=True)
    caption = f"Mean over seeds; {_seeds(groups)}. {how_tested(source.tests).capitalize()}."
    bands = f"{BANDS}, cut at the ends of the axis."
    blocks = [
        Charts([chart for chart in charts if chart], f"{caption}{'' if single else f' {bands}'}",
               legend(list(looks.values()))),
        *([Charts(single, bands, summary=BY_ITSELF)] if single else []),
    ]  # fmt: skip
    return Section("strength", "Return over strength", blocks)


def _at_strengths(known: Values, strengths: Sequence[float]) -> list[tuple[float, list[float]]]:
    """Return the values at the strengths at which the most seeds of a group were tested."""
    at = [(eps, known.get(f"{TEST}{eps:g}", [])) for eps in strengths]
    most = max(len(seeds) for _, seeds in at)
    return [(eps, seeds) for eps, seeds in at if seeds and len(seeds) == most]


def _strength(at: Sequence[tuple[float, list[float]]], slot: int, look: MethodStyle) -> Curve:
    """Return a group's mean over its seeds at each strength, with its intervals."""
    points = [(eps, sum(seeds) / len(seeds)) for eps, seeds in at]
    ends = [(eps, mean_interval(seeds)) for eps, seeds in at]
    band = [(eps, *interval) for eps, interval in ends if interval is not None]
    return Curve(look.label, points, band, slot, dash_of(look))


def _seeds(groups: Sequence[LearningGroup]) -> str:
    counts = sorted({len(group.runs) for group in groups})
    return f"n = {' to '.join(dict.fromkeys((str(counts[0]), str(counts[-1]))))} seeds"


def comparison_section(
    source: Source, groups: Sequence[LearningGroup], looks: Looks
) -> Section | None:  # fmt: skip
    """Return what is shown of the groups, as `p2p compare` says it; None of a single group.

    Args:
        source, groups: of finished runs alone.
        looks: of all groups of the page.
    """
    if len(looks) < 2:
        return None
    measure, what = _measure(source)
    labels = {run.path: group.label for group in groups for run in group.runs}
    scored = [
        _scored(run, labels[run.curves.path], measure)
        for run in source.runs
        if run.curves.path in labels and measure in run.measures
    ]
    title = "Comparison of groups"
    if len({run.method for run in scored}) < 2:
        why = "fewer than two groups have a finished run with a score"
        return Section("comparison", title, [Text(f"Not possible: {why}.")])
    try:
        found = compare_scores(scored, what)
    except UsageError as error:
        return Section("comparison", title, [Text(f"Not possible: {error}.")])
    found = _named(found, looks)
    blocks: list[Block] = [Text(f"Compared: {found.measure}.")]
    blocks += [Text(f"{verdict[0].upper()}{verdict[1:]}.") for verdict in found.verdicts]
    blocks += [Text(f"Warning: {warning}.") for warning in found.warnings]
    blocks.append(_intervals(found, looks))
    if found.tests:
        blocks.append(_tests(found))
    return Section("comparison", title, blocks)


def _measure(source: Source) -> tuple[str, str]:
    """Return the measure that groups are compared by, and what it is."""
    strengths = strengths_of(source)
    if strengths:
        eps = min(strengths, key=lambda one: abs(one - NEAREST))
        return f"{TEST}{eps:g}", f"return at strength {eps:g}, {how_tested(source.tests)}"
    if any("score" in run.measures for run in source.runs):
        return "score", FINAL
    return "train", "training return: sampled actions, the last tenth of training"


def _scored(run: StudyRun, label: str, measure: str) -> ScoredRun:
    """Return a run as one of a group that has the label which it has on all of the page."""
    one = run.curves
    return ScoredRun(one.path, one.task, label, one.seed, {}, run.measures[measure])


def _named(found: Comparison, looks: Looks) -> Comparison:
    """Return the comparison with tasks and groups as the page calls them."""

    def task(name: str | None) -> str | None:
        return None if name is None else TASKS[name]

    def test(one: PairTest) -> PairTest:
        higher, lower = looks[one.higher].label, looks[one.lower].label
        return one._replace(task=task(one.task), higher=higher, lower=lower)

    def summary(one: Summary) -> Summary:
        return one._replace(task=task(one.task), group=looks[one.group].label)

    warnings = (warning.partition(": ") for warning in found.warnings)
    return replace(
        found,
        tasks=tuple(TASKS[name] for name in found.tasks),
        groups=tuple(
            Group(looks[g.label].label, {TASKS[t]: s for t, s in g.scores.items()}, g.seeds)
            for g in found.groups
        ),
        summaries=tuple(map(summary, found.summaries)),
        overall=tuple(map(summary, found.overall)),
        tests=tuple(map(test, found.tests)),
        overall_tests=tuple(map(test, found.overall_tests)),
        warnings=tuple(f"{TASKS[name]}: {rest}" if rest else name for name, _, rest in warnings),
    )


def _intervals(found: Comparison, looks: Looks) -> Charts:
    slots = {look.label: n for n, look in enumerate(looks.values())}
    charts = []
    for task in found.tasks:
        rows = []
        for one in found.summaries:
            if one.task == task:
                scores = next(g.scores[task] for g in found.groups if g.label == one.group)
                rows.append(Row(one.group, scores, one.mean, one.mean_ci, slots[one.group]))
        charts.append(interval_chart(rows, title=task, x_label=RETURN))
    caption = "Rings: seeds. Dots: means. Bars: Student's t 95% intervals of the mean over seeds."
    return Charts(charts, caption)


def _tests(found: Comparison) -> Table:
    rows = [_test(test) for test in (*found.tests, *found.overall_tests)]
    head = ["task", "higher", "lower", "difference", "corrected interval", "p", "p Holm", "shown"]
    caption = (
        f"Welch's t test, two-sided, Holm's correction for {counted(len(found.tests), 'test')}. "
        "A difference is shown where its interval, at the level of its step in Holm's procedure, "
        "excludes 0."
    )
    if found.overall_tests:
        caption += f" All tasks: normalised ({found.normalisation}), corrected among themselves."
    folded = f"{counted(len(rows), 'test')} of differences" if len(rows) > FOLDED else ""
    return Table(head, rows, caption, left=3, summary=folded)


def _test(test: PairTest) -> list[str]:
    ps = [NOTHING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
          for p in (test.p_value, test.p_holm)]  # fmt: skip
    verdict = "not tested" if test.p_value is None else "yes" if test.shown else "no"
    task = "all tasks" if test.task is None else test.task
    return [task, test.higher, test.lower, number(test.difference), from_to(test.interval), *ps,
            verdict]  # fmt: skip
