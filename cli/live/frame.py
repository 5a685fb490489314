"""One frame of the live view: lines of text for a given width and height.

Only the terminal's own basic colours are used, and no background, so that it reads on
dark and on light; no meaning is carried by colour alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from p2p.core.returns import RECENT_EPISODES

from ..text.formats import compact, count, counted, duration, fixed
from ..text.layout import shortened, shortened_end
from .history import PHASES, History, PeerRow
from .summary import describe_run, describe_tests

if TYPE_CHECKING:
    from p2p.envs.randomisation import Randomisation

SPARKS = "▁▂▃▄▅▆▇█"
SHARES = dict(zip(PHASES, zip("█▓▒░", ("cyan", "green", "magenta", ""), strict=True), strict=True))
MIN_BAR = 8  # cells; a shorter bar says less than the percentage
SPACIOUS = 18  # lines of the terminal from which blank lines separate the sections


TITLES = {  # of Table 1's factors: name, short name, priority
    "wind": ("wind", "wind", 6),
    "gravity": ("gravity", "grav", 5),
    "friction": ("friction", "fric", 3),
    "mass": ("mass", "mass", 4),
    "initial_position": ("start", "start", 2),
}


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        name, short: its title in a wide terminal, and in a narrow one.
        unit: second line of the title.
        width: of usual content, so that columns do not move while numbers change.
        priority: columns of low priority are left out when the terminal is narrow.
        text: returns the cell of a peer.
    """

    name: str
    short: str
    unit: str
    width: int
    priority: int
    text: Callable[[PeerRow], str]


def factor_columns(randomisation: Randomisation) -> list[Column]:
    """Return a column a factor."""
    from p2p.envs.units import short_unit  # brings MuJoCo

    columns = []
    for factor in randomisation:
        name, short, priority = TITLES.get(factor.name, (factor.name, factor.name[:5], 2))
        width = 4 if factor.scales else 5
        text = _factor(factor.name, ".2f" if factor.scales or name == "start" else "+.2f")
        columns.append(Column(name, short, short_unit(factor), width, priority, text))
    return columns


def _factor(name: str, form: str) -> Callable[[PeerRow], str]:
    return lambda row: format(row.factors.get(name, math.nan), form)


def _percent(row: PeerRow) -> str:
    return fixed(None if row.clip_fraction is None else 100 * row.clip_fraction, 1)


