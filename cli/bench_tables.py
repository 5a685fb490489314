"""The tables of `p2p bench`, for a terminal or in Markdown, with what the numbers include."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .tables import as_text, table
from .text.formats import compact, count, fixed
from .text.layout import shortened, wrap

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.bench import Measurement, Results

TITLES = {
    "physics": "Physics, one core",
    "engine": "One minibatch step",
    "exchange": "One exchange",
    "train": "Training end to end",
    "scaling": "Training by the numbers of peers and threads",
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


def sheet_lines(sheet: Sheet, width: int) -> list[Text]:
    """Return a sheet with its notes, for a terminal of `width` cells, or a pipe."""
    columns = [list(column) for column in zip(HEADER, *sheet.rows, strict=True)]
    for n in range(len(HEADER)):  # words at the left, though they stand between numbers
        if n not in NUMERIC:
            size = max(map(len, columns[n]))
            columns[n] = [cell.ljust(size) for cell in columns[n]]
    head, *rows = zip(*columns, strict=True)
    lines = table(head, rows, left=2)
    if max(map(len, lines)) > width:
        lines = _narrow(sheet, width)
    notes = [
        as_text(part, "dim")
        for number, note in enumerate(sheet.notes, 1)
        for part in wrap(f"  {number}. {note}", width, "     ")
    ]
    return [as_text(sheet.title, "italic"), *lines, *notes]


def _narrow(sheet: Sheet, width: int) -> list[Text]:
    """Return a sheet with a heading a task, and ratios below what they are of."""
    numbers = [[row[n] for n in (2, 3, 4, 8)] for row in (HEADER, *sheet.rows)]
    sizes = [max(map(len, column)) for column in zip(*numbers, strict=True)]
    room = max(8, width - sum(size + 2 for size in sizes))
    what = [shortened(f"  {row[1]}", room) for row in (HEADER, *sheet.rows)]
    head, *rows = ([name, *cells] for name, cells in zip(what, numbers, strict=True))
    first, *lines = table(head, rows)
    found, task = [first], ""
    for row, line in zip(sheet.rows, lines, strict=True):
        if row[0] != task:
            task = row[0]
            found.append(as_text(shortened(task, width), "bold"))
        found.append(line)
        if row[5]:
            found.append(as_text(shortened(f"    {row[5]} ({row[6]}) of {row[7]}", width)))
    return found


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
