"""`p2p surface`: training and test return around a run's policies, as a map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.analysis.surface.config import SurfaceConfig
from p2p.core.errors import UsageError

from .analysis import Files, how_far, output_options, progress, show, work_options
from .options import setting_option, source_options, with_flags
from .terminal import columns

if TYPE_CHECKING:
    from p2p.analysis.surface.results import Surface

PICTURES = ("png", "svg")
EXAMPLES = """\b
Examples:
  p2p surface runs/a
  p2p surface runs/a --peer 1 --grid 25 --domains 16
  p2p surface runs/a --grid 7 --domains 2 --no-save     a first look, in half a minute
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
    picture to .png and .svg of that name. No RUN: the latest under runs/.
    """
    from p2p.cohort import launch

    launch.start_server("p2p.analysis.evaluation.worker")  # it imports while we do
    from p2p.analysis.surface.measure import find_surface
    from p2p.runs import RunFolder

    folder = RunFolder.open(run) if run else RunFolder.latest()
    try:
        with progress("evaluating", how_far, plain=plain) as report:
            found = find_surface(
                folder, save=not no_save, workers=workers, report=report, **settings
            )
    except UsageError as error:
        raise UsageError(with_flags(str(error), SurfaceConfig)) from None
    pictures = [] if no_save else _keep(found)
    from .surface_tables import report as tables

    show(
        found, lambda: tables(found, columns()), {"figures": pictures},
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
