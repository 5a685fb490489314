"""The settings of an evaluation; the command line takes its options from them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from p2p.core.consistency import domain_tables
from p2p.core.errors import UsageError
from p2p.core.names import called
from p2p.core.validation import Count, Whole, validated


class EvalConfig(BaseModel):
    """The domains that trained policies are tested in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eps_te: tuple[float, ...] = Field(
        (0.5,),
        description="Randomisation strength of the test domains, 0..1: a number, several as in "
        "0,0.5,1, or a range 0:1:0.1; and as often as you like.",
    )
    domains: Count = Field(24, description="Test domains at each strength, the same for all runs.")
    domain_seed: Annotated[Whole, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the test domains and of the start noise; no run's own."
    )
    episodes: Count = Field(
        1,
        description="Episodes in each domain [default: 1; 10 with --by-factor, 4 with --grid].",
    )
    sampled: bool = Field(False, description="Sample the actions instead of taking their mean.")
    by_factor: bool = Field(
        False, description="Vary one factor at a time over its range at that strength."
    )
    grid: tuple[str, str] | None = Field(
        None, description="Vary two factors, as in wind,mass, and draw a heat map."
    )
    domain: str | None = Field(
        None, description="Test in one domain, as in wind=3,mass=0.8; other factors are nominal."
    )
    randomise: dict[str, Any] | None = Field(
        None, description="What varies in the test: a domains file (TOML) [as in training]."
    )
    points: Annotated[Whole, Field(ge=2)] = Field(
        9, description="Values a factor with --by-factor and --grid; odd has the nominal one."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_episodes(cls, given: Any) -> Any:
        """Fill in how many episodes there are: curves by factor have an interval over starts."""
        if isinstance(given, dict) and given.get("episodes") is None:
            default = 10 if given.get("by_factor") else 4 if given.get("grid") else 1
            return {**given, "episodes": default}
        return given

    @field_validator("eps_te")
    @classmethod
    def _strengths(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        outside = [eps for eps in value if not 0.0 <= eps <= 1.0]
        if outside:
            raise ValueError(
                f"{called('eps_te')}={outside[0]:g} is outside [0, 1], the range of a strength"
            )
        if not value:
            raise ValueError(f"{called('eps_te')}=(): give at least one strength")
        return value

    @field_validator("randomise", mode="before")
    @classmethod
    def _read_randomise(cls, value: Any) -> Any:
        return None if value is None else domain_tables(value)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = {"by_factor": self.by_factor, "grid": self.grid, "domain": self.domain}
        given = [name for name, value in kinds.items() if value not in (False, None)]
        if len(given) > 1:
            by, grid, domain = (f"{called(name)}=" for name in kinds)
            raise ValueError(f"{by}, {grid} and {domain} exclude one another; give one of them")
        if given and len(self.eps_te) > 1:
            eps = f"{called('eps_te')}={self.eps_te[0]:g}"
            raise ValueError(f"{called(given[0])}= takes a single {eps}, not several")
        if self.grid is not None and self.grid[0] == self.grid[1]:
            raise ValueError(f"{called('grid')}={','.join(self.grid)}: name two different factors")
        return self


def build_eval_config(**settings: Any) -> EvalConfig:
    """Return a validated EvalConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(EvalConfig, settings)


def parse_strengths(text: str) -> list[float]:
    """Read strengths parted by commas: each a number, or a range `first:last:step` with both ends.

    Raises:
        UsageError: one is neither, or has more than 1001 strengths.
    """
    return [eps for part in text.split(",") for eps in _strengths(part, text)]


def _strengths(part: str, text: str) -> list[float]:
    parts = part.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and math.isfinite(numbers[0]):
        return numbers
    if len(numbers) == 3 and all(map(math.isfinite, numbers)):
        first, last, step = numbers
        if step > 0 and 0 <= (last - first) / step <= 1000:
            steps = math.floor((last - first) / step + 1e-9)
            return [round(first + n * step, 10) for n in range(steps + 1)]
    raise UsageError(f"--eps-te {text}: give a number, or a range such as 0:1:0.1")
