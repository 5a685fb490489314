"""Writes domain, time and return above pictures, and whose film it is below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from p2p.envs.domain import Domain
from p2p.envs.randomisation import Factor, Randomisation
from p2p.envs.units import SCALE, short_unit
from p2p.film.episode import Moment
from p2p.film.stage import Image
from p2p.film.takes import Take

GROUND, WHITE, GREY = (23, 26, 33), (255, 255, 255), (168, 176, 190)
ENDED = (255, 196, 87)
GAP, MARGIN = 2, 8  # pixels between pictures, and around words
MORE = "..."
FEW = 3  # values of a factor that are written one by one


class Captions:
    """Puts pictures of one size together, each under the words that belong to it.

    Args:
        width, height: of a picture, pixels.
        labels: what stands above pictures, of the whole film.
        panels: pictures at a time.
        columns: of them side by side; more go into rows below.
        footer: of the whole film.

    Attributes:
        size: width and height of the whole, pixels.
    """

    def __init__(
        self, width: int, height: int, labels: Sequence[str], panels: int, columns: int,
        footer: str,
    ) -> None:  # fmt: skip
        self._size, self._columns, self._footer = (width, height), columns, footer
        letters, small = max(12, min(22, width // 26)), max(11, min(15, width // 34))  # pixels
        self.font, self._small = ImageFont.load_default(letters), ImageFont.load_default(small)
        self._line = int(letters * 1.35)
        self._lines = {label: wrapped(label, self.font, width - 2 * MARGIN) for label in labels}
        self._head = self._line * (1 + max(map(len, self._lines.values()))) + MARGIN
        self._foot = int(small * 1.7)
        across = columns * (width + GAP) - GAP
        down = -(-panels // columns) * (self._head + height) + self._foot
        self.size = across + across % 2, down + down % 2  # H.264 takes even numbers alone
        self._blanks: dict[tuple[str, ...], Pictures.Image] = {}

    def _blank(self, labels: tuple[str, ...]) -> Pictures.Image:
        """Return a picture with all that stays the same."""
        picture = Pictures.new("RGB", self.size, GROUND)
        pen = ImageDraw.Draw(picture)
        for n, label in enumerate(labels):
            left, top = self._corner(n)
            for k, line in enumerate(self._lines[label]):
                at = left + MARGIN, top + MARGIN // 2 + k * self._line
                pen.text(at, line, WHITE, self.font)
        (line,) = wrapped(self._footer, self._small, self.size[0] - 2 * MARGIN, most=1)
        pen.text((MARGIN, self.size[1] - self._foot + 2), line, GREY, self._small)
        return picture

    def _corner(self, n: int) -> tuple[int, int]:
        row, column = divmod(n, self._columns)
        return column * (self._size[0] + GAP), row * (self._head + self._size[1])

    def compose(
        self, pictures: Sequence[Image], takes: Sequence[Take], moments: Sequence[Moment]
    ) -> Pictures.Image:
        """Return one picture of all, with the time and the return of each moment."""
        labels = tuple(take.label for take in takes)
        if labels not in self._blanks:
            self._blanks[labels] = self._blank(labels)
        whole = self._blanks[labels].copy()
        pen = ImageDraw.Draw(whole)
        for n, (picture, take, moment) in enumerate(zip(pictures, takes, moments, strict=True)):
            left, top = self._corner(n)
            whole.paste(Pictures.fromarray(np.ascontiguousarray(picture)), (left, top + self._head))
            at = left + MARGIN, top + self._head - self._line - MARGIN // 2
            pen.text(at, status(take, moment), ENDED if moment.ended else GREY, self.font)
        return whole


def status(take: Take, moment: Moment) -> str:
    """Return time and return of a moment, and how the episode ended if it did."""
    words = f"{moment.step * take.dt:.2f} s   return {round(moment.episode_return):,}"
    return f"{words}   {how_it_ended(take)}" if moment.ended else words


def how_it_ended(take: Take) -> str:
    """Return how an episode ended, in a word or two."""
    if take.episode.unstable:
        return "unstable"
    return "ended" if take.episode.terminated else "time limit"


def domain_label(randomisation: Randomisation, domain: Domain) -> str:
    """Return what of a complete domain is not nominal, with units: `wind 3 N, mass x0.8`."""
    parts = [
        _factor_label(factor, domain[factor.name])
        for factor in randomisation
        if any(value != factor.nominal for value in domain[factor.name])
    ]
    return ", ".join(parts) or "nominal"


def _factor_label(factor: Factor, values: Sequence[float]) -> str:
    name, unit = factor.name.replace("_", " "), short_unit(factor)
    shown = values[:1] if len(set(values)) == 1 else values
    numbers = "/".join(f"{value:.3g}" for value in shown)
    if len(shown) > FEW:
        numbers = f"{min(values):.3g} to {max(values):.3g}"
    if unit == SCALE:
        return f"{name} x{numbers}"
    return f"{name} {numbers} {unit}".rstrip()


def wrapped(text: str, font: Any, width: float, most: int = 2) -> list[str]:
    """Return the lines of a text, at most so many: words that do not fit are left out."""
    lines, words = [""], text.split()
    while words:
        longer = f"{lines[-1]} {words[0]}".strip()
        if font.getlength(longer) <= width or (not lines[-1] and len(words) == 1):
            lines[-1] = longer
            words.pop(0)
        elif len(lines) < most and lines[-1]:
            lines.append("")
        else:
            break
    if words or font.getlength(lines[-1]) > width:
        last = " ".join([lines[-1], *words]).strip()
        while last and font.getlength(last + MORE) > width:
            last = last[:-1]
        lines[-1] = last + MORE
    return lines
