"""The policies that a penalty's KL is to: what they say, kept where they stay the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core.jit import compiled
from p2p.engine.matmul import Array, padded
from p2p.engine.network import Sizes, Workspace, forward, unpack


class Anchors(NamedTuple):
    """The policies that the KL is to, and at which states besides the minibatch's."""

    flat: Array  # [M, n_actor]
    states: Array  # [B', n], normalised
    means: Array  # [M, S, A], theirs at the batch's states, as far as `seen`; [0, ...] if not kept
    seen: NDArray[np.bool_]  # [S]


@compiled
def anchor_means(
    anchors: Anchors, k: int, known: bool, sizes: Sizes, index: NDArray[np.int64], room: Workspace
) -> None:  # fmt: skip
    """Set `room.other.out` to the k-th anchor's means at `room.x`.

    Args:
        known: they were kept at an earlier pass over these rows, and are taken from there.
    """
    mean = room.other.out
    if not known:
        every = len(index) + len(anchors.states)
        forward(unpack(anchors.flat[k], sizes), room.x, room.other, padded(every))
    if len(anchors.means):
        for b in range(len(index)):
            for a in range(sizes[3]):
                if known:
                    mean[a, b] = anchors.means[k, index[b], a]
                else:
                    anchors.means[k, index[b], a] = mean[a, b]


@compiled
def all_seen(anchors: Anchors, index: NDArray[np.int64]) -> bool:
    """Tell whether the anchors' means are kept for all these rows."""
    seen = len(anchors.means) > 0 and len(anchors.states) == 0
    if seen:
        for row in index:
            seen = seen and anchors.seen[row]
    return seen
