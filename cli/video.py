"""`p2p video`: film a trained policy in domains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .analysis import Command, latest_run, output_options, progress, show
from .options import FILE, WHOLE, WholeRange, source_options
from .tables import as_text, assembled, table
from .text.formats import compact, count, counted

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.analysis.session import Progress
    from p2p.film import Film

LETTERS = 36  # of a domain in the table
EXAMPLES = """\b
Examples:
  p2p video runs/a -o a.webp
  p2p video runs/a --domain nominal --domain wind=3 --side-by-side -o a.webp
  p2p video runs/a --peer 1 --seconds 20 --size 960x540 --fine -o a.mp4

Several domains are shown one after the other, with --side-by-side at the same time.
MP4 needs the extra `video`: pip install 'p2pdrl[video]'
"""


class Size(click.ParamType[tuple[int, int]]):
    """`WxH`: width and height, pixels."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return width and height."""
        width, _, height = str(value).lower().partition("x")
        if not (width.strip().isdecimal() and height.strip().isdecimal()):
            self.fail(f"{value}: give width and height, as in 480x360", param, ctx)
        return int(width), int(height)


def player_options(command: Command) -> Command:
    """Add the options that say whose episode is played: --peer, --seed, --randomise."""
    command = click.option(
        "--randomise", type=FILE, metavar="FILE.toml",
        help="What varies: a domains file [as in training].",
    )(command)  # fmt: skip
    command = click.option(
        "--seed", type=WholeRange(min=0), default=0, show_default=True,
        help="Of the start noise; `p2p eval --domain-seed` means the same.",
    )(command)  # fmt: skip
    return click.option(
        "--peer", type=WholeRange(min=0), default=0, show_default=True,
        help="Whose policy acts.",
    )(command)  # fmt: skip


@click.command(epilog=EXAMPLES)
@click.argument("run", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=FILE, required=True, metavar="FILE",
              help="The film: FILE.webp, FILE.gif or FILE.mp4.")  # fmt: skip
@click.option("--domain", "domains", multiple=True, default=("nominal",), show_default=True,
              metavar="DOMAIN", help="As in wind=3,mass=0.8; as often as you like.")  # fmt: skip
@click.option("--side-by-side", is_flag=True, help="Show the domains at the same time.")
@player_options
@click.option("--seconds", type=float, help="Of each episode that are shown [default: 10].")
@click.option("--steps", type=WHOLE, help="The same in steps.")
@click.option("--fps", type=float, default=25.0, show_default=True,
              help="Pictures a second; at most one a step.")  # fmt: skip
@click.option("--size", type=Size(), default="480x360", show_default=True,
              help="Of each domain's picture.")  # fmt: skip
@click.option(
    "--fine",
    is_flag=True,
    help="Smooth edges and sharp shadows; takes three to seven times as long.",
)
@output_options
@source_options
def video(run: Path | None, out: Path, as_json: bool, plain: bool, **settings: Any) -> None:
    """Film the policy of a RUN, a run folder or a policy file, in one domain or several.

    It shows the episode that `p2p eval --domain` scores, in real time, with domain, time and return
    on the pictures. It needs no display. No RUN: the latest finished one under runs/.
    """
    from p2p.envs import gl

    gl.back_end()  # fails before the work; also where MuJoCo cannot be imported
    from p2p.film import make_film

    chosen = run or latest_run().path
    with progress("filming", _how_far, plain=plain) as report:
        found = make_film(chosen, out, report=report, **settings)
    show(found, lambda: render(found), {"films": found.path}, as_json=as_json, plain=plain)


def _how_far(now: Progress) -> str:
    """Return how far a film is, in words."""
    return f"{now.done:,} of {counted(now.total, 'picture')}  {now.done / now.seconds:.0f} a second"


def _cut(label: str) -> str:
    """Return a label that leaves room for the other columns."""
    return label if len(label) <= LETTERS else f"{label[: LETTERS - 3]}..."


def render(found: Film) -> list[Text]:
    """Return everything that is shown of a film."""
    rows = [
        [_cut(shot.label), compact(shot.episode_return), count(shot.steps), f"{shot.seconds:.2f} s",
         shot.ending, f"{shot.shown:.2f} s"]
        for shot in found.shots
    ]  # fmt: skip
    several = len(found.shots) > 1
    order = "side by side" if found.side_by_side else "one after the other"
    size = found.size / 1000
    return [
        assembled((found.task, "bold"), f", {found.method}, peer {found.peer}, mean action"),
        as_text(found.run, "dim"),
        as_text(),
        *table(["domain", "return", "steps", "time", "", "shown"], rows),
        as_text(),
        as_text(
            f"{counted(found.frames, 'picture')} of {found.width}x{found.height} in "
            f"{found.seconds:.1f} s ({found.frames / found.seconds:.0f} a second)"
            + (f"; domains {order}" if several else "")
        ),
        as_text(
            f"{found.frames / found.fps:.1f} s of film at {found.fps:.4g} a second, "
            + (f"{size / 1000:.1f} MB" if size >= 1000 else f"{size:.0f} kB")
        ),
    ]