COLUMNS = (
    Column("peer", "peer", "", 4, 99, lambda row: str(row.rank)),
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
        run: path of the run folder.
        status: the last line; may be empty.
        width, height: the largest size of the frame, cells.
    """
    last = [Text(status, "dim")] if status else []
    if history is None:
        return last
    head = [_header(history, width), Text(_tail(run, width), "dim")]
    if not history.rows:
        return [*head, *last]
    returns = [_returns(history, width), *_tests(history, width)]
    below = [*returns, *_terms(history, width), _shares(history, width)]
    sections = [head, [_progress(history, width)], [], below, last]
    blank = [Text()] if height >= SPACIOUS else []
    fixed = sum(map(len, sections)) + len(blank) * 4
    sections[2] = _table(history, width, height - fixed)
    return [line for section in sections if section for line in (*section, *blank)][
        : None if not blank else -1
    ]


def _header(history: History, width: int) -> Text:
    """Return task and settings, with the iteration at the right edge."""
    task, *others = describe_run(history.config)
    rest = "".join(f" · {part}" for part in others)
    left = Text.assemble((shortened(task, max(8, width - len(rest))), "bold"), rest)
    right = f"iteration {count(history.iterations)} of {count(history.config.num_iterations)}"
    if history.rows and len(left) + len(right) + 2 <= width:
        left.append(right.rjust(width - len(left)))
    return left


def _progress(history: History, width: int) -> Text:
    """Return the progress bar, steps, steps/s and time left; the bar fills the line."""
    share = min(1.0, history.steps / history.total_steps)
    left = f"{count(history.rate)} steps/s  {duration(history.seconds_left)} left"
    goal = f"{count(history.steps)} / {count(history.total_steps)} steps  "
    words = f"{share:4.0%}  {goal}{left}"
    if len(words) > width:
        words = f"{share:4.0%}  {left}"
    room = width - len(words) - 1
    if room < MIN_BAR:
        return Text(words.strip())
    full = round(share * room)
    return Text.assemble(("━" * full, "green"), ("─" * (room - full), "dim"), " ", words)


def _table(history: History, width: int, height: int) -> list[Text]:
    """Return two lines of titles and a line per peer; the last line stands for those hidden."""
    rows = history.rows
    notes = []
    if history.config.domain_schedule in ("episode", "env"):
        notes.append(Text("domains: of the first environment of each peer", "dim"))
    room = max(1, height - 2 - len(notes))
    if len(rows) > room:
        shown = max(1, room - 1)
        notes.insert(0, _hidden(rows[shown:]))
        rows = rows[:shown]
    first, *others = COLUMNS
    every = [first, *factor_columns(history.config.randomisation), *others]
    columns, gap, titles = _layout(every, rows, width)
    joined = " " * gap
    names = joined.join(title.rjust(size) for title, (_, size) in zip(titles, columns, strict=True))
    below = joined.join(c.unit.rjust(size) for c, size in columns)
    cells = (joined.join(c.text(row).rjust(size) for c, size in columns) for row in rows)
    return [Text(names, "bold"), Text(below, "dim"), *map(Text, cells), *notes]


def _layout(
    every: Sequence[Column], rows: Sequence[PeerRow], width: int
) -> tuple[list[tuple[Column, int]], int, list[str]]:
    """Return the columns that fit, with their widths, the gap between them, and their titles."""
    columns = list(every)
    content = {c.name: max([c.width, *(len(c.text(row)) for row in rows)]) for c in columns}
    while True:
        for short, gap in ((False, 3), (False, 2), (True, 2), (True, 1)):
            titles = [c.short if short else c.name for c in columns]
            sizes = [max(len(t), content[c.name]) for t, c in zip(titles, columns, strict=True)]
            if sum(sizes) + gap * (len(sizes) - 1) <= width or len(columns) == 1:
                return list(zip(columns, sizes, strict=True)), gap, titles
        columns.remove(min(columns, key=lambda column: column.priority))


def _hidden(rows: Sequence[PeerRow]) -> Text:
    """Return the line that stands for the peers in `rows`."""
    returns = [row.episode_return for row in rows if row.episode_return is not None]
    line = f"... and {counted(len(rows), 'more peer')}"
    if returns:
        line += f", return {compact(min(returns))} to {compact(max(returns))}"
    return Text(line, "dim")


def _returns(history: History, width: int) -> Text:
    """Return the mean return over iterations as a sparkline, with its range."""
    values = history.returns
    if not values:
        return Text("return  no episode has ended yet", "dim")
    words = f"  {compact(min(values))} to {compact(max(values))}"
    if width >= 76:
        cut = history.config.cuts_episodes
        words += " (estimated)" if cut else f" (mean of the last {RECENT_EPISODES} episodes)"
    room = width - len("return  ") - len(words)
    return Text.assemble("return  ", (sparkline(values, room), "cyan"), words)


def _tests(history: History, width: int) -> list[Text]:
    """Return the returns in held-out domains over the tests as a sparkline, if there are any."""
    values = [sum(returns) / len(returns) for _, returns in history.tests]
    if not values:
        return []
    words = f"  {compact(min(values))} to {compact(max(values))}"
    if width >= 76:
        words += f" ({describe_tests(history.config)})"
    room = width - len("test    ") - len(words)
    return [Text.assemble("test    ", (sparkline(values, room), "cyan"), words)]


def _terms(history: History, width: int) -> list[Text]:
    """Return the mean a step of each reward term, as many as fit a line, if there are any."""
    words = [f"{name} {compact(mean)}" for name, mean in history.reward_terms.items()]
    if not words:
        return []
    line = "reward "
    for n, word in enumerate(words):
        rest = f"  ... {len(words) - n} more"
        room = width - (len(rest) if n < len(words) - 1 else 0)
        if len(line) + 1 + len(word) > room:
            return [Text(shortened_end(line + rest, width), "dim")]
        line += f" {word} "
    return [Text(line.rstrip())]


def sparkline(values: Sequence[float], width: int) -> str:
    """Return bars of eight heights, from the lowest value to the highest.

    If there are more values than `width`, stretches of about equal length are averaged.
    """
    size = min(len(values), max(width, 0))
    edges = [len(values) * i // size for i in range(size + 1)] if size else [0]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means, default=0.0), max(means, default=0.0) - min(means, default=0.0)
    top = len(SPARKS) - 1
    return "".join(SPARKS[round(top * (v - low) / span) if span else 0] for v in means)


def _shares(history: History, width: int) -> Text:
    """Return the share of each phase in the peers' time, as a stacked bar with a legend."""
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
    """Divide `width` cells among the shares; the sum of the cells is `width`."""
    edges, cells, total = 0.0, {}, 0
    for name, share in shares.items():
        edges += share
        cells[name] = round(edges * width) - total
        total += cells[name]
    return cells


def _tail(text: str, width: int) -> str:
    """Return a path, or if it does not fit its end, which identifies the run."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
