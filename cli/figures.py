"""`p2p figures`: draw a figure of the paper from a study's results."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from p2p.core.errors import UsageError

from .options import FOLDER, source_options
from .study import STUDIES, _complete
from .text.layout import wrap
from .text.terminal import columns

EXAMPLES = """\b
Examples:
  p2p figures fig4
  p2p figures fig4 --runs runs/studies/fig4 --out docs/figures
  p2p figures my-study.toml --like fig3

The data are the tables that `p2p study ... --save data/results` writes; without them, the runs.
"""


def _complete_figure(
    ctx: click.Context, param: click.Parameter, begun: str
) -> list[CompletionItem]:
    from p2p.plots import FIGURES

    return [CompletionItem(name) for name in FIGURES if name.startswith(begun)]


@click.command(epilog=EXAMPLES)
@click.argument("study", metavar="STUDY", shell_complete=_complete)
@click.option("--budget", metavar="NAME", help="One of the study's budgets [default: small].")
@click.option(
    "--like",
    metavar="FIGURE",
    shell_complete=_complete_figure,
    help="The figure of the paper to draw [default: the study's own].",
)
@click.option(
    "--tables", type=FOLDER, metavar="DIR", default=Path("data/results"), show_default=True,
    help="Folder with saved tables.",
)  # fmt: skip
@click.option("--runs", type=FOLDER, metavar="DIR", help="Draw the study's runs in DIR instead.")
@click.option(
    "--out", type=FOLDER, metavar="DIR", default=Path("figures"), show_default=True,
    help="Folder to write the pictures to.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@source_options
def figures(
    study: str,
    budget: str | None,
    like: str | None,
    tables: Path,
    runs: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw the figure of STUDY as PNG and SVG, from its saved tables or its runs.

    STUDY is a .toml file, or the name of a shipped study. Equal data gives identical files.
    """
    from p2p.plots import draw, load_data
    from p2p.runs import write_atomically
    from p2p.runs.files import disk_errors
    from p2p.study import find_study, read_study

    file = find_study(study)
    figure = _figure(like, file.stem)
    described = read_study(file, budget)
    data = load_data(described, tables, runs, STUDIES / described.folder)
    drawn = draw(figure, data)
    with disk_errors("figure", out):
        out.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, content in drawn.files.items():
        name = described.name if like is None else f"{described.name}-{figure}"
        paths.append(out / f"{name}.{suffix}")
        write_atomically(paths[-1], content, "figure")
    missing = len(described.configs) - len(data.rows)
    if as_json:
        found = {"figure": figure, "study": described.name, "source": data.source}
        counts = {"runs": len(data.rows), "missing": missing}
        files = [str(path) for path in paths]
        print(json.dumps({**found, **counts, "caption": drawn.caption, "files": files}))
        return
    counted = f"{len(data.rows)} of {len(described.configs)} runs"
    said = {"data": f"{data.source}, {counted}", "caption": drawn.caption}
    for name, text in (*said.items(), *(("figure", str(path)) for path in paths)):
        print("\n".join(wrap(f"{name:<7}  {text}", columns(), " " * 9)))


def _figure(like: str | None, study: str) -> str:
    from p2p.plots import FIGURES

    known = ", ".join(FIGURES)
    if like is not None and like not in FIGURES:
        raise UsageError(f"--like {like}: unknown figure; known: {known}")
    if like is None and study not in FIGURES:
        raise UsageError(f"study {study!r} has no figure of its own; name one with --like: {known}")
    return like or study
