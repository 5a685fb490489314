"""The recursions over time that numpy cannot do at once, compiled; arrays are [T, N], float64.

`p2p.peer.rollout` says what they mean. Import this late: it imports numba.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p.core.jit import exact_kernel

Array = NDArray[np.float64]


@exact_kernel
def discounted_sums(
    reward: Array, ended: NDArray[np.bool_], discount: float, carried: Array, out: Array
) -> None:
    """Write out_t = reward_t + discount * out_{t-1}, which starts anew after an end.

    Args:
        carried: [N], out_{-1}; updated in place to what the next call starts from.
    """
    for t in range(reward.shape[0]):
        for n in range(reward.shape[1]):
            out[t, n] = reward[t, n] + discount * carried[n]
            carried[n] = 0.0 if ended[t, n] else out[t, n]


@exact_kernel
def advantages(
    reward: Array, value: Array, next_value: Array, ended: NDArray[np.bool_],
    discount: float, gae_lambda: float, out: Array,
) -> None:  # fmt: skip
    """Write out_t = delta_t + discount * gae_lambda * out_{t+1}, without the last term at an end.

    delta_t = reward_t + discount * next_value_t - value_t.
    """
    for n in range(reward.shape[1]):
        following = 0.0
        for t in range(reward.shape[0] - 1, -1, -1):
            delta = reward[t, n] + discount * next_value[t, n] - value[t, n]
            following = delta + (0.0 if ended[t, n] else discount * gae_lambda * following)
            out[t, n] = following
