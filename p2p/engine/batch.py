"""What a minibatch step learns from: the samples of an iteration, and some rows of them.

[S] is a rollout's [T, N] laid flat, S = T * N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.policy.parameters import Floats


class Batch(NamedTuple):
    """The samples of an iteration, float32, [S, ...]."""

    obs: Floats  # [S, n], normalised
    action: Floats  # [S, A], as sampled: not clipped to the bounds
    old_log_prob: Floats  # [S], nats
    old_value: Floats  # [S]
    advantage: Floats  # [S], not normalised
    value_target: Floats  # [S]


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Some rows of a batch."""

    batch: Batch
    index: NDArray[np.int64]  # [B]


def epoch_order(samples: int, num_minibatches: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the minibatches of an epoch [M, B]: every sample once, in random order (line 10)."""
    return rng.permutation(samples).reshape(num_minibatches, -1)
