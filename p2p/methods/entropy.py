"""PPO with an entropy bonus (section 4.4, Fig. 8a): is more noise enough?"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from p2p.core.validation import NonNegative
from p2p.engine import Penalty
from p2p.engine.batch import Minibatch
from p2p.methods.base import Method, MethodSettings


class Entropy(Method):
    """Eq. 2 minus c H(pi); one peer."""

    label, colour, dash, marker = "PPO, entropy", "#000000", (0, (2, 2)), "X"
    learning_rate, num_peers, peers, exchanges = 3e-4, 1, (1, 1), "nothing"
    objective, source = "L_PPO - c H(pi)", "section 4.4, Fig. 8a"
    default_sources: ClassVar = {
        "learning_rate": "as PPO's",
        "entropy_coef": "ours; the paper tries 1e-3 to 1e2",
    }

    class Settings(MethodSettings):
        """Settings of the entropy bonus."""

        entropy_coef: NonNegative = Field(0.01, description="c of method entropy (section 4.4).")

    def penalty(self, minibatch: Minibatch) -> Penalty:
        """Reward entropy."""
        return Penalty(entropy_coef=self.settings.entropy_coef)
