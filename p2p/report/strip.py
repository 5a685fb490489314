"""A film strip: a few pictures of the trained policy, as JPEG."""

from __future__ import annotations

from io import BytesIO

from p2p.report.formats import number
from p2p.report.page import Frame
from p2p.runs import RunFolder
from p2p.runs.measures import final_scores

FRAMES = 6
SIZE = (320, 240)  # pixels, width and height
QUALITY = 85


def film_strip(run: RunFolder, frames: int = FRAMES) -> tuple[list[Frame], str]:
    """Play the first episode that `p2p eval --domain nominal` scores of the best peer.

    Returns:
        Pictures at even distances in time, from the start to the end, and a caption.

    Raises:
        UsageError: nothing can draw here, or the task's code is not loaded.
        BadArtefact: there is no policy, or it is damaged.
    """
    from PIL import Image

    from p2p.envs import gl
    from p2p.film.episode import Player
    from p2p.film.stage import Stage
    from p2p.film.takes import record

    gl.back_end()  # first, so that it fails before the episode
    scores = final_scores(run)
    best = max(scores, key=lambda peer: float(peer["mean"]))["peer"] if scores else 0
    player = Player(str(run.path), peer=best)
    take = record(player)
    length, total = take.episode.length, take.episode.episode_return
    chosen = sorted({round(n * length / max(1, frames - 1)) for n in range(frames)})
    made = []
    with Stage(player, take, *SIZE) as stage:
        for moment in (take.moments[n] for n in chosen):
            out = BytesIO()
            Image.fromarray(stage.draw(take, moment.state)).save(out, "JPEG", quality=QUALITY)
            seconds, earned = moment.step * take.dt, round(moment.episode_return)
            made.append(Frame(out.getvalue(), f"{seconds:.1f} s, return {number(earned)}"))
    peer = f"Peer {best}" if run.config.num_peers > 1 else "The policy"
    peer += ", the one with the highest final score" if len(scores) > 1 else ""
    caption = (
        f"{peer}. One episode in the nominal domain, mean action: return {number(total)} in "
        f"{length} of at most {player.envs.max_episode_steps} steps."
    )
    return made, caption
