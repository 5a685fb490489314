"""EvalConfig and its like: every setting once; the command line takes its options from them."""

from __future__ import annotations

import math
from importlib import metadata
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from p2p.core.config import GRADIENT_MINIBATCHES, GRADIENT_STEPS
from p2p.core.errors import UsageError
from p2p.core.validation import Count, NonNegative, Unit, validated

Factor = Literal["wind", "gravity", "friction", "mass", "initial_position"]


class EvalConfig(BaseModel):
    """In what trained policies are tested."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eps_te: tuple[float, ...] = Field(
        (0.5,),
        description="Randomisation strength of the test domains, 0..1 (Table 1): a number or a "
        "range 0:1:0.1, and as often as you like.",
    )
    domains: Count = Field(24, description="Test domains at each strength, the same for all runs.")
    domain_seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the test domains and of the start noise; no run's own."
    )
    episodes: Count = Field(1, description="Episodes in each domain.")
    sampled: bool = Field(False, description="Sample the actions instead of taking their mean.")
    by_factor: bool = Field(
        False, description="Vary one factor at a time over its range at that strength."
    )
    grid: tuple[Factor, Factor] | None = Field(
        None, description="Vary two factors, as in wind,mass, and draw a heat map."
    )
    domain: str | None = Field(
        None, description="Test in one domain, as in wind=3,mass=0.8; other factors are nominal."
    )
    points: Annotated[int, Field(ge=2)] = Field(
        9, description="Values a factor with --by-factor and --grid; odd has the nominal one."
    )

    @field_validator("eps_te")
    @classmethod
    def _strengths(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        outside = [eps for eps in value if not 0.0 <= eps <= 1.0]
        if outside:
            raise ValueError(f"eps_te={outside[0]:g} is outside [0, 1], the range of Table 1")
        if not value:
            raise ValueError("eps_te=(): give at least one strength")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = {"by_factor": self.by_factor, "grid": self.grid, "domain": self.domain}
        given = [name for name, value in kinds.items() if value not in (False, None)]
        if len(given) > 1:
            raise ValueError("by_factor=, grid= and domain= exclude one another; give one of them")
        if given and len(self.eps_te) > 1:
            raise ValueError(f"{given[0]}= takes a single eps_te={self.eps_te[0]:g}, not several")
        if self.grid is not None and self.grid[0] == self.grid[1]:
            raise ValueError(f"grid={','.join(self.grid)}: name two different factors")
        return self


class SurfaceConfig(BaseModel):
    """Which plane through a run's policies is looked at, and in what they are tested."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    peer: Annotated[int, Field(ge=0)] = Field(
        0, description="Peer whose policies span the plane (a central policy is every peer's)."
    )
    grid: Annotated[int, Field(ge=2)] = Field(
        15,
        description="Points along each axis. 15 with 8 domains are 3,680 episodes: about a minute "
        "for HalfCheetah on two cores, less where policies fall, more for Ant.",
    )
    eps_te: Unit = Field(
        0.5, description="Randomisation strength of the test return, 0..1 (Table 1)."
    )
    domains: Count = Field(
        8, description="Domains of each return, an episode each, the same at all points."
    )
    domain_seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the domains and of the start noise; no run's own."
    )
    margin: NonNegative = Field(
        0.25, description="Room around the three policies, as a share of their extent."
    )


def build_surface_config(**settings: Any) -> SurfaceConfig:
    """Return a validated SurfaceConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(SurfaceConfig, settings)


class GradVarianceConfig(BaseModel):
    """On what the variance of a gradient is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Count = Field(
        GRADIENT_STEPS,
        description="Fresh steps of each peer at each checkpoint, collected as the run would.",
    )
    minibatches: Annotated[int, Field(ge=2)] = Field(
        GRADIENT_MINIBATCHES, description="Minibatches that they are split into."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.steps % self.minibatches or self.steps < 2 * self.minibatches:
            nearest = max(2, round(self.steps / self.minibatches)) * self.minibatches
            raise ValueError(
                f"steps={self.steps} does not split into minibatches={self.minibatches} of two "
                f"samples or more; the nearest that does is {nearest}"
            )
        return self


def build_grad_variance_config(**settings: Any) -> GradVarianceConfig:
    """Return a validated GradVarianceConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(GradVarianceConfig, settings)


def simulated_by() -> dict[str, str]:
    """Return the versions that what an episode yields may depend on."""
    return {name: metadata.version(name) for name in ("p2p", "mujoco")}


def build_eval_config(**settings: Any) -> EvalConfig:
    """Return a validated EvalConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(EvalConfig, settings)


def parse_strengths(text: str) -> list[float]:
    """Read a strength, or a range `first:last:step` with both ends.

    Raises:
        UsageError: it is neither, or has more than 1001 strengths.
    """
    parts = text.split(":")
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
