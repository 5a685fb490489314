"""Parameters of actor and critic: one flat float32 vector each, with views of it as weights.

Both networks are tanh MLPs with two hidden layers. Exchange, clipping, averaging, optimisation
and saving all work on the whole vector, never on single weights.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Layout(NamedTuple):
    """Names and shapes of a network's arrays, in their order in the flat vector."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Any) -> dict[str, Any]:
        """Return views of `flat` [size], a numpy array or a tensor, by name."""
        out, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            out[name] = flat[start:stop].reshape(shape)
            start = stop
        return out


def mlp_layout(inputs: int, hidden: tuple[int, int], outputs: int) -> Layout:
    """Return the layout of a two-layer MLP; weights are [out, in], as in torch."""
    h1, h2 = hidden
    return Layout(
        {"w1": (h1, inputs), "b1": (h1,), "w2": (h2, h1), "b2": (h2,)}
        | {"w3": (outputs, h2), "b3": (outputs,)}
    )


def actor_layout(obs_dim: int, hidden: tuple[int, int], action_dim: int) -> Layout:
    """Return the actor's layout: an MLP for the mean, then the log-std [A]."""
    mlp = mlp_layout(obs_dim, hidden, action_dim)
    return Layout(mlp.shapes | {"log_std": (action_dim,)})


def critic_layout(obs_dim: int, hidden: tuple[int, int]) -> Layout:
    """Return the critic's layout."""
    return mlp_layout(obs_dim, hidden, 1)


def init_parameters(
    layout: Layout, head_gain: float, log_std: float, rng: np.random.Generator
) -> Floats:
    """Draw initial parameters: orthogonal weights of gain sqrt 2 (`head_gain` in the last layer).

    Returns:
        Flat vector [layout.size].
    """
    import torch  # slow to import, and not needed to load a policy

    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    flat = np.zeros(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        if name.startswith("w"):
            gain = head_gain if name == "w3" else math.sqrt(2)
            torch.nn.init.orthogonal_(torch.from_numpy(view), gain, generator=generator)
        elif name == "log_std":
            view[:] = log_std
    return flat
