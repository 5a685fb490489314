"""The gradients of `p2p.engine.losses` by hand, compiled: each by the network's output and log-std.

The actor is N(mu(s), diag(exp l)^2) with a log-std l [A] that does not depend on the state.
Means, actions and their gradients are [A, samples]; a loss is a mean over samples.
"""

from __future__ import annotations

import math

import numpy as np

from p2p.core.jit import compiled
from p2p.engine.matmul import Array

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@compiled
def log_prob(
    mean: Array, log_std: Array, action: Array, samples: int, z: Array, out: Array
) -> None:
    """Write z = (a - mu) e^-l and log pi(a|s) = -sum over A of (z^2 / 2 + l + log(2 pi) / 2).

    Args:
        z: [A, samples].
        out: [samples], nats.
    """
    real = mean.dtype.type
    for b in range(samples):
        out[b] = 0
    for a in range(len(log_std)):
        inv_std, constant = math.exp(-log_std[a]), log_std[a] + real(HALF_LOG_2PI)
        for b in range(samples):
            z[a, b] = (action[a, b] - mean[a, b]) * inv_std
            out[b] -= real(0.5) * z[a, b] * z[a, b] + constant


@compiled
def standardise(advantage: Array, samples: int) -> None:
    """Subtract the mean and divide by the std (over samples - 1) + 1e-8, in place."""
    mean, square = 0.0, 0.0
    for b in range(samples):
        mean += np.float64(advantage[b]) / samples
    for b in range(samples):
        square += (advantage[b] - mean) ** 2
    std = math.sqrt(square / (samples - 1))
    for b in range(samples):
        advantage[b] = (advantage[b] - mean) / (std + 1e-8)


@compiled
def clipped_surrogate(ratio: Array, advantage: Array, samples: int, clip: float) -> float:
    """Return L = -mean of min(r A, clip(r) A), and turn r into dL/d log pi, in place.

    dr/d log pi = r, so dL/d log pi = -r A / samples where r A is the smaller; where the
    clipped product is, the loss does not depend on pi.
    """
    real = ratio.dtype.type
    low, high, share = real(1.0 - clip), real(1.0 + clip), real(-1.0 / samples)
    loss = 0.0
    for b in range(samples):
        r = ratio[b]
        clipped = low if r < low else (high if r > high else r)
        product, bound = r * advantage[b], clipped * advantage[b]
        if product > bound:
            loss -= bound
            ratio[b] = 0
        else:  # also if it is NaN, which must reach the gradient
            loss -= product
            ratio[b] = share * product
    return loss / samples


@compiled
def log_prob_gradient(
    d_log_prob: Array, z: Array, log_std: Array, samples: int, d_mean: Array, d_log_std: Array
) -> None:
    """Set dL/d mu and dL/d l from dL/d log pi, [samples].

    d log pi / d mu = z e^-l and d log pi / d l = z^2 - 1.
    """
    real = z.dtype.type
    for a in range(len(log_std)):
        inv_std, total = math.exp(-log_std[a]), real(0)
        for b in range(samples):
            d_mean[a, b] = d_log_prob[b] * z[a, b] * inv_std
            total += d_log_prob[b] * (z[a, b] * z[a, b] - real(1))
        d_log_std[a] = total


@compiled
def kl_gradient(
    mean: Array, log_std: Array, other_mean: Array, other_log_std: Array, samples: int,
    weight: float, d_mean: Array, d_log_std: Array,
) -> float:  # fmt: skip
    """Return KL(own || other) summed over samples, and add `weight` times its gradient.

    With u = 2 (l - l') and y = (mu - mu') e^-l', primes for the other, summed over A:
        KL = (e^u - 1 - u + y^2) / 2,  dKL/d mu = y e^-l',  dKL/d l = e^u - 1.
    At equal parameters all three are exactly 0.
    """
    real, kl = mean.dtype.type, 0.0
    for a in range(len(log_std)):
        u = real(2) * (log_std[a] - other_log_std[a])
        excess, inv_std = math.expm1(u), math.exp(-other_log_std[a])
        scale, squares = real(weight) * inv_std, real(0)
        for b in range(samples):
            y = (mean[a, b] - other_mean[a, b]) * inv_std
            squares += y * y
            d_mean[a, b] += scale * y
        d_log_std[a] += real(weight * samples) * excess
        kl += 0.5 * (samples * np.float64(excess - u) + squares)
    return kl


@compiled
def reverse_kl_gradient(
    mean: Array, log_std: Array, other_mean: Array, other_log_std: Array, samples: int,
    weight: float, d_mean: Array, d_log_std: Array,
) -> float:  # fmt: skip
    """Return KL(other || own) summed over samples, and add `weight` times its gradient.

    With u = 2 (l' - l) and y = (mu - mu') e^-l, summed over A:
        KL = (e^u - 1 - u + y^2) / 2,  dKL/d mu = y e^-l,  dKL/d l = 1 - e^u - y^2.
    """
    real, kl = mean.dtype.type, 0.0
    for a in range(len(log_std)):
        u = real(2) * (other_log_std[a] - log_std[a])
        excess, inv_std = math.expm1(u), math.exp(-log_std[a])
        scale, squares = real(weight) * inv_std, real(0)
        for b in range(samples):
            y = (mean[a, b] - other_mean[a, b]) * inv_std
            squares += y * y
            d_mean[a, b] += scale * y
        d_log_std[a] -= real(weight) * (real(samples) * excess + squares)
        kl += 0.5 * (samples * np.float64(excess - u) + squares)
    return kl


@compiled
def value_gradient(
    value: Array, target: Array, old_value: Array, samples: int, clip: float, d_value: Array
) -> float:
    """Return L = mean of (V - target)^2 / 2 and set dL/dV = (V - target) / samples.

    Args:
        clip: if finite, each square is the larger of that and the square of
            old + clip(V - old) - target, whose gradient is 0 where the clip holds V.
    """
    real, loss = value.dtype.type, 0.0
    bound, share = real(clip), real(1.0 / samples)
    for b in range(samples):
        error, change = value[b] - target[b], value[b] - old_value[b]
        held = bound if change > bound else (-bound if change < -bound else change)
        near = old_value[b] + held - target[b]
        if held != change and near * near > error * error:
            loss += 0.5 * near * near
            d_value[b] = 0
        else:
            loss += 0.5 * error * error
            d_value[b] = share * error
    return loss / samples
