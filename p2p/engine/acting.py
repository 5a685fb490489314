"""The policy as rollouts take it: a few observations at a time, a row each, compiled.

`p2p.engine.network` passes many samples with a column each. Of two it would compute a whole
vector of columns; here vectors run over a layer's outputs. The bits are the same.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core.jit import compiled
from p2p.engine.matmul import Array, affine_rows, padded
from p2p.engine.network import Sizes, tanh_in_place
from p2p.policy.normaliser import Normaliser
from p2p.policy.parameters import actor_layout


class Layer(NamedTuple):
    """One layer's parameters, and room for what it makes of each row."""

    weight: Array  # [in, >= out]
    bias: Array  # [>= out]
    out: Array  # [N, >= out]

    @classmethod
    def of(cls, rows: int, inputs: int, outputs: int, dtype: Any) -> Layer:
        """Return a layer of zeros."""
        columns = padded(outputs)
        return cls(
            np.zeros((inputs, columns), dtype), np.zeros(columns, dtype),
            np.zeros((rows, columns), dtype),
        )  # fmt: skip

    def load(self, weight: Array, bias: Array) -> None:
        """Take the parameters, weight [out, in]."""
        self.weight[:, : len(bias)] = weight.T
        self.bias[: len(bias)] = bias


class RowPolicy(NamedTuple):
    """The policy that acts on N rows, and room to compute in."""

    x: Array  # [N, n]
    first: Layer
    second: Layer
    mean_action: Layer
    log_std: Array  # [A]
    mean: NDArray[np.float64]  # of the normaliser, as are the next two
    inv_std: NDArray[np.float64]
    limit: float

    @classmethod
    def of(cls, rows: int, sizes: Sizes, normaliser: Normaliser, dtype: Any) -> RowPolicy:
        """Return a policy without parameters."""
        n, h1, h2, out = sizes
        return cls(
            np.zeros((rows, n), dtype), Layer.of(rows, n, h1, dtype),
            Layer.of(rows, h1, h2, dtype), Layer.of(rows, h2, out, dtype), np.zeros(out, dtype),
            *normaliser,
        )  # fmt: skip

    def load(self, flat: Array, sizes: Sizes) -> None:
        """Take the parameters of an actor."""
        n, h1, h2, out = sizes
        views = actor_layout(n, (h1, h2), out).views(flat)
        for layer, name in ((self.first, "1"), (self.second, "2"), (self.mean_action, "3")):
            layer.load(views[f"w{name}"], views[f"b{name}"])
        self.log_std[:] = views["log_std"]


@compiled
def act_on_rows(policy: RowPolicy, obs: NDArray[np.float64], noise: Array, action: Array) -> None:
    """Write actions [N, A] for raw `obs` [N, n] and standard-normal `noise` [N, A]."""
    x, first, second, last, log_std, mean, inv_std, limit = policy
    for b in range(len(obs)):
        for i in range(len(mean)):
            v = (obs[b, i] - mean[i]) * inv_std[i]
            v = limit if v > limit else v
            x[b, i] = -limit if v < -limit else v
    h1, h2, out = first.out, second.out, last.out
    affine_rows(x, first.weight, first.bias, h1, len(first.weight), h1.shape[1])
    tanh_in_place(h1, h1.shape[1])
    affine_rows(h1, second.weight, second.bias, h2, len(second.weight), h2.shape[1])
    tanh_in_place(h2, h2.shape[1])
    affine_rows(h2, last.weight, last.bias, out, len(last.weight), out.shape[1])
    for a in range(len(log_std)):
        std = math.exp(log_std[a])
        for b in range(len(obs)):
            action[b, a] = out[b, a] + std * noise[b, a]
