"""One frame of the live view: lines of text for a given width and height.

Only the terminal's own basic colours are used, and no background, so that it reads on
dark and on light; no meaning is carried by colour alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.text import Text

from .formats import compact, count, counted, duration, fixed
from .history import PHASES, RECENT_EPISODES, History, PeerRow
from .summary import what_runs

SPARKS = "▁▂▃▄▅▆▇█"
SHARES = dict(zip(PHASES, zip("█▓▒░", ("cyan", "green", "magenta", ""), strict=True), strict=True))
MIN_BAR = 8  # a shorter bar says less than its percentage
ROOMY = 18  # terminal lines from which blank lines part the sections


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        name, short: its title where there is room, and where there is not.
        unit: second line of the title.
        width: of what it usually holds, so that columns stay put while numbers change.
        worth: the columns of least worth go first when the terminal is narrow.
        text: the cell of a peer.
    """

    name: str
    short: str
    unit: str
    width: int
    worth: int
    text: Callable[[PeerRow], str]


def _factor(name: str, form: str) -> Callable[[PeerRow], str]:
    return lambda row: format(row.factors[name], form)


def _percent(row: PeerRow) -> str:
    return fixed(None if row.clip_fraction is None else 100 * row.clip_fraction, 1)


COLUMNS = (
    Column("peer", "peer", "", 4, 99, lambda row: str(row.rank)),
    Column("wind", "wind", "N", 5, 6, _factor("wind", "+.2f")),
    Column("gravity", "grav", "x", 4, 5, _factor("gravity", ".2f")),
    Column("friction", "fric", "x", 4, 3, _factor("friction", ".2f")),
    Column("mass", "mass", "x", 4, 4, _factor("mass", ".2f")),
    Column("start", "start", "rad", 5, 2, _factor("initial_position", ".2f")),
    Column("return", "return", "", 6, 98, lambda row: compact(row.episode_return)),
    Column("length", "len", "", 4, 9, lambda row: count(row.length).replace(",", "")),
    Column("penalty KL", "KL", "nat", 6, 8, lambda row: compact(row.kl)),
    Column("entropy", "entr", "nat", 5, 1, lambda row: fixed(row.entropy, 2)),
    Column("clipped", "clip", "%", 4, 0, _percent),
    Column("critic loss", "critic", "", 6, 7, lambda row: fixed(row.value_loss, 3)),
)


def render(history: History | None, run: str, status: str, width: int, height: int) -> list[Text]:
    """Return the lines of a frame.

    Args:
        history: None until the run has started.
        run: path of the run folder, as shown.
        status: the last line; may be empty.
        width, height: of the terminal, in cells; the frame is at most so large.
    """
    last = [Text(status, "dim")] if status else []
    if history is None:
        return last
    head = [_header(history, width), Text(_tail(run, width), "dim")]
    if not history.rows:
        return [*head, *last]
    below = [_returns(history, width), _shares(history, width)]
    sections = [head, [_progress(history, width)], [], below, last]
    blank = [Text()] if height >= ROOMY else []
    fixed = sum(map(len, sections)) + len(blank) * 4
    sections[2] = _table(history, width, height - fixed)
    return [line for section in sections if section for line in (*section, *blank)][
        : None if not blank else -1
    ]


def _header(history: History, width: int) -> Text:
    """Return what is trained, and the iteration at the right edge."""
    task, *others = what_runs(history.config)
    left = Text.assemble((task, "bold"), *(f" · {part}" for part in others))
    right = f"iteration {count(history.iterations)} of {count(history.config.num_iterations)}"
    if history.rows and len(left) + len(right) + 2 <= width:
        left.append(right.rjust(width - len(left)))
    return left


def _progress(history: History, width: int) -> Text:
    """Return the bar with steps, steps/s and time left; the bar takes what room is left."""
    share = min(1.0, history.steps / history.total_steps)
    words = (
        f"{share:4.0%}  {count(history.steps)} / {count(history.total_steps)} steps  "
        f"{count(history.rate)} steps/s  {duration(history.seconds_left)} left"
    )
    room = width - len(words) - 1
    if room < MIN_BAR:
        return Text(words.strip())
    full = round(share * room)
    return Text.assemble(("━" * full, "green"), ("─" * (room - full), "dim"), " ", words)


