"""The tables of `p2p bench`, for a terminal or in Markdown, with what the numbers include."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .text.formats import compact, count, fixed

if TYPE_CHECKING:
    from rich.table import Table

    from p2p.bench import Measurement, Results

TITLES = {
    "physics": "Physics, one core",
    "engine": "One minibatch step",
    "exchange": "One exchange",
    "train": "Training end to end",
    "scaling": "Training by the number of peers",
    "envs": "Training by the number of envs a peer, K=2",
    "evaluate": "Evaluation on all cores",
    "methods": "Training by the method, K=2",
    # of benchmarks/against.py, whose files are read here
    "against": "Beside other trainers",
    "trials": "Setups tried; the fastest of each is measured above",
}
HEADER = ("task", "what", "median", "min - max", "unit", "ratio", "min - max", "to", "note")
NUMERIC = (2, 3, 5, 6)


class Sheet(NamedTuple):
    """The table of one part."""

    title: str
    rows: list[tuple[str, ...]]
    notes: list[str]  # what the numbers include; the last column refers to them


def sheets(results: Results) -> Iterator[Sheet]:
    """Yield a sheet for each part that was measured."""
    for part, title in TITLES.items():
        measured = results.part(part)
        notes = list(dict.fromkeys(m.includes for m in measured))
        if measured:
            yield Sheet(title, [_row(m, 1 + notes.index(m.includes)) for m in measured], notes)


def rich_table(sheet: Sheet) -> Table:
    """Return a sheet as a table for the terminal."""
    from rich.table import Table

    table = Table(title=sheet.title, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(HEADER):
        table.add_column(name, justify="right" if i in NUMERIC else "left", no_wrap=i != 1)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def markdown(results: Results) -> str:
    """Return all sheets in Markdown."""
    lines = [f"{results.caption}."]
    for sheet in sheets(results):
        lines += ["", f"### {sheet.title}", "", _cells(HEADER)]
        lines.append(_cells(["---:" if i in NUMERIC else "---" for i in range(len(HEADER))]))
        lines += [_cells(row) for row in sheet.rows]
        lines += ["", *(f"{i}. {note}" for i, note in enumerate(sheet.notes, 1))]
    return "\n".join(lines)


def _cells(texts: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _row(m: Measurement, note: int) -> tuple[str, ...]:
    ratio, write = m.ratio, count if m.unit == "steps/s" else compact
    values = [write(value) for value in m.spread]
    ratios = [fixed(value, 2) for value in ratio or ()]
    return (
        m.task, m.name, values[1], f"{values[0]} - {values[2]}", m.unit,
        ratios[1] if ratio else "", f"{ratios[0]} - {ratios[2]}" if ratio else "", m.baseline,
        str(note),
    )  # fmt: skip
