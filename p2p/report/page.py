"""A page: sections of paragraphs, charts and tables, and how it becomes HTML.

Templates escape every text; only the charts, which escape their own, are marked as safe.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar, NamedTuple

from markupsafe import Markup

from p2p.plots.method_styles import MethodStyle
from p2p.report.charts import swatch

GROUND = {"light": "#ffffff", "dark": "#14171b"}
CONTRAST = {"light": 3.2, "dark": 4.6}  # least of a line against the ground (WCAG 2)
OWN = "#0072B2"  # of the only group of a page

Row = Sequence[str]


class Fact(NamedTuple):
    """A number at the top of a page."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph, or a command to copy."""

    text: str
    command: str = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Charts:
    """Charts side by side, with a legend and a caption.

    Attributes:
        legend: names and swatches; empty if there is one group.
        summary: if given, the charts are folded under it.
    """

    charts: Sequence[Markup]
    caption: str
    legend: Sequence[tuple[str, Markup]] = ()
    summary: str = ""
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        left: how many columns hold text and not numbers, from the left.
        strong: index of the row that counts most.
        summary: if given, the table is folded under it.
    """

    head: Row
    rows: Sequence[Row]
    caption: str = ""
    left: int = 1
    strong: int | None = None
    summary: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Frame:
    """A picture of a film strip: JPEG, and what stands below it."""

    jpeg: bytes
    label: str

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


@dataclass(frozen=True)
class Strip:
    """Frames of a film, side by side."""

    frames: Sequence[Frame]
    caption: str
    kind: ClassVar[str] = "strip"


Block = Text | Charts | Table | Strip


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """What is written as HTML.

    Attributes:
        kicker: above the title: what kind of page it is.
        lines: below the title.
        looks: of the groups; the n-th has colour n.
        foot: at the end.
    """

    title: str
    kicker: str
    lines: Sequence[str]
    facts: Sequence[Fact]
    sections: Sequence[Section]
    looks: Sequence[MethodStyle] = field(default_factory=list)
    foot: Sequence[str] = ()

    def html(self) -> str:
        """Return the page as one HTML file."""
        from jinja2 import DictLoader, Environment, StrictUndefined

        folder = files("p2p.report") / "templates"
        texts = {name: (folder / name).read_text("utf-8") for name in ("page.html", "blocks.html")}
        env = Environment(
            loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        css = (folder / "style.css").read_text("utf-8")
        style = Markup(css.replace("/* colours */", colours(self.looks)))
        return env.get_template("page.html").render(page=self, style=style)


def colours(looks: Sequence[MethodStyle]) -> str:
    """Return the style of the groups' colours, which differ by ground where they must."""
    ours = [look.colour for look in looks] or [OWN]
    light, dark = (
        "".join(
            f".c{n}{{--c:{legible(colour, GROUND[ground], CONTRAST[ground])}}}"
            for n, colour in enumerate(ours)
        )
        for ground in ("light", "dark")
    )
    return f"{light}\n@media (prefers-color-scheme:dark){{{dark}}}"


def legible(colour: str, ground: str, least: float) -> str:
    """Return the colour nearest to `colour` whose contrast to the ground is at least that.

    It is mixed with black or white as far as it must be.
    """
    towards = 0 if luminance(ground) > 0.5 else 255
    red, green, blue = parts(colour)
    for tenths in range(10):
        mixed = [round(v + (towards - v) * tenths / 10) for v in (red, green, blue)]
        text = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(text, ground) >= least:
            return text
    return text


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2)."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, 0..1 (WCAG 2)."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (part / 255 for part in parts(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def parts(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of `#rrggbb`, 0..255."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return red, green, blue


def dash_of(look: MethodStyle) -> str:
    """Return matplotlib's dashes, which are in line widths, as `stroke-dasharray` has them."""
    if isinstance(look.dash, str):
        return ""
    return " ".join(f"{1.8 * length:g}" for length in look.dash[1])


def legend(looks: Sequence[MethodStyle]) -> list[tuple[str, Markup]]:
    """Return names and swatches; none for a single group."""
    if len(looks) < 2:
        return []
    return [(look.label, swatch(n, dash_of(look))) for n, look in enumerate(looks)]