def _table(history: History, width: int, height: int) -> list[Text]:
    """Return a line a peer below two of titles; peers that do not fit become one line."""
    rows = history.rows
    notes = []
    if history.config.domain_schedule in ("episode", "env"):
        notes.append(Text("domains: of the first environment of each peer", "dim"))
    room = max(1, height - 2 - len(notes))
    if len(rows) > room:
        shown = max(1, room - 1)
        notes.insert(0, _hidden(rows[shown:]))
        rows = rows[:shown]
    columns, gap, titles = _layout(rows, width)
    joined = " " * gap
    units = {"start": "m"} if history.config.initial_position == "root_x" else {}
    names = joined.join(title.rjust(size) for title, (_, size) in zip(titles, columns, strict=True))
    below = joined.join(units.get(c.name, c.unit).rjust(size) for c, size in columns)
    cells = (joined.join(c.text(row).rjust(size) for c, size in columns) for row in rows)
    return [Text(names, "bold"), Text(below, "dim"), *map(Text, cells), *notes]


def _layout(rows: Sequence[PeerRow], width: int) -> tuple[list[tuple[Column, int]], int, list[str]]:
    """Return the columns that fit with their widths, the gap between them and their titles."""
    columns = list(COLUMNS)
    content = {c.name: max([c.width, *(len(c.text(row)) for row in rows)]) for c in columns}
    while True:
        for short, gap in ((False, 3), (False, 2), (True, 2), (True, 1)):
            titles = [c.short if short else c.name for c in columns]
            sizes = [max(len(t), content[c.name]) for t, c in zip(titles, columns, strict=True)]
            if sum(sizes) + gap * (len(sizes) - 1) <= width or len(columns) == 1:
                return list(zip(columns, sizes, strict=True)), gap, titles
        columns.remove(min(columns, key=lambda column: column.worth))


def _hidden(rows: Sequence[PeerRow]) -> Text:
    """Return the line that stands for the peers without one."""
    returns = [row.episode_return for row in rows if row.episode_return is not None]
    line = f"... and {counted(len(rows), 'more peer')}"
    if returns:
        line += f", return {compact(min(returns))} to {compact(max(returns))}"
    return Text(line, "dim")


def _returns(history: History, width: int) -> Text:
    """Return the course of the mean return as a sparkline with its range."""
    values = history.returns
    if not values:
        return Text("return  no episode has ended yet", "dim")
    words = f"  {compact(min(values))} to {compact(max(values))}"
    if width >= 76:
        cut = history.config.cuts_episodes
        words += " (estimated)" if cut else f" (mean of the last {RECENT_EPISODES} episodes)"
    room = width - len("return  ") - len(words)
    return Text.assemble("return  ", (sparkline(values, room), "cyan"), words)


def sparkline(values: Sequence[float], width: int) -> str:
    """Return bars of eight heights, from the least value to the greatest.

    More values than `width` are averaged in runs of about equal length.
    """
    size = min(len(values), max(width, 0))
    edges = [len(values) * i // size for i in range(size + 1)] if size else [0]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means, default=0.0), max(means, default=0.0) - min(means, default=0.0)
    top = len(SPARKS) - 1
    return "".join(SPARKS[round(top * (v - low) / span) if span else 0] for v in means)


def _shares(history: History, width: int) -> Text:
    """Return where the time of the peers goes, as a stacked bar with its legend."""
    shares = history.shares
    if not shares:
        return Text()
    legend = Text()
    for name, (glyph, colour) in SHARES.items():
        legend.append("  ").append(glyph, colour).append(f" {name} {shares[name]:.0%}")
    line = Text("time    ")
    room = min(40, width - len(line) - len(legend))
    if room < MIN_BAR:
        return legend[2:]
    for name, cells in stacked(shares, room).items():
        line.append(SHARES[name][0] * cells, SHARES[name][1])
    return line.append_text(legend)


def stacked(shares: dict[str, float], width: int) -> dict[str, int]:
    """Return how many of `width` cells each share gets; the sum is `width`."""
    edges, cells, total = 0.0, {}, 0
    for name, share in shares.items():
        edges += share
        cells[name] = round(edges * width) - total
        total += cells[name]
    return cells


def _tail(text: str, width: int) -> str:
    """Return the end of a path that does not fit, which is what tells runs apart."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
