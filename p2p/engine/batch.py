"""What a minibatch step learns from: the samples of an iteration, and some rows of them.

[S] is a rollout's [T, N] laid flat, S = T * N.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.policy.policy import Floats


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


def minibatches(
    batch: Batch, num_minibatches: int, rng: np.random.Generator
) -> Iterator[Minibatch]:
    """Yield one epoch: every sample once, in random order (lines 10 and 12)."""
    order = rng.permutation(len(batch.obs))
    for index in order.reshape(num_minibatches, -1):
        yield Minibatch(batch, index)
