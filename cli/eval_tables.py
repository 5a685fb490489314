"""What `p2p eval` prints: a table a run, a comparison of methods, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .tables import (
    VIRIDIS,
    as_text,
    assembled,
    cost_line,
    ground_style,
    interval_text,
    table,
)  # fmt: skip
from .text.formats import NOTHING, compact, count, counted

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.analysis.evaluation.domain_sets import Axis
    from p2p.analysis.evaluation.results import (
        EvaluatedRun,
        Evaluation,
        Measured,
        MethodScore,
        Performance,
    )

SCORE = ("return", "spread", "worst 10%", "length", "falls")


def render(found: Evaluation, width: int) -> list[Text]:
    """Return everything that is shown of an evaluation.

    Args:
        width: cells in a line; columns of least worth are left out where they do not fit.
    """
    lines: list[Text] = []
    for run in found.runs:
        lines += [*_head(found, run), as_text(), *_run(run, width), as_text()]
    if len(found.runs) > 1:
        lines += [*_methods(found.methods, width), as_text()]
    return [*lines, *_notes(found), cost_line(found)]


def _head(found: Evaluation, run: EvaluatedRun) -> list[Text]:
    config = found.config
    bundle = run.settings.get("bundle")
    what = "the averaged action" if bundle == "mean" else f"peer {run.peers[0]}"
    held = counted(len(run.peers), "peer") if bundle is None else f"bundle of {what}"
    parts = [run.method, held]
    if "eps_tr" in run.settings:
        parts.append(f"eps_tr {run.settings['eps_tr']:g}")
    parts.append(f"seed {run.seed}")
    if run.settings.get("policies") == "best":
        parts.append("best policies")
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
        assembled((run.task, "bold"), ", ", ", ".join(parts)),
        as_text(run.path, "dim"),
        as_text(f"{where}; {what}"),
    ]


def _action(found: Evaluation) -> str:
    return "sampled actions" if found.config.sampled else "mean action"


def _run(run: EvaluatedRun, width: int) -> list[Text]:
    axes = run.measured[0].set.axes
    if len(axes) == 2:
        return heat_map(run.measured[0], run, width)
    if len(axes) == 1:
        return _factors(run, width)
    return _peers(run, width) if len(run.measured) == 1 else _strengths(run, width)


def _peers(run: EvaluatedRun, width: int) -> list[Text]:
    """Return a row a peer, and their mean, which is the method's score."""
    (measured,) = run.measured
    ranks = zip(run.peers, measured.peers, strict=True)
    mean = run.settings.get("bundle") == "mean"
    rows = [
        ["mean action" if mean else f"peer {rank}", *_score(score, measured)]
        for rank, score in ranks
    ]
    if len(rows) > 1:
        rows.append(["mean", *_score(measured.score, measured)])
    title = "" if measured.set.eps is None else measured.set.name
    mean = len(rows) - 1 if len(rows) > 1 else None
    return table([title, *SCORE], rows, bold=mean, width=width)


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
        full = table([*head, *(f"peer {rank}" for rank in run.peers)], wider)
        if len(full[0]) <= width:
            return full
    return table(head, rows, width=width)


def _score(score: Performance, measured: Measured) -> list[str]:
    single = len(measured.set.domains) == 1
    return [
        compact(score.mean),
        NOTHING if single else compact(score.spread),
        NOTHING if single else compact(score.worst),
        count(score.length),
        f"{score.falls:.0%}",
    ]


def _factors(run: EvaluatedRun, width: int) -> list[Text]:
    """Return two columns a factor: its values, and the return at each."""
    head: list[str] = []
    cells: list[list[str]] = []
    for measured in run.measured:
        (axis,) = measured.set.axes
        head += [_named(axis), "return"]
        cells += [[compact(v) for v in axis.values], [compact(r) for r in measured.by_domain]]
    return table(head, list(zip(*cells, strict=True)), left=0, width=width, group=2)


def heat_map(measured: Measured, run: EvaluatedRun, width: int) -> list[Text]:
    """Return the returns over two factors, on coloured ground: dark is low, bright is high."""
    rows, columns = measured.set.axes
    values = measured.by_domain.reshape(len(rows.values), len(columns.values))
    heads = [compact(v) for v in columns.values]
    cells = [[compact(v) for v in row] for row in values]
    label = _named(rows)
    values_size = max(len(compact(v)) for v in rows.values)
    size = max(len(text) for row in [heads, *cells] for text in row)
    above = max(len(label), values_size) + 1 + (size + 1) * len(heads) > width
    left = values_size if above else max(len(label), values_size)
    size += 2 if left + 2 + (size + 2) * len(heads) <= width else 1
    low, high = float(values.min()), float(values.max())
    lines = [
        as_text(" " * (left + 1) + _named(columns).center(size * len(heads)), "bold"),
        *([as_text(label, "bold")] if above else []),
        as_text(
            ("" if above else label).rjust(left)
            + " "
            + "".join(h.rjust(size - 1) + " " for h in heads),
            "bold",
        ),
    ]
    for value, texts, row in reversed(list(zip(rows.values, cells, values, strict=True))):
        line = as_text(compact(value).rjust(left) + " ")
        for text, number in zip(texts, row, strict=True):
            share = (float(number) - low) / (high - low) if high > low else 0.5
            line.append(text.rjust(size - 1) + " ", ground_style(share))
        lines.append(line)
    scale = as_text("return  ")
    for n in range(len(VIRIDIS)):
        scale.append("   ", ground_style(n / (len(VIRIDIS) - 1)))
    return [*lines, as_text(), scale.append(f"  {compact(low)} to {compact(high)}")]


def _methods(scores: Sequence[MethodScore], width: int) -> list[Text]:
    """Return a row a method and set of domains; seeds are the unit."""
    rows = [
        [
            score.task, score.label, score.set.removeprefix("eps_te "), str(len(score.seeds)),
            compact(score.mean), interval_text(score.mean_ci), compact(score.worst),
            count(score.length), f"{score.falls:.0%}",
        ]
        for score in scores
    ]  # fmt: skip
    head = ["task", "method", "eps_te", "seeds", "return", "95% CI", "worst 10%", "length", "falls"]
    return table(head, rows, left=2, width=width)


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
    return [as_text(note, "dim") for note in notes]


def _named(axis: Axis) -> str:
    name = "start" if axis.factor == "initial_position" else axis.factor
    return f"{name} {axis.unit}".rstrip()
