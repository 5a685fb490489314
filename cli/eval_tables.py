"""Tables of an evaluation, as lines of text; without their styles they are plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from .formats import NOTHING, compact, count, counted

if TYPE_CHECKING:
    from p2p.analysis.evaluation.results import (
        EvaluatedRun,
        Evaluation,
        Measured,
        MethodScore,
        Performance,
    )

UNITS = {"wind": "wind N", "gravity": "gravity x", "friction": "friction x", "mass": "mass x"}
VIRIDIS = (  # matplotlib's, at even distances: as light grows, so does the value, in grey too
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
    (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
)  # fmt: skip
SCORE = ("return", "spread", "worst 10%", "length", "falls")
Row = Sequence[str]


def report(found: Evaluation, width: int) -> list[Text]:
    """Return everything that is shown of an evaluation.

    Args:
        width: cells in a line; columns of least worth are left out where they do not fit.
    """
    lines: list[Text] = []
    for run in found.runs:
        lines += [*_head(found, run), Text(), *_run(run, width), Text()]
    if len(found.runs) > 1:
        lines += [*_methods(found.methods), Text()]
    return [*lines, *_notes(found), _cost(found)]


def _head(found: Evaluation, run: EvaluatedRun) -> list[Text]:
    config = found.config
    parts = [run.method, counted(len(run.peers), "peer")]
    if "eps_tr" in run.settings:
        parts.append(f"eps_tr {run.settings['eps_tr']:g}")
    parts.append(f"seed {run.seed}")
    what = ", ".join([counted(config.episodes, "episode") + " each", _action(found)])
    first = run.measured[0].set
    if config.domain is not None:
        where = f"in domain {config.domain}, other factors nominal"
    elif config.grid or config.by_factor:
        where = f"at strength {config.eps_te[0]:g}, other factors nominal"
    else:
        where = f"{counted(config.domains, 'test domain')}, seed {config.domain_seed}"
        where += f", hash {first.hash}" if len(run.measured) == 1 else ""
    return [
        Text.assemble((run.task, "bold"), ", ", ", ".join(parts)),
        Text(run.path, "dim"),
        Text(f"{where}; {what}"),
    ]


def _action(found: Evaluation) -> str:
    return "sampled actions" if found.config.sampled else "mean action"


def _run(run: EvaluatedRun, width: int) -> list[Text]:
    axes = run.measured[0].set.axes
    if len(axes) == 2:
        return heat_map(run.measured[0], run, width)
    if len(axes) == 1:
        return _factors(run)
    return _peers(run) if len(run.measured) == 1 else _strengths(run, width)


def _peers(run: EvaluatedRun) -> list[Text]:
    """Return a row a peer, and their mean, which is the method's score."""
    (measured,) = run.measured
    ranks = zip(run.peers, measured.peers, strict=True)
    rows = [[f"peer {rank}", *_score(score, measured)] for rank, score in ranks]
    if len(rows) > 1:
        rows.append(["mean", *_score(measured.score, measured)])
    title = "" if measured.set.eps is None else measured.set.name
    return _table([title, *SCORE], rows, bold=len(rows) - 1 if len(rows) > 1 else None)


def _strengths(run: EvaluatedRun, width: int) -> list[Text]:
    """Return a row a strength; each peer's own return where there is room."""
    rows = [
        [f"{measured.set.eps:g}", *_score(measured.score, measured), measured.set.hash]
        for measured in run.measured
    ]
    head = ["eps_te", *SCORE, "hash"]
    if len(run.peers) > 1:
        wider = [
            [*row, *(compact(peer.mean) for peer in measured.peers)]
            for row, measured in zip(rows, run.measured, strict=True)
        ]
        full = _table([*head, *(f"peer {rank}" for rank in run.peers)], wider)
        if len(full[0]) <= width:
            return full
    return _table(head, rows)


def _score(score: Performance, measured: Measured) -> list[str]:
    single = len(measured.set.domains) == 1
    return [
        compact(score.mean),
        NOTHING if single else compact(score.spread),
        NOTHING if single else compact(score.worst),
        count(score.length),
        f"{score.falls:.0%}",
    ]


def _factors(run: EvaluatedRun) -> list[Text]:
    """Return two columns a factor: its values, and the return at each."""
    head: list[str] = []
    columns: list[list[str]] = []
    for measured in run.measured:
        (axis,) = measured.set.axes
        head += [_named(axis.factor, run), "return"]
        columns += [[compact(v) for v in axis.values], [compact(r) for r in measured.by_domain]]
    return _table(head, list(zip(*columns, strict=True)))


