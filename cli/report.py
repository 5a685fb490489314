"""`p2p report`: a run or a study as one page of HTML."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p.core import registry
from p2p.core.errors import UsageError

from .analysis import how_far, latest_run, progress
from .options import FILE, FOLDER, WholeRange, source_options
from .study import STUDIES, _complete
from .text.formats import counted
from .typed import refuse_typed

if TYPE_CHECKING:
    from p2p.report.source import Source

STRENGTHS = tuple(round(0.1 * n, 10) for n in range(11))  # of --evaluate
EPISODES = 8  # of each value of a factor, for an interval
OF_STUDIES, OF_RUNS = ("budget", "tables"), ("frames",)  # options that others have no use for
EXAMPLES = """\b
Examples:
  p2p report runs/a -o a.html
  p2p report runs/a --evaluate      tests it first: over strength, by factor
  p2p report runs/studies/methods   a study's folder, or any folder of runs
  p2p report fig4 -o fig4.html      a study: its saved tables, else its runs
"""


@click.command(epilog=EXAMPLES)
@click.argument("what", metavar="[RUN|STUDY]", required=False, shell_complete=_complete)
@click.option(
    "-o", "--out", type=FILE, metavar="FILE.html",
    help="The page [default: report.html in the folder, or STUDY.html].",
)  # fmt: skip
@click.option(
    "--evaluate", is_flag=True,
    help="Of a run: first run the test episodes that are missing, on all cores.",
)  # fmt: skip
@click.option(
    "--frames", type=WholeRange(0, 24), default=6, show_default=True,
    help="Of a run: pictures of the trained policy; 0 draws none.",
)  # fmt: skip
@click.option("--date", metavar="TEXT", help="The date to state [default: of the last training].")
@click.option("--budget", metavar="NAME", help="One of the study's budgets [default: small].")
@click.option(
    "--tables", type=FOLDER, metavar="DIR", default=Path("data/results"), show_default=True,
    help="Folder with the saved tables of a study.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
@source_options
def report(
    ctx: click.Context,
    /,
    what: str | None,
    out: Path | None,
    evaluate: bool,
    frames: int,
    date: str | None,
    budget: str | None,
    tables: Path,
    as_json: bool,
) -> None:
    """Write RUN or STUDY as one HTML file, to mail or to keep.

    The page loads nothing and needs no script. It shows what is known: it trains nothing, and tests
    only with --evaluate. Equal data gives equal files. No RUN: the latest finished one under runs/.
    """
    from p2p.report.page import Text
    from p2p.runs import write_atomically
    from p2p.runs.files import advising

    path = latest_run().path if what is None else Path(what)
    if _is_run(path):
        from p2p.report.run import run_page

        refuse_typed(ctx, OF_STUDIES, f"on {path}, a run; name a study, or leave that out")
        if evaluate:
            _evaluate(path)
        page, target = run_page(path, frames=frames, date=date), path / "report.html"
    else:
        from p2p.report.study import study_page

        if evaluate:
            raise UsageError(f"--evaluate tests a run; the runs of {what} are tested by p2p study")
        source, target = _source(ctx, str(what), path, budget, tables)
        page = study_page(source, date=date)
    target = target if out is None else out
    html = page.html().encode()
    with advising("name another with -o"):
        write_atomically(target, html, "report")
    if as_json:
        sections = [section.name for section in page.sections]
        print(json.dumps({"report": str(target), "bytes": len(html), "sections": sections}))
        return
    print(f"report: {target} ({len(html) / 1e6:.2f} MB, {counted(len(page.sections), 'section')})")
    if any(isinstance(block, Text) and block.command for s in page.sections for block in s.blocks):
        command = f"p2p report {shlex.quote(str(path))} --evaluate{registry.loading_options()}"
        print(f"next    {command}   adds what is not tested")


def _is_run(path: Path) -> bool:
    from p2p.runs.files import reachable

    return reachable(path / "config.json", UsageError).is_file()


def _evaluate(path: Path) -> None:
    """Run the test episodes that are missing, over strength and by factor."""
    from p2p.cohort import launch

    launch.start_server("p2p.analysis.evaluation.worker")  # it imports while we do
    from p2p.analysis.evaluation.session import evaluate
    from p2p.runs import RunFolder

    with progress("evaluating", how_far, plain=False) as tell:
        evaluate(path, STRENGTHS, report=tell)
        if RunFolder.open(path).config.randomisation.factors:
            evaluate(path, 1.0, by_factor=True, episodes=EPISODES, report=tell)


def _source(
    ctx: click.Context, what: str, path: Path, budget: str | None, tables: Path
) -> tuple[Source, Path]:
    """Return the runs of a study, and where the page is written by default."""
    from p2p.plots import load_data
    from p2p.report.source import of_folder, of_study, of_tables
    from p2p.study import find_study, read_study, shipped_studies

    if path.is_dir():
        where = f"on {what}, a folder of runs; leave that out"
        refuse_typed(ctx, (*OF_RUNS, *OF_STUDIES), where)
        return of_folder(path), path / "report.html"
    if path.suffix != ".toml" and what not in shipped_studies():
        raise UsageError(
            f"{what} is neither a run folder, nor a folder of runs, nor a study; studies: "
            f"{', '.join(shipped_studies())}, or a .toml file"
        )
    refuse_typed(ctx, OF_RUNS, f"on {what}, a study; name a run, or leave that out")
    study = read_study(find_study(what), budget)
    target, folder = Path(f"{study.name}.html"), STUDIES / study.folder
    if not (tables / f"{study.name}.csv").exists() and folder.is_dir():
        return of_study(study, folder), target
    return of_tables(study, load_data(study, tables, None, folder)), target
