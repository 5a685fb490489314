"""The settings of gradient variance; the command line takes its options from them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from p2p.core.names import called
from p2p.core.settings import GRADIENT_MINIBATCHES, GRADIENT_STEPS
from p2p.core.validation import Count, Whole, validated


class GradVarianceConfig(BaseModel):
    """The steps and minibatches that the variance of a gradient is measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Count = Field(
        GRADIENT_STEPS,
        description="Fresh steps of each peer at each checkpoint, collected as the run would.",
    )
    minibatches: Annotated[Whole, Field(ge=2)] = Field(
        GRADIENT_MINIBATCHES, description="Minibatches that they are split into."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.steps % self.minibatches or self.steps < 2 * self.minibatches:
            nearest = max(2, round(self.steps / self.minibatches)) * self.minibatches
            raise ValueError(
                f"{called('steps')}={self.steps} does not split into {called('minibatches')}="
                f"{self.minibatches} of two "
                f"samples or more; the nearest that does is {nearest}"
            )
        return self


def build_grad_variance_config(**settings: Any) -> GradVarianceConfig:
    """Return a validated GradVarianceConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(GradVarianceConfig, settings)
