"""Tables of a comparison, as lines of text; without their styles they are plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from .eval_tables import _interval, _table
from .formats import NOTHING, compact, counted, fixed

if TYPE_CHECKING:
    from p2p.analysis.comparison.results import Comparison, PairTest, Summary
    from p2p.analysis.statistics import Profile


def report(found: Comparison, width: int) -> list[Text]:
    """Return everything that is shown of a comparison.

    Args:
        width: cells in a line. Where pairs of long names do not fit, groups are numbered; notes
            are wrapped.
    """
    names = {group.label: group.label for group in found.groups}
    tables = _tables(found, names)
    lines = [Text(found.measure)]
    lines += [Text(f"warning: {warning}", "yellow") for warning in found.warnings]
    lines += [Text(f"note: {note}", "dim") for note in found.notes]
    if max(map(len, tables)) > width:
        names = {label: f"#{n}" for n, label in enumerate(names, 1)}
        tables = _tables(found, names)
        lines += [Text(), *(Text(f"{number}: {label}") for label, number in names.items())]
    lines += tables
    if found.verdicts:
        lines += [Text(), *(Text(sentence, "bold") for sentence in found.verdicts)]
    lines += [Text(), *(Text(note, "dim") for note in _notes(found))]
    return [wrapped for line in lines for wrapped in _wrapped(line, width)]


def _tables(found: Comparison, names: Mapping[str, str]) -> list[Text]:
    """Return all tables, each below an empty line; groups are called by `names`."""
    lines: list[Text] = []
    for task in found.tasks:
        rows = [row for row in found.summaries if row.task == task]
        lines += [Text(), *_summaries(task, rows, names)]
    if found.overall:
        title = f"all {len(found.tasks)} tasks, normalised"
        lines += [Text(), *_summaries(title, found.overall, names)]
    if found.profiles:
        lines += [Text(), *_profiles(found, names)]
    return [*lines, *_pairs(found, names)]


def _summaries(title: str, rows: Sequence[Summary], names: Mapping[str, str]) -> list[Text]:
    """Return a row a group on one task."""
    cells = [
        [names[row.group], str(row.seeds), compact(row.mean), compact(row.std),
         _interval(row.mean_ci), compact(row.iqm), _interval(row.iqm_ci)]
        for row in rows
    ]  # fmt: skip
    overall = rows[0].task is None
    head = [title, "runs" if overall else "seeds", "mean", "sd", "95% CI", "IQM", "95% CI"]
    keep = [n for n in range(len(head)) if not (overall and head[n] == "sd")]
    return _table([head[n] for n in keep], [[row[n] for n in keep] for row in cells])


def _profiles(found: Comparison, names: Mapping[str, str]) -> list[Text]:
    """Return a row a group: the share of its runs above each round threshold."""
    from p2p.analysis.comparison.compare import MINOR

    whole = next(iter(found.profiles.values())).thresholds
    at = range(MINOR, len(whole), MINOR)
    unit = "normalised score" if found.scale is not None else "return"
    head = ["profile", *(compact(float(whole[n])) for n in at)]
    rows = [[names[label], *_shares(profile, at)] for label, profile in found.profiles.items()]
    return [Text(f"share of runs above each {unit}", "bold"), *_table(head, rows)]


def _shares(profile: Profile, at: Sequence[int]) -> list[str]:
    return [f"{profile.share[n]:.0%}" for n in at]


def _pairs(found: Comparison, names: Mapping[str, str]) -> list[Text]:
    """Return the tables whose rows are pairs of groups, each below an empty line."""
    if not found.tests:
        return []
    lines = [Text(), *_improvements(found, names)]
    every = [*found.tests, *found.overall_tests]
    for task in dict.fromkeys(test.task for test in every):
        where = "over all tasks, normalised" if task is None else f"on {task}"
        head = ["higher - lower", "difference", "corrected CI", "p", "p Holm", "shown"]
        rows = [_test(test, names) for test in every if test.task == task]
        lines += [Text(), Text(f"differences {where}", "bold"), *_table(head, rows)]
    return lines


def _improvements(found: Comparison, names: Mapping[str, str]) -> list[Text]:
    rows = [
        [f"{names[one.x]} over {names[one.y]}", fixed(one.probability, 2),
         NOTHING if one.interval is None
         else f"{one.interval.low:.2f} to {one.interval.high:.2f}"]
        for one in found.improvements
    ]  # fmt: skip
    return _table(["probability of improvement", "P", "95% CI"], rows)


def _test(test: PairTest, names: Mapping[str, str]) -> list[str]:
    if test.p_value is None or test.p_holm is None:
        verdict, p = "not tested", [NOTHING, NOTHING]
    else:
        verdict = "yes" if test.shown else "no"
        p = [_p(test.p_value), _p(test.p_holm)]
    pair = f"{names[test.higher]} - {names[test.lower]}"
    return [pair, compact(test.difference), _interval(test.interval), *p, verdict]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _notes(found: Comparison) -> Iterator[str]:
    """Yield what the columns mean, where that is not plain."""
    yield "seeds are the unit; peers, domains and episodes are averaged within a seed"
    yield (
        f"mean: CI of Student's t over seeds; IQM, P and profiles: stratified bootstrap, "
        f"{found.resamples:,} resamples within each task"
    )
    yield "bootstrap intervals of fewer than 10 seeds are too narrow, so none of them decides"
    if len(found.tasks) > 1 or (found.profiles and found.scale is not None):
        yield f"normalised: {found.normalisation}"
    if found.tests:
        many = counted(len(found.tests), "test")
        more = f", over all tasks for {len(found.overall_tests)}" if found.overall_tests else ""
        yield f"p: Welch's t test, two-sided; Holm's correction for {many}{more}"
        yield "corrected CI: at the level of its step in Holm's procedure; it decides what is shown"


def _wrapped(line: Text, width: int) -> list[Text]:
    """Return a sentence over as many lines as it needs; a table's row stays one."""
    if len(line) <= width or "  " in line.plain:
        return [line]
    import textwrap

    return [Text(part, line.style) for part in textwrap.wrap(line.plain, width)]
