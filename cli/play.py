"""`p2p play`: watch a trained policy in MuJoCo's viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .analysis import latest_run
from .options import source_options
from .text.formats import compact, count, counted
from .video import player_options

if TYPE_CHECKING:
    from p2p.envs.base import Episode

EXAMPLES = """\b
Examples:
  p2p play runs/a
  p2p play runs/a --domain wind=3,mass=1.3 --peer 1

Without a display: p2p video. On macOS: mjpython $(which p2p) play runs/a
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option("--domain", default="nominal", show_default=True, metavar="DOMAIN",
              help="As in wind=3,mass=0.8; other factors are nominal.")  # fmt: skip
@player_options
@source_options
def play(run: Path | None, **settings: Any) -> None:
    """Watch the policy of a RUN, a run folder or a policy file, until the window is closed.

    It acts by its mean action, in real time, episode after episode. The first one is the one that
    `p2p eval --domain` scores. No RUN: the latest finished one under runs/.
    """
    from p2p.film.play import check_viewer, watch

    check_viewer()  # before anything is loaded
    from p2p.film.episode import Player

    player = Player(run or latest_run().path, **settings)
    click.echo(
        f"{player.subject.path}, peer {player.peer}; close the window or press Ctrl-C to end"
    )
    ended = watch(player, _say)
    click.echo(f"{counted(ended, 'episode')} shown")


def _say(episode: Episode) -> None:
    how = "unstable" if episode.unstable else "ended" if episode.terminated else "time limit"
    click.echo(f"return {compact(episode.episode_return)}, {count(episode.length)} steps, {how}")
