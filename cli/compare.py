"""`p2p compare`: which of several groups of runs is better, and whether that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.analysis.evaluation.config import EvalConfig, parse_strengths
from p2p.core.errors import UsageError

from .analysis import (
    Files,
    how_far,
    leave_out_folders,
    no_save_option,
    output_options,
    progress,
    show,
)
from .options import FILE, flags_in_messages, setting_option, source_options
from .tables import as_text, folded, interval_text, table
from .text.formats import NOTHING, compact, counted, fixed
from .text.terminal import UNLIMITED, columns
from .typed import refuse_typed

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.analysis.comparison.results import Comparison, PairTest, Summary
    from p2p.analysis.statistics import Profile

OF_EVALUATION = ("domains", "domain_seed", "episodes", "sampled")
EXAMPLES = """\b
Examples:
  p2p compare runs/studies/fig4/*/                  final scores
  p2p compare runs/studies/fig4/*/ --eps-te 0.5     in test domains
  p2p compare runs/* --against ppo --figure compare.png
"""


def _options() -> list[click.Parameter]:
    """Return the options that say what is compared; those of an evaluation that make sense here."""
    strength = click.Option(
        ["--eps-te"],
        metavar="EPS",
        help="Compare returns in test domains of this strength; what is missing is evaluated on "
        "all cores and kept beside the runs [default: compare the final scores].",
    )
    return [
        strength,
        *(setting_option(name, EvalConfig.model_fields[name]) for name in OF_EVALUATION),
    ]


@click.command(params=_options(), epilog=EXAMPLES)
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUNS...", type=click.Path(path_type=Path),
    callback=leave_out_folders,
)  # fmt: skip
@click.option(
    "--against", metavar="GROUP", help="Compare only with this group [default: each pair]."
)
@click.option("--figure", type=FILE, metavar="FILE.png", help="Draw scores and profiles.")
@click.option("--out", type=FILE, metavar="FILE.h5", help="Keep all of it in this HDF5 file.")
@no_save_option
@output_options
@click.pass_context
@source_options
def compare(
    ctx: click.Context,
    /,
    runs: tuple[Path, ...],
    eps_te: str | None,
    against: str | None,
    figure: Path | None,
    out: Path | None,
    no_save: bool,
    as_json: bool,
    plain: bool,
    **settings: Any,
) -> None:
    """Compare RUNS, run folders, in groups of one method and setting.

    Seeds are the unit. A difference counts as shown only if the interval of the difference of
    means excludes 0, corrected for the number of tests.
    """
    strength = _strength(ctx, eps_te)
    from p2p.analysis.comparison.compare import compare as compare_runs

    with flags_in_messages():
        if strength is None:
            found = compare_runs(runs, against=against)
        else:
            with progress("evaluating", how_far, plain=plain) as report:
                found = compare_runs(
                    runs, strength, against=against, save=not no_save, report=report, **settings
                )
    files = Files()
    written = _write(found, figure, out, files)
    show(found, lambda: render(found, columns()), written, as_json=as_json, plain=plain)
    files.raise_failed()


def _strength(ctx: click.Context, eps_te: str | None) -> float | None:
    """Return the strength of the test domains, if that is what is compared.

    Raises:
        UsageError: it is none, or several; or a setting of the evaluation is given without it.
    """
    if eps_te is not None:
        strengths = parse_strengths(eps_te)
        if len(strengths) != 1:
            raise UsageError(f"--eps-te {eps_te}: runs are compared at one strength at a time")
        return strengths[0]
    of_test_domains = (*OF_EVALUATION, "no_save")
    refuse_typed(ctx, of_test_domains, "without test domains; give --eps-te too")
    return None


def _write(
    found: Comparison, figure: Path | None, out: Path | None, files: Files
) -> dict[str, str | None]:
    """Write what is asked for, and return where it lies."""
    from p2p.analysis.comparison import file as hdf5
    from p2p.plots import comparison as figures

    written = {}
    for kind, path, encode in (
        ("figure", figure, figures.scores_and_profiles),
        ("out", out, hdf5.encode),
    ):
        if path is not None:
            advice = f"name another with --{kind}"
            written[kind] = files.write(path, partial(encode, found), kind, advice, asked=True)
    return written


def render(found: Comparison, width: int) -> list[Text]:
    """Return everything that is shown of a comparison.

    Args:
        width: cells in a line. Where pairs of long names do not fit, groups are numbered.
    """
    names = {group.label: group.label for group in found.groups}
    tables = _tables(found, names)
    lines = [as_text(found.measure)]
    lines += [as_text(f"warning: {warning}", "yellow") for warning in found.warnings]
    lines += [as_text(f"note: {note}", "dim") for note in found.notes]
    if max(map(len, tables)) > width:
        names = {label: f"#{n}" for n, label in enumerate(names, 1)}
        tables = _tables(found, names, width)
        lines += [as_text(), *(as_text(f"{number}: {label}") for label, number in names.items())]
    lines += tables
    if found.verdicts:
        lines += [as_text(), *(as_text(sentence, "bold") for sentence in found.verdicts)]
    lines += [as_text(), *(as_text(note, "dim") for note in _notes(found))]
    return [part for line in lines for part in folded(line, width)]


def _tables(found: Comparison, names: Mapping[str, str], width: int = UNLIMITED) -> list[Text]:
    """Return all tables, each below an empty line; groups are called by `names`."""
    lines: list[Text] = []
    for task in found.tasks:
        rows = [row for row in found.summaries if row.task == task]
        lines += [as_text(), *_summaries(task, rows, names, width)]
    if found.overall:
        title = f"all {len(found.tasks)} tasks, normalised"
        lines += [as_text(), *_summaries(title, found.overall, names, width)]
    if found.profiles:
        lines += [as_text(), *_profiles(found, names, width)]
    return [*lines, *_pairs(found, names, width)]


def _summaries(
    title: str, rows: Sequence[Summary], names: Mapping[str, str], width: int
) -> list[Text]:
    """Return a row a group on one task."""
    cells = [
        [names[row.group], str(row.seeds), compact(row.mean), compact(row.std),
         interval_text(row.mean_ci), compact(row.iqm), interval_text(row.iqm_ci)]
        for row in rows
    ]  # fmt: skip
    overall = rows[0].task is None
    head = [title, "runs" if overall else "seeds", "mean", "sd", "95% CI", "IQM", "95% CI"]
    keep = [n for n in range(len(head)) if not (overall and head[n] == "sd")]
    return table([head[n] for n in keep], [[row[n] for n in keep] for row in cells], width=width)


def _profiles(found: Comparison, names: Mapping[str, str], width: int) -> list[Text]:
    """Return a row a group: the share of its runs above each round threshold."""
    from p2p.analysis.comparison.compare import MINOR

    whole = next(iter(found.profiles.values())).thresholds
    at = range(MINOR, len(whole), MINOR)
    unit = "normalised score" if found.scale is not None else "return"
    head = ["profile", *(compact(float(whole[n])) for n in at)]
    rows = [[names[label], *_shares(profile, at)] for label, profile in found.profiles.items()]
    return [as_text(f"share of runs above each {unit}", "bold"), *table(head, rows, width=width)]


def _shares(profile: Profile, at: Sequence[int]) -> list[str]:
    return [f"{profile.share[n]:.0%}" for n in at]


def _pairs(found: Comparison, names: Mapping[str, str], width: int) -> list[Text]:
    """Return the tables whose rows are pairs of groups, each below an empty line."""
    if not found.tests:
        return []
    lines = [as_text(), *_improvements(found, names, width)]
    every = [*found.tests, *found.overall_tests]
    for task in dict.fromkeys(test.task for test in every):
        where = "over all tasks, normalised" if task is None else f"on {task}"
        head = ["higher - lower", "difference", "corrected CI", "p", "p Holm", "shown"]
        rows = [_test(test, names) for test in every if test.task == task]
        lines += [as_text(), as_text(f"differences {where}", "bold")]
        lines += table(head, rows, width=width)
    return lines


def _improvements(found: Comparison, names: Mapping[str, str], width: int) -> list[Text]:
    rows = [
        [f"{names[one.x]} over {names[one.y]}", fixed(one.probability, 2),
         NOTHING if one.interval is None
         else f"{one.interval.low:.2f} to {one.interval.high:.2f}"]
        for one in found.improvements
    ]  # fmt: skip
    if all(one.probability is None for one in found.improvements):
        return [as_text("probability of improvement: nothing can be said from one seed")]
    return table(["probability of improvement", "P", "95% CI"], rows, width=width)


def _test(test: PairTest, names: Mapping[str, str]) -> list[str]:
    if test.p_value is None or test.p_holm is None:
        verdict, p = "not tested", [NOTHING, NOTHING]
    else:
        verdict = "yes" if test.shown else "no"
        p = [_p(test.p_value), _p(test.p_holm)]
    pair = f"{names[test.higher]} - {names[test.lower]}"
    return [pair, compact(test.difference), interval_text(test.interval), *p, verdict]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _notes(found: Comparison) -> Iterator[str]:
    """Yield what the columns mean, where that is not plain."""
    yield "seeds are the unit; peers, domains and episodes are averaged within a seed"
    yield (
        f"mean: CI of Student's t over seeds; IQM, P and profiles: stratified bootstrap, "
        f"{found.resamples:,} resamples within each task"
    )
    yield "with fewer than 10 seeds bootstrap intervals are too narrow, so none of them decides"
    if len(found.tasks) > 1 or (found.profiles and found.scale is not None):
        yield f"normalised: {found.normalisation}"
    if found.tests:
        many = counted(len(found.tests), "test")
        more = f", over all tasks for {len(found.overall_tests)}" if found.overall_tests else ""
        yield f"p: Welch's t test, two-sided; Holm's correction for {many}{more}"
        yield "corrected CI: at the level of its step in Holm's procedure; it decides what is shown"
