"""The settings of a return surface; the command line takes its options from them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from p2p.core.validation import Count, NonNegative, Unit, Whole, validated


class SurfaceConfig(BaseModel):
    """Which plane through a run's policies is measured, and in which domains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    peer: Annotated[Whole, Field(ge=0)] = Field(
        0, description="Peer whose policies span the plane (a central policy is every peer's)."
    )
    grid: Annotated[Whole, Field(ge=2)] = Field(
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
    domain_seed: Annotated[Whole, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the domains and of the start noise; no run's own."
    )
    margin: NonNegative = Field(
        0.25, description="Room around the three policies, as a share of their extent."
    )

    @property
    def points(self) -> int:
        """Points of a surface: the grid, and the three policies."""
        return self.grid**2 + 3

    @property
    def episodes(self) -> int:
        """Episodes of both returns: on the grid, and of the three policies and their own forms."""
        return 2 * self.domains * (self.grid**2 + 5)  # the final policy's two forms are one


def build_surface_config(**settings: Any) -> SurfaceConfig:
    """Return a validated SurfaceConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(SurfaceConfig, settings)
