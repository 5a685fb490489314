"""Return surfaces as lines of text: two maps, and the policies that the plane goes through."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from .eval_tables import _cost, _ground, _table
from .formats import compact, count, counted

if TYPE_CHECKING:
    from p2p.analysis.surface.results import Best, Landscape, Mark, Surface

GAP = 4  # cells between two maps side by side
TITLES = {"train": "training return", "test": "test return"}


def report(found: Surface, width: int) -> list[Text]:
    """Return everything that is shown of a surface.

    Args:
        width: cells in a line; maps that do not fit side by side stand one below the other.
    """
    low = min(float(one.mean.min()) for one in found.landscapes)
    high = max(float(one.mean.max()) for one in found.landscapes)
    maps = [_map(found, one, width, low, high) for one in found.landscapes]
    return [
        *_head(found),
        Text(),
        *_together(maps, width),
        Text(),
        *_scale(low, high),
        Text(),
        *_marks(found),
        Text(),
        *_notes(found),
        _cost(found.cost),
    ]


def _head(found: Surface) -> list[Text]:
    config = found.config
    what = f"{found.method}, peer {config.peer}, seed {found.seed}"
    hashes = ", ".join(f"eps {one.set.eps:g} hash {one.set.hash}" for one in found.landscapes)
    domains = f"{counted(config.domains, 'domain')}, seed {config.domain_seed}; {hashes}"
    return [
        Text.assemble((found.task, "bold"), f", {what}"),
        Text(str(found.path), "dim"),
        Text(f"{config.grid} x {config.grid} points; {domains}"),
    ]


def _map(found: Surface, one: Landscape, width: int, low: float, high: float) -> list[Text]:
    """Return a map: a digit a point is the tenth of the scale that its return lies in.

    A letter stands where a policy is nearest. Points are left out where they do not fit.
    """
    labels = [_place(float(v)) for v in found.y]
    left = max(map(len, labels)) + 1
    step = max(1, -(-len(found.x) // max(1, width - left)))
    size = 2 if left + 2 * len(found.x) <= width else 1
    shown = range(0, len(found.x), step)
    letters = {_nearest(found, mark, step): mark.name[0].upper() for mark in found.marks}
    ends = [_place(float(found.x[n])) for n in (0, shown[-1])]
    span = size * len(shown)
    lines = [Text(" " * left + f"{TITLES[one.scenario]}, eps {one.set.eps:g}", "bold")]
    for row in reversed(shown):
        line = Text(labels[row].rjust(left - 1) + " ")
        for column in shown:
            share = (float(one.mean[row, column]) - low) / (high - low) if high > low else 0.5
            text = letters.get((row, column), str(min(int(10 * share), 9)))
            bold = "bold " if text.isalpha() else ""
            line.append(text.ljust(size), bold + _ground(share))
        lines.append(line)
    lines.append(
        Text(" " * left + ends[0] + ends[1].rjust(max(span - len(ends[0]), len(ends[1]) + 1)))
    )
    return lines


def _nearest(found: Surface, mark: Mark, step: int) -> tuple[int, int]:
    """Return row and column of the point nearest to a policy, of every `step`-th."""

    def index(axis: NDArray[np.float64], at: float) -> int:
        return step * int(np.argmin(np.abs(axis[::step] - at)))

    return index(found.y, mark.y), index(found.x, mark.x)


def _together(maps: Sequence[Sequence[Text]], width: int) -> list[Text]:
    """Put two maps side by side if they fit, else one below the other."""
    first, second = maps
    size = max(len(line) for line in first) + GAP
    if size + max(len(line) for line in second) > width:
        return [*first, Text(), *second]
    lines = []
    for left, right in zip_longest(first, second, fillvalue=Text()):
        line = left.copy()
        line.append(" " * (size - len(left)))
        lines.append(line.append_text(right))
    return lines


def _scale(low: float, high: float) -> list[Text]:
    scale = Text("return  ")
    for n in range(10):
        scale.append(f" {n} ", _ground(n / (10 - 1)))
    scale.append(f"  {compact(low)} to {compact(high)}, in tenths")
    axes = "axes: L2 distance of parameters, x from I(nitial) to F(inal), y to M(iddle)"
    return [scale, Text(axes, "dim")]


def _marks(found: Surface) -> list[Text]:
    """Return a row a policy, and the best point of each map."""
    head = ["policy", "steps", "x", "y", "train", "test", "train, own", "test, own"]
    rows = [
        [
            mark.name, count(mark.steps), _place(mark.x), _place(mark.y),
            compact(mark.train), compact(mark.test),
            compact(mark.train_as_trained), compact(mark.test_as_trained),
        ]
        for mark in found.marks
    ]  # fmt: skip
    best = [Text(f"best {one.scenario:<5} {_best(found.best(one))}") for one in found.landscapes]
    return [*_table(head, rows), Text(), *best]


def _best(best: Best) -> str:
    where = f"the {best.mark} policy" if best.mark else "no policy of the three"
    return f"{compact(best.value)} at x {_place(best.x)}, y {_place(best.y)}: {where}"


def _place(distance: float) -> str:
    return f"{distance:.2f}"


def _notes(found: Surface) -> list[Text]:
    notes = [
        "own: as trained, under the observation normaliser of that time; what differs",
        "is rounding, which grows within an episode, and where observations are clipped",
    ]
    return [Text(note, "dim") for note in notes]
