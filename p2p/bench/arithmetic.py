"""The limit that training has: the physics, and the updates' products at this machine's peak."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from p2p.bench.processes import run_together
from p2p.core.config import TrainConfig
from p2p.core.jit import kernel
from p2p.engine.matmul import affine
from p2p.exchange.shared_memory import Exchange

WIDTH, DEPTH = 64, 512  # of the product that is timed: the networks' width, all in the L2 cache
REPEATS, TRIES = 200, 20
PEAK = (
    f"[{WIDTH}, {DEPTH}] x [{DEPTH}, {WIDTH}], float32, by p2p's own product, which is faster than "
    "numpy's on such shapes; the best of a few, a core, all cores at once"
)
LIMIT = (
    "computed: for each step the time of bare mj_step, and that of the matrix products of its "
    "share of the updates (forward, backward, the others' policies) at this peak; no tanh, no "
    "Adam, no gathering, no exchange, no resets, no acting"
)


@kernel
def _repeat(
    a: NDArray[np.float32], x: NDArray[np.float32], start: NDArray[np.float32],
    out: NDArray[np.float32], times: int,
) -> None:  # fmt: skip
    for _ in range(times):
        affine(a, x, start, out, a.shape[1], out.shape[1])


def peak_rate(exchange: Exchange) -> float:
    """Return the GFLOP/s of matrix products in this process, all processes starting at once."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((WIDTH, DEPTH), np.float32)
    x = rng.standard_normal((DEPTH, WIDTH), np.float32)
    start, out = np.zeros(WIDTH, np.float32), np.zeros((WIDTH, WIDTH), np.float32)
    _repeat(a, x, start, out, 1)
    exchange(np.zeros(1))
    seconds = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        _repeat(a, x, start, out, REPEATS)
        seconds.append(time.perf_counter() - begun)
    return 2 * a.size * WIDTH * REPEATS / min(seconds) / 1e9


def peak_on_cores(num: int) -> float:
    """Return the GFLOP/s of each of `num` processes at once, in the mean."""
    return sum(run_together(peak_rate, [()] * num)) / num


def products_a_step(config: TrainConfig, obs_dim: int, action_dim: int) -> float:
    """Return the floating-point operations of matrix products that an env step costs P2PDRL.

    In each epoch a sample passes forward and backward through actor and critic, and forward
    through the others' actors. Backward is a product for each weight's gradient, and one for each
    layer's input but the first.
    """
    h1, h2 = config.hidden_sizes

    def forward(outputs: int) -> int:
        return 2 * (obs_dim * h1 + h1 * h2 + h2 * outputs)

    def backward(outputs: int) -> int:
        return forward(outputs) + 2 * (h1 * h2 + h2 * outputs)

    own = forward(action_dim) + backward(action_dim) + forward(1) + backward(1)
    return config.num_epochs * float(own + (config.num_peers - 1) * forward(action_dim))


def limit(bare: float, peak: float, products: float, num: int) -> float:
    """Return the steps/s of `num` cores that step and learn, and do nothing else.

    Args:
        bare: steps/s of bare mj_step on all of them.
        peak: GFLOP/s of each.
        products: operations a step.
    """
    return num / (num / bare + products / (peak * 1e9))
