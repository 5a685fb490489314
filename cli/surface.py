"""`p2p surface`: training and test return around a run's policies, as a map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.analysis.surface.config import SurfaceConfig

from .analysis import (
    Files,
    check_runs,
    how_far,
    latest_run,
    output_options,
    progress,
    show,
    work_options,
)
from .interrupt import interrupts
from .options import flags_in_messages, setting_option, source_options
from .tables import as_text, assembled, cost_line, ground_style, table
from .text.formats import compact, count, counted
from .text.terminal import columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.text import Text

    from p2p.analysis.surface.results import Best, Landscape, Mark, Surface

PICTURES = ("png", "svg")
GAP = 4  # cells between two maps side by side
TITLES = {"train": "training return", "test": "test return"}
EXAMPLES = """\b
Examples:
  p2p surface runs/a
  p2p surface runs/a --peer 1 --grid 25 --domains 16
  p2p surface runs/a --grid 7 --domains 2 --no-save   a look in half a minute
"""


@click.command(
    params=[setting_option(name, field) for name, field in SurfaceConfig.model_fields.items()],
    epilog=EXAMPLES,
)
@click.argument("run", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@work_options
@output_options
@source_options
def surface(
    run: Path | None,
    workers: int | None,
    no_save: bool,
    as_json: bool,
    plain: bool,
    **settings: Any,
) -> None:
    """Measure returns on the plane through a RUN's initial, middle and final policy (Fig. 5).

    Each point is an affine combination of the three; at each the training return (eps_tr of
    the run) and the test return (--eps-te) are measured. Episodes are kept in eval.h5 beside
    the run, and what is there is not run again; the surface goes to surface-peer-K.h5, and as a
    picture to .png and .svg of that name. No RUN: the latest finished one under runs/.
    """
    check_runs([run] if run else [])
    with interrupts.loading():
        from p2p.analysis.surface.measure import find_surface
        from p2p.runs import RunFolder

    folder = RunFolder.open(run) if run else latest_run()
    with flags_in_messages(), progress("evaluating", how_far, plain=plain) as report:
        found = find_surface(folder, save=not no_save, workers=workers, report=report, **settings)
    pictures = [] if no_save else _keep(found)
    show(
        found, lambda: render(found, columns()), {"figures": pictures},
        as_json=as_json, plain=plain,
    )  # fmt: skip


def _keep(found: Surface) -> list[str]:
    """Write the surface beside the run and draw it, as far as that works; return the pictures."""
    from p2p.analysis.surface.results import surface_path
    from p2p.plots.surface import surface_figure
    from p2p.runs import write_atomically

    pictures = []
    with Files().writing("it is shown, not kept", asked=False):
        found.write()
        for suffix in PICTURES:
            path = surface_path(found.path, found.config.peer, suffix)
            write_atomically(path, surface_figure(found, suffix), "figure")
            pictures.append(str(path))
    return pictures


def render(found: Surface, width: int) -> list[Text]:
    """Return everything that is shown of a surface.

    Args:
        width: cells in a line; maps that do not fit side by side stand one below the other.
    """
    low = min(float(one.mean.min()) for one in found.landscapes)
    high = max(float(one.mean.max()) for one in found.landscapes)
    maps = [_map(found, one, width, low, high) for one in found.landscapes]
    return [
        *_head(found),
        as_text(),
        *_together(maps, width),
        as_text(),
        *_scale(low, high),
        as_text(),
        *_marks(found, width),
        as_text(),
        *_notes(found),
        cost_line(found.cost),
    ]


def _head(found: Surface) -> list[Text]:
    config = found.config
    what = f"{found.method}, peer {config.peer}, seed {found.seed}"
    hashes = ", ".join(f"eps {one.set.eps:g} hash {one.set.hash}" for one in found.landscapes)
    domains = f"{counted(config.domains, 'domain')}, seed {config.domain_seed}; {hashes}"
    return [
        assembled((found.task, "bold"), f", {what}"),
        as_text(str(found.path), "dim"),
        as_text(f"{config.grid} x {config.grid} points; {domains}"),
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
    lines = [as_text(" " * left + f"{TITLES[one.scenario]}, eps {one.set.eps:g}", "bold")]
    for row in reversed(shown):
        line = as_text(labels[row].rjust(left - 1) + " ")
        for column in shown:
            share = (float(one.mean[row, column]) - low) / (high - low) if high > low else 0.5
            text = letters.get((row, column), str(min(int(10 * share), 9)))
            bold = "bold " if text.isalpha() else ""
            line.append(text.ljust(size), bold + ground_style(share))
        lines.append(line)
    lines.append(
        as_text(" " * left + ends[0] + ends[1].rjust(max(span - len(ends[0]), len(ends[1]) + 1)))
    )
    return lines


def _nearest(found: Surface, mark: Mark, step: int) -> tuple[int, int]:
    """Return row and column of the point nearest to a policy, of every `step`-th."""
    import numpy as np

    def index(axis: NDArray[np.float64], at: float) -> int:
        return step * int(np.argmin(np.abs(axis[::step] - at)))

    return index(found.y, mark.y), index(found.x, mark.x)


def _together(maps: Sequence[Sequence[Text]], width: int) -> list[Text]:
    """Put two maps side by side if they fit, else one below the other."""
    first, second = maps
    size = max(len(line) for line in first) + GAP
    if size + max(len(line) for line in second) > width:
        return [*first, as_text(), *second]
    lines = []
    for left, right in zip_longest(first, second, fillvalue=as_text()):
        line = left.copy()
        line.append(" " * (size - len(left)))
        lines.append(line.append_text(right))
    return lines


def _scale(low: float, high: float) -> list[Text]:
    scale = as_text("return  ")
    for n in range(10):
        scale.append(f" {n} ", ground_style(n / (10 - 1)))
    scale.append(f"  {compact(low)} to {compact(high)}, in tenths")
    axes = "axes: L2 distance of parameters, x from I(nitial) to F(inal), y to M(iddle)"
    return [scale, as_text(axes, "dim")]


def _marks(found: Surface, width: int) -> list[Text]:
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
    best = [as_text(f"best {one.scenario:<5} {_best(found.best(one))}") for one in found.landscapes]
    return [*table(head, rows, width=width), as_text(), *best]


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
    return [as_text(note, "dim") for note in notes]