def heat_map(measured: Measured, run: EvaluatedRun, width: int) -> list[Text]:
    """Return the returns over two factors, on coloured ground: dark is low, bright is high."""
    rows, columns = measured.set.axes
    values = measured.by_domain.reshape(len(rows.values), len(columns.values))
    heads = [compact(v) for v in columns.values]
    cells = [[compact(v) for v in row] for row in values]
    label = _named(rows.factor, run)
    left = max(len(label), *(len(compact(v)) for v in rows.values))
    size = max(len(text) for row in [heads, *cells] for text in row)
    size += 2 if left + 2 + (size + 2) * len(heads) <= width else 1
    low, high = float(values.min()), float(values.max())
    lines = [
        Text(" " * (left + 1) + _named(columns.factor, run).center(size * len(heads)), "bold"),
        Text(label.rjust(left) + " " + "".join(h.rjust(size - 1) + " " for h in heads), "bold"),
    ]
    for value, texts, row in reversed(list(zip(rows.values, cells, values, strict=True))):
        line = Text(compact(value).rjust(left) + " ")
        for text, number in zip(texts, row, strict=True):
            share = (float(number) - low) / (high - low) if high > low else 0.5
            line.append(text.rjust(size - 1) + " ", _ground(share))
        lines.append(line)
    scale = Text("return  ")
    for n in range(len(VIRIDIS)):
        scale.append("   ", _ground(n / (len(VIRIDIS) - 1)))
    return [*lines, Text(), scale.append(f"  {compact(low)} to {compact(high)}")]


def _ground(share: float) -> str:
    """Return the style of a cell: ground by `share` in 0..1, and letters that stand out on it."""
    position = share * (len(VIRIDIS) - 1)
    n = min(int(position), len(VIRIDIS) - 2)
    red, green, blue = (
        round(a + (b - a) * (position - n)) for a, b in zip(VIRIDIS[n], VIRIDIS[n + 1], strict=True)
    )
    letters = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else "bright_white"
    return f"{letters} on rgb({red},{green},{blue})"


def _methods(scores: Sequence[MethodScore]) -> list[Text]:
    """Return a row a method and set of domains; seeds are the unit."""
    rows = [
        [
            score.task, score.label, score.set.removeprefix("eps_te "), str(len(score.seeds)),
            compact(score.mean), _interval(score.mean_ci), compact(score.worst),
            count(score.length), f"{score.falls:.0%}",
        ]
        for score in scores
    ]  # fmt: skip
    head = ["task", "method", "eps_te", "seeds", "return", "95% CI", "worst 10%", "length", "falls"]
    return _table(head, rows, left=2)


def _interval(ends: tuple[float, float] | None) -> str:
    return NOTHING if ends is None else f"{compact(ends[0])} to {compact(ends[1])}"


def _notes(found: Evaluation) -> list[Text]:
    """Return what the columns mean, where that is not plain."""
    notes = []
    drawn = not found.runs[0].measured[0].set.axes
    if drawn and found.config.domain is None:
        notes.append("spread: standard deviation over domains, which is no confidence interval")
        notes.append("worst 10%: mean over the worst tenth of the domains, of each peer (CVaR)")
    if len(found.runs) > 1:
        notes.append("95% CI: Student's t over seeds; peers and domains are averaged within a seed")
    elif drawn:
        notes.append("one seed: name runs with other seeds too for a 95% CI")
    unstable = sum(measured.score.unstable for run in found.runs for measured in run.measured)
    if unstable:
        notes.append(f"physics diverged in {counted(unstable, 'episode')}, counted as falls")
    return [Text(note, "dim") for note in notes]


def _cost(found: Evaluation) -> Text:
    kept = f"{counted(found.reused, 'episode')} from eval.h5" if found.reused else ""
    if not found.episodes:
        return Text(f"{kept}, none to run", "dim")
    rate = count(found.steps / found.seconds)
    ran = (
        f"{counted(found.episodes, 'episode')}, {count(found.steps)} steps in "
        f"{found.seconds:.1f} s ({rate} steps/s)"
    )
    return Text("; ".join(filter(None, [ran, kept])), "dim")


def _named(factor: str, run: EvaluatedRun) -> str:
    unit = "m" if run.settings.get("initial_position") == "root_x" else "rad"
    return UNITS.get(factor, f"start {unit}")


def _table(head: Row, rows: Sequence[Row], *, left: int = 1, bold: int | None = None) -> list[Text]:
    """Line the columns up: the first `left` at their left, the others at their right."""
    sizes = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(row: Row) -> str:
        cells = (
            cell.ljust(size) if n < left else cell.rjust(size)
            for n, (cell, size) in enumerate(zip(row, sizes, strict=True))
        )
        return "  ".join(cells).rstrip()

    styled = [Text(line(row), "bold" if n == bold else "") for n, row in enumerate(rows)]
    return [Text(line(head), "bold"), *styled]
