"""Make a film of a trained policy: `make_film`, the library's side of `p2p video`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from p2p.analysis.evaluation.subjects import Given, Subject, load_subjects
from p2p.analysis.session import Progress
from p2p.core.errors import Interrupted, NoRoom, UsageError
from p2p.core.signals import StopSignals
from p2p.envs import gl
from p2p.envs.domain import Domain
from p2p.film import files
from p2p.film.captions import Captions, how_it_ended
from p2p.film.episode import Player
from p2p.film.stage import Stage
from p2p.film.takes import Take, record
from p2p.runs.files import advising, remove_stale_files, replacing

SECONDS = 10.0  # of each episode, unless said otherwise
HOLD = 0.6  # s, the last picture of a shot
SMALLEST, LARGEST = 64, 4096  # pixels
ROW = 3  # pictures side by side, before a second row begins


@dataclass(frozen=True)
class FilmSettings:
    """What a film shows, and how.

    Attributes:
        side_by_side: show the domains at the same time, not one after the other.
        peer: whose policy acts.
        seed: of the start noise, as `p2p eval --domain-seed`.
        seconds, steps: how much of each episode is shown; None: 10 s at most.
        fps: pictures a second; no more than the task has steps.
        size: width and height of each domain's picture, pixels.
        fine: smooth edges and sharp shadows, which take three to seven times as long.
        randomise: what varies, as a domains file or its tables; None: as in training.
    """

    side_by_side: bool = False
    peer: int = 0
    seed: int = 0
    seconds: float | None = None
    steps: int | None = None
    fps: float = 25.0
    size: tuple[int, int] = (480, 360)
    fine: bool = False
    randomise: Any = None

    def check(self) -> None:
        """Raise UsageError for a value out of range."""
        width, height = self.size
        if not (min(self.size) >= SMALLEST and max(self.size) <= LARGEST):
            raise UsageError(f"size {width}x{height}: give {SMALLEST} to {LARGEST} pixels a side")
        for name in ("fps", "seconds", "steps"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name}={value:g} must be above 0")
        if self.seconds is not None and self.steps is not None:
            raise UsageError("seconds and steps both say how long the film is; give one of them")


@dataclass(frozen=True)
class Shot:
    """What a film shows of one domain.

    Attributes:
        label: what is written on it.
        domain: exact text.
        episode_return, steps, seconds: of the whole episode, whatever of it is shown.
        ending: `ended`, `time limit` or `unstable`.
        shown: seconds that the film shows.
    """

    label: str
    domain: str
    episode_return: float
    steps: int
    seconds: float
    ending: str
    shown: float


@dataclass(frozen=True)
class Film:
    """A film that was made.

    Attributes:
        path: of the file; its `size`, bytes.
        task, method, run, peer: whose policy acts; seed: of the start noise.
        shots: one a domain, side by side or one after the other.
        frames, width, height, fps: of the file.
        seconds: that drawing and writing took.
    """

    path: str
    size: int
    task: str
    method: str
    run: str
    peer: int
    seed: int
    side_by_side: bool
    shots: tuple[Shot, ...]
    frames: int
    width: int
    height: int
    fps: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)


class _Cut(NamedTuple):
    """A picture of the film: which takes it shows, at what time of theirs."""

    takes: Sequence[Take]
    seconds: float


def make_film(
    run: Given,
    out: str | Path,
    domains: Sequence[str | Domain] = ("nominal",),
    *,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Film:
    """Film the episodes that `p2p eval --domain` scores: mean action, equal start.

    Args:
        run: a run folder, a policy file or a policy.
        out: the file, .webp, .gif or .mp4 (extra `video`); replaced whole, at the end.
        domains: one shot each.
        report: called with a `Progress` now and then.
        settings: fields of `FilmSettings`.

    Raises:
        UsageError: a setting is wrong, a domain does not fit, or nothing can draw here.
        BadArtefact: there is no run or policy there, or it is damaged.
        NoRoom: the file cannot be written.
        Interrupted: a signal; `out` is as it was.
    """
    one, out = FilmSettings(**settings), Path(out)
    one.check()
    _check_file(out)
    files.delay(out, one.fps)  # raises before the work
    if not domains:
        raise UsageError("name at least one domain, such as nominal")
    gl.back_end()  # first, so that it fails before the work
    (subject,) = load_subjects([run])
    played = {"peer": one.peer, "seed": one.seed, "randomise": one.randomise}
    players = [Player(subject, domain, **played) for domain in domains]
    takes = [record(player) for player in players]
    dt = takes[0].dt
    pause = files.delay(out, min(one.fps, 1 / dt))
    most = SECONDS if one.seconds is None else one.seconds
    most = most if one.steps is None else one.steps * dt
    cuts = list(_cuts(takes, pause / 1000, most, one.side_by_side))
    captions = _captions(takes, one, subject)
    began = time.perf_counter()
    with StopSignals() as signals, Stage(players[0], takes[0], *one.size, fine=one.fine) as stage:
        written = _write(out, _drawn(cuts, stage, captions, signals, report), pause)
    shots = tuple(_shot(take, most) for take in takes)
    return Film(
        str(out), written, subject.task, subject.method, subject.path, one.peer, one.seed,
        one.side_by_side, shots, len(cuts), *captions.size, 1000 / pause,
        time.perf_counter() - began,
    )  # fmt: skip


def _captions(takes: Sequence[Take], one: FilmSettings, subject: Subject) -> Captions:
    panels = len(takes) if one.side_by_side else 1
    footer = f"{subject.task}, {subject.method}, peer {one.peer}, seed {subject.seed}"
    if "eps_tr" in subject.settings:
        footer += f", trained at strength {subject.settings['eps_tr']:g}"
    footer += f"; mean action, start {one.seed}"
    labels = [take.label for take in takes]
    return Captions(*one.size, labels, panels, columns_of(panels), footer)


def columns_of(panels: int) -> int:
    """Return how many pictures stand side by side: all of a few, else about a square."""
    return panels if panels <= ROW else math.ceil(math.sqrt(panels))


def _check_file(out: Path) -> None:
    """Raise an error if the file cannot be written."""
    files.check_format(out)
    folder = out.parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "it is a folder" if out.is_dir() else f"there is no writable folder {folder}"
        raise NoRoom(f"cannot write film {out}: {why}; choose another name with -o")


def _cuts(takes: Sequence[Take], between: float, most: float, side_by_side: bool) -> Iterator[_Cut]:
    """Yield the pictures of a film; each shot ends with a still."""
    for together in [takes] if side_by_side else [[take] for take in takes]:
        shown = min(most, max(take.seconds for take in together))
        for n in range(max(1, round(shown / between))):
            yield _Cut(together, n * between)
        for _ in range(max(1, round(HOLD / between))):
            yield _Cut(together, shown)


def _drawn(
    cuts: Sequence[_Cut], stage: Stage, captions: Captions, signals: StopSignals,
    report: Callable[[Progress], None] | None,
) -> Iterator[Image.Image]:  # fmt: skip
    """Draw the pictures of a film, one after the other.

    Raises:
        Interrupted: a signal asks to stop.
    """
    began = time.perf_counter()
    for done, cut in enumerate(cuts, 1):
        moments = [take.at(cut.seconds) for take in cut.takes]
        both = zip(cut.takes, moments, strict=True)
        pictures = [stage.draw(take, moment.state) for take, moment in both]
        yield captions.compose(pictures, cut.takes, moments)
        if signals.received is not None:
            what = f"{done} of {len(cuts)} pictures were drawn; no film was written"
            raise Interrupted(what, signals.received)
        if report is not None:
            passed = time.perf_counter() - began
            report(Progress(done, len(cuts), done, done / len(cuts), passed))


def _write(out: Path, pictures: Iterator[Image.Image], pause: int) -> int:
    """Write the file, whole or not at all, and return its size, bytes."""
    remove_stale_files(out.parent, out.name)
    with advising("choose another name with -o"), replacing(out, "film") as tmp:
        files.write(tmp, out.suffix.lower(), pictures, pause)
        return tmp.stat().st_size


def _shot(take: Take, most: float) -> Shot:
    episode = take.episode
    return Shot(
        take.label, take.domain, episode.episode_return, episode.length, take.seconds,
        how_it_ended(take), min(most, take.seconds),
    )  # fmt: skip
