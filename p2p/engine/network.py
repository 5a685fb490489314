"""The MLP forward and backward, and Adam, compiled.

Activations are [features, samples]: then the forward pass and the gradients by activations
are products of a weight as it lies in the flat vector (or its transpose) with rows that are
contiguous in the sample. The gradient of a weight sums over samples, and wants its layer's
input as [samples, features]: these are transposed once. Both are padded to whole vectors;
what stands in the padding is never read into a result.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from p2p.core.jit import compiled
from p2p.engine.matmul import Array, affine, padded, transpose

Sizes = tuple[int, int, int, int]  # inputs, h1, h2, outputs
Weights = tuple[Array, Array, Array, Array, Array, Array]  # w1, b1, w2, b2, w3, b3


class Net(NamedTuple):
    """A network's parameters, their gradient and Adam's moments, each flat; Adam's count [1]."""

    flat: Array
    grad: Array
    exp_avg: Array
    exp_avg_sq: Array
    step: Array

    @classmethod
    def of(cls, flat: Array) -> Net:
        """Return a network of these parameters, with Adam at its start."""
        zeros = np.zeros_like
        return cls(flat, zeros(flat), zeros(flat), zeros(flat), np.zeros(1, np.float32))


class Layers(NamedTuple):
    """An array a layer, [features, samples]: activations, or the loss's gradient by them."""

    h1: Array
    h2: Array
    out: Array


class Workspace(NamedTuple):
    """What a forward and a backward pass over some samples leave on their way."""

    x: Array  # [n, samples], the input
    own: Layers  # activations of the network in training
    other: Layers  # and of an anchor
    delta: Layers  # the loss's gradient by `own` (for h1, h2: before their tanh)
    x_rows: Array  # [samples, n], the layers' inputs transposed
    h1_rows: Array
    h2_rows: Array
    product: Array  # flat, one weight's gradient with padded rows
    zeros: Array

    @classmethod
    def of(cls, samples: int, sizes: Sizes, dtype: Any) -> Workspace:
        """Return room for `samples`, and networks of at most these sizes."""
        n, h1, h2, out = sizes
        columns, largest = padded(samples), padded(max(sizes))

        def zeros(*shape: int) -> Array:
            return np.zeros(shape, dtype)

        def layers() -> Layers:
            return Layers(zeros(h1, columns), zeros(h2, columns), zeros(out, columns))

        return cls(
            x=zeros(n, columns),
            own=layers(),
            other=layers(),
            delta=layers(),
            x_rows=zeros(samples, padded(n)),
            h1_rows=zeros(samples, padded(h1)),
            h2_rows=zeros(samples, padded(h2)),
            product=zeros(largest * largest),
            zeros=zeros(largest),
        )


@compiled
def unpack(flat: Array, sizes: Sizes) -> Weights:
    """Return views of the weights [out, in] and biases in `flat`, as `mlp_layout` has them."""
    n, h1, h2, out = sizes
    b1 = h1 * n
    w2 = b1 + h1
    b2 = w2 + h2 * h1
    w3 = b2 + h2
    b3 = w3 + out * h2
    return (
        flat[:b1].reshape((h1, n)), flat[b1:w2],
        flat[w2:b2].reshape((h2, h1)), flat[b2:w3],
        flat[w3:b3].reshape((out, h2)), flat[b3 : b3 + out],
    )  # fmt: skip


@compiled
def tanh_in_place(h: Array, columns: int) -> None:
    """Apply tanh to h[:, :columns].

    In float32 by the rational function of Eigen and XLA, odd of 13th over even of 6th degree,
    right to a few units in the last place. NaN stays NaN, since no comparison with it holds.
    """
    real = h.dtype.type
    limit = real(7.90531110763549805)  # from here on the quotient rounds to +-1
    for i in range(h.shape[0]):
        if h.itemsize == 8:
            for j in range(columns):
                h[i, j] = math.tanh(h[i, j])
            continue
        for j in range(columns):
            x = h[i, j]
            x = limit if x > limit else x
            x = -limit if x < -limit else x
            y = x * x
            p = real(-2.76076847742355e-16) * y + real(2.00018790482477e-13)
            p = p * y + real(-8.60467152213735e-11)
            p = p * y + real(5.12229709037114e-08)
            p = p * y + real(1.48572235717979e-05)
            p = p * y + real(6.37261928875436e-04)
            p = p * y + real(4.89352455891786e-03)
            q = real(1.19825839466702e-06) * y + real(1.18534705686654e-04)
            q = q * y + real(2.26843463243900e-03)
            q = q * y + real(4.89352518554385e-03)
            h[i, j] = x * p / q


@compiled
def forward(weights: Weights, x: Array, layers: Layers, columns: int) -> None:
    """Compute h1 = tanh(w1 x + b1), h2 = tanh(w2 h1 + b2), out = w3 h2 + b3."""
    w1, b1, w2, b2, w3, b3 = weights
    affine(w1, x, b1, layers.h1, w1.shape[1], columns)
    tanh_in_place(layers.h1, columns)
    affine(w2, layers.h1, b2, layers.h2, w2.shape[1], columns)
    tanh_in_place(layers.h2, columns)
    affine(w3, layers.h2, b3, layers.out, w3.shape[1], columns)


@compiled
def times_tanh_slope(h: Array, delta: Array, columns: int) -> None:
    """Turn a gradient by h = tanh(z) into one by z, in place: dh/dz = 1 - h^2."""
    one = h.dtype.type(1)
    for i in range(h.shape[0]):
        for j in range(columns):
            delta[i, j] *= one - h[i, j] * h[i, j]


@compiled
def layer_gradient(
    delta: Array, input_rows: Array, samples: int, room: Workspace, weight: Array, bias: Array
) -> None:
    """Set the gradients of z = w input + b given delta = dL/dz.

    dL/dw = sum over samples of delta input^T, [out, in]; dL/db = that of delta, [out].
    """
    outputs, inputs, width = weight.shape[0], weight.shape[1], input_rows.shape[1]
    if inputs == width:
        affine(delta, input_rows, room.zeros, weight, samples, width)
    else:  # a row of the weight is no whole number of vectors
        product = room.product[: outputs * width].reshape((outputs, width))
        affine(delta, input_rows, room.zeros, product, samples, width)
        for i in range(outputs):
            for j in range(inputs):
                weight[i, j] = product[i, j]
    for i in range(outputs):
        total = delta.dtype.type(0)
        for b in range(samples):
            total += delta[i, b]
        bias[i] = total


@compiled
def backward(
    weights: Weights, grads: Weights, own: Layers, delta: Layers, samples: int, room: Workspace
) -> None:
    """Set `grads` from delta.out = dL/d out, after a `forward` into `own`.

    delta2 = (w3^T delta3) (1 - h2^2) and delta1 = (w2^T delta2) (1 - h1^2), elementwise in
    the second factor; they are left in `delta`.
    """
    columns = padded(samples)
    affine(weights[4].T, delta.out, room.zeros, delta.h2, delta.out.shape[0], columns)
    times_tanh_slope(own.h2, delta.h2, columns)
    affine(weights[2].T, delta.h2, room.zeros, delta.h1, delta.h2.shape[0], columns)
    times_tanh_slope(own.h1, delta.h1, columns)
    transpose(own.h1, own.h1.shape[0], samples, room.h1_rows)
    transpose(own.h2, own.h2.shape[0], samples, room.h2_rows)
    layer_gradient(delta.out, room.h2_rows, samples, room, grads[4], grads[5])
    layer_gradient(delta.h2, room.h1_rows, samples, room, grads[2], grads[3])
    layer_gradient(delta.h1, room.x_rows, samples, room, grads[0], grads[1])


@compiled
def norm(vector: Array) -> float:
    """Return the Euclidean norm of a flat vector, summed in float64."""
    total = 0.0
    for i in range(len(vector)):
        x = np.float64(vector[i])
        total += x * x
    return math.sqrt(total)


@compiled
def finite(vector: Array) -> bool:
    """Return whether all of a flat vector are finite: then each times 0 is 0, otherwise NaN."""
    real = vector.dtype.type
    total = real(0)
    for i in range(len(vector)):
        total += vector[i] * real(0)
    return bool(total == real(0))


@compiled
def adam(net: Net, scale: float, learning_rate: float, eps: float) -> None:
    """Take a step of Adam along g = scale * grad (Kingma & Ba 2015; beta 0.9 and 0.999).

    m += 0.1 (g - m), v = 0.999 v + 0.001 g^2, flat -= learning_rate m' / (sqrt(v') + eps),
    where m' = m / (1 - 0.9^t) and v' = v / (1 - 0.999^t).
    """
    flat, grad, exp_avg, exp_avg_sq, step = net
    real = flat.dtype.type
    step[0] += 1
    t = np.float64(step[0])
    rate = real(learning_rate / (1.0 - 0.9**t))
    root = real(1.0 / math.sqrt(1.0 - 0.999**t))
    factor, floor = real(scale), real(eps)
    for i in range(len(flat)):
        g = grad[i] * factor
        m = exp_avg[i] + real(0.1) * (g - exp_avg[i])
        v = real(0.999) * exp_avg_sq[i] + real(0.001) * g * g
        exp_avg[i], exp_avg_sq[i] = m, v
        flat[i] -= rate * m / (math.sqrt(v) * root + floor)
