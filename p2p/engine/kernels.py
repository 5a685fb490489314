"""What the fused engine calls: a minibatch's step in one go, and the networks' outputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core.jit import compiled, kernel, unlocked_kernel
from p2p.engine.anchors import Anchors, all_seen, anchor_means
from p2p.engine.batch import Batch
from p2p.engine.matmul import Array, padded, transpose
from p2p.engine.network import (
    Layers,
    Net,
    Sizes,
    Workspace,
    adam,
    backward,
    finite,
    forward,
    norm,
    unpack,
)
from p2p.engine.objective import (
    clipped_surrogate,
    kl_gradient,
    log_prob,
    log_prob_gradient,
    reverse_kl_gradient,
    standardise,
    value_gradient,
)
from p2p.engine.shared_words import load_shared, store_shared

POLICY_LOSS, VALUE_LOSS, KL, APPROX_KL, CLIP_FRACTION, NORM_ACTOR, NORM_CRITIC, STEPS = range(8)


class Settings(NamedTuple):
    """What the loss depends on, of the config and of the penalty."""

    clip: float
    value_clip: float  # infinity for none
    normalise_advantage: bool
    coef: float
    symmetric: bool
    entropy_coef: float


class Gathered(NamedTuple):
    """A minibatch's columns of `Batch`, gathered; [A, samples] or [samples]."""

    action: Array
    z: Array  # standardised action
    ratio: Array  # pi / pi_old, and its log before that
    old_log_prob: Array
    old_value: Array
    advantage: Array
    value_target: Array

    @classmethod
    def of(cls, samples: int, action_dim: int, dtype: type) -> Gathered:
        """Return room for `samples`."""
        columns = padded(samples)
        wide: list[Array] = [np.zeros((action_dim, columns), dtype) for _ in range(2)]
        return cls(*wide, *(np.zeros(columns, dtype) for _ in range(5)))


class Acting(NamedTuple):
    """The policy that acts, and room to compute in."""

    flat: Array
    sizes: Sizes
    x: Array  # [n, >= N]
    layers: Layers
    mean: NDArray[np.float64]  # of the normaliser, as are the next two
    inv_std: NDArray[np.float64]
    limit: float


@compiled
def gather(
    batch: Batch, index: NDArray[np.int64], states: Array, to: Gathered, room: Workspace
) -> None:
    """Copy the rows `index` of a batch, and behind their observations the extra `states`."""
    n, actions = batch.obs.shape[1], batch.action.shape[1]
    for b in range(len(index)):
        row = index[b]
        for i in range(n):
            room.x_rows[b, i] = batch.obs[row, i]
        for a in range(actions):
            to.action[a, b] = batch.action[row, a]
        to.old_log_prob[b] = batch.old_log_prob[row]
        to.old_value[b] = batch.old_value[row]
        to.advantage[b] = batch.advantage[row]
        to.value_target[b] = batch.value_target[row]
    for b in range(len(states)):
        for i in range(n):
            room.x_rows[len(index) + b, i] = states[b, i]
    transpose(room.x_rows, len(index) + len(states), n, room.x)


@compiled
def critic_gradient(
    critic: Net, sizes: Sizes, samples: int, gathered: Gathered, settings: Settings,
    room: Workspace, stats: NDArray[np.float64],
) -> None:  # fmt: skip
    """Set `critic.grad` to that of the value loss."""
    weights = unpack(critic.flat, sizes)
    own = Layers(room.own.h1, room.own.h2, room.own.out[:1])
    delta = Layers(room.delta.h1, room.delta.h2, room.delta.out[:1])
    forward(weights, room.x, own, padded(samples))
    stats[VALUE_LOSS] += value_gradient(
        own.out[0],
        gathered.value_target,
        gathered.old_value,
        samples,
        settings.value_clip,
        delta.out[0],
    )
    backward(weights, unpack(critic.grad, sizes), own, delta, samples, room)


@compiled
def surrogate_gradient(
    log_std: Array, samples: int, gathered: Gathered, settings: Settings, mean: Array,
    d_mean: Array, d_log_std: Array, stats: NDArray[np.float64],
) -> None:  # fmt: skip
    """Set the gradient of PPO's surrogate by mean and log-std."""
    ratio = gathered.ratio
    log_prob(mean, log_std, gathered.action, samples, gathered.z, ratio)
    if settings.normalise_advantage:
        standardise(gathered.advantage, samples)
    approx_kl, outside = 0.0, 0
    for b in range(samples):
        log_ratio = ratio[b] - gathered.old_log_prob[b]
        ratio[b] = math.exp(log_ratio)
        approx_kl += math.expm1(np.float64(log_ratio)) - log_ratio  # Schulman's k3 estimator
        outside += abs(ratio[b] - 1) > settings.clip
    stats[APPROX_KL] += approx_kl / samples
    stats[CLIP_FRACTION] += outside / samples
    stats[POLICY_LOSS] += clipped_surrogate(ratio, gathered.advantage, samples, settings.clip)
    log_prob_gradient(ratio, gathered.z, log_std, samples, d_mean, d_log_std)


@compiled
def actor_gradient(
    actor: Net, sizes: Sizes, index: NDArray[np.int64], gathered: Gathered, anchors: Anchors,
    settings: Settings, room: Workspace, stats: NDArray[np.float64],
) -> None:  # fmt: skip
    """Set `actor.grad` to that of surrogate + coef * KL to the anchors - entropy_coef * H.

    H = sum of l + a constant, so dH/dl = 1. The anchors' extra states follow the samples in
    `room.x`, for the KL alone.
    """
    weights, A, samples = unpack(actor.flat, sizes), sizes[3], len(index)
    every = samples + len(anchors.states)
    log_std, d_log_std = actor.flat[-A:], actor.grad[-A:]
    mean, d_mean = room.own.out, room.delta.out
    forward(weights, room.x, room.own, padded(every))
    for a in range(A):
        for b in range(samples, every):
            d_mean[a, b] = 0
    surrogate_gradient(log_std, samples, gathered, settings, mean, d_mean, d_log_std, stats)
    known = all_seen(anchors, index)
    for k in range(len(anchors.flat)):
        anchor_means(anchors, k, known, sizes, index, room)
        share = 1.0 / (len(anchors.flat) * every)
        other, weight = (room.other.out, anchors.flat[k, -A:]), settings.coef * share
        kl = kl_gradient(mean, log_std, *other, every, weight, d_mean, d_log_std)
        if settings.symmetric:
            kl += reverse_kl_gradient(mean, log_std, *other, every, weight, d_mean, d_log_std)
        stats[KL] += share * kl
    if len(anchors.means):
        anchors.seen[index] = True
    for a in range(A):
        d_log_std[a] -= settings.entropy_coef
    backward(weights, unpack(actor.grad, sizes), room.own, room.delta, every, room)


@compiled
def update(
    actor: Net, critic: Net, norms: tuple[float, float],
    max_norm: float, learning_rate: float, eps: float,
) -> bool:  # fmt: skip
    """Clip gradients of these norms and take Adam steps, as `Engine.apply` says."""
    if not (math.isfinite(norms[0]) and math.isfinite(norms[1])):
        return False
    for net, length in ((actor, norms[0]), (critic, norms[1])):
        adam(net, min(1.0, max_norm / (length + 1e-6)), learning_rate, eps)
    return finite(actor.flat) and finite(critic.flat)


@kernel
def apply(actor: Net, critic: Net, max_norm: float, learning_rate: float, eps: float) -> bool:
    """Do what `Engine.apply` says."""
    return update(
        actor, critic, (norm(actor.grad), norm(critic.grad)), max_norm, learning_rate, eps
    )


@kernel
def step(
    actor: Net, critic: Net, sizes: Sizes, room: Workspace, gathered: Gathered,
    batch: Batch, index: NDArray[np.int64], anchors: Anchors, settings: Settings,
    stats: NDArray[np.float64], max_norm: float, learning_rate: float, eps: float, stepping: bool,
) -> bool:  # fmt: skip
    """Do what `Engine.step` says; what `Engine.gradient` says, unless `stepping`."""
    gather(batch, index, anchors.states, gathered, room)
    critic_gradient(critic, (*sizes[:3], 1), len(index), gathered, settings, room, stats)
    actor_gradient(actor, sizes, index, gathered, anchors, settings, room, stats)
    norms = norm(actor.grad), norm(critic.grad)
    stats[NORM_ACTOR] += norms[0]
    stats[NORM_CRITIC] += norms[1]
    stats[STEPS] += 1.0
    return not stepping or update(actor, critic, norms, max_norm, learning_rate, eps)


@kernel
def actor_step(
    actor: Net, sizes: Sizes, room: Workspace, gathered: Gathered, batch: Batch,
    index: NDArray[np.int64], anchors: Anchors, settings: Settings,
    stats: NDArray[np.float64], max_norm: float, learning_rate: float, eps: float,
) -> bool:  # fmt: skip
    """Do the actor's half of `step`."""
    gather(batch, index, anchors.states, gathered, room)
    actor_gradient(actor, sizes, index, gathered, anchors, settings, room, stats)
    length = norm(actor.grad)
    stats[NORM_ACTOR] += length
    stats[STEPS] += 1.0
    if not math.isfinite(length):
        return False
    adam(actor, min(1.0, max_norm / (length + 1e-6)), learning_rate, eps)
    return finite(actor.flat)


@unlocked_kernel
def critic_epoch(
    critic: Net, sizes: Sizes, room: Workspace, gathered: Gathered, batch: Batch,
    order: NDArray[np.int64], settings: Settings, max_norm: float, learning_rate: float,
    eps: float, seen: NDArray[np.float64], shared: NDArray[np.int64],
) -> None:  # fmt: skip
    """Take the critic's half of the steps of an epoch, until one is not finite.

    Args:
        order: [M, B], the rows of each minibatch.
        seen: [M, STATS], what each step adds to the engine's `stats`.
        shared: [3], read and written by other threads meanwhile: the number of minibatches that
            are done, whether to stop, and the number of the one that was not finite.
    """
    B, n = order.shape[1], sizes[0]
    for m in range(len(order)):
        if load_shared(shared.ctypes.data + 8):
            return
        for b in range(B):
            row = order[m, b]
            for i in range(n):
                room.x_rows[b, i] = batch.obs[row, i]
            gathered.old_value[b] = batch.old_value[row]
            gathered.value_target[b] = batch.value_target[row]
        transpose(room.x_rows, B, n, room.x)
        critic_gradient(critic, (*sizes[:3], 1), B, gathered, settings, room, seen[m])
        length = norm(critic.grad)
        seen[m, NORM_CRITIC] = length
        sound = math.isfinite(length)
        if sound:
            adam(critic, min(1.0, max_norm / (length + 1e-6)), learning_rate, eps)
            sound = finite(critic.flat)
        if not sound:
            store_shared(shared.ctypes.data + 16, m + 1)
        store_shared(shared.ctypes.data, m + 1)
        if not sound:
            return


@kernel
def distill(
    flat: Array, sizes: Sizes, room: Workspace, batch: Batch, index: NDArray[np.int64],
    student: Array, grad: Array,
) -> None:  # fmt: skip
    """Do what `Engine.distill_gradient` says."""
    B, n, A = len(index), sizes[0], sizes[3]
    for b in range(B):
        for i in range(n):
            room.x_rows[b, i] = batch.obs[index[b], i]
    transpose(room.x_rows, B, n, room.x)
    weights = unpack(student, sizes)
    forward(unpack(flat, sizes), room.x, room.other, padded(B))
    forward(weights, room.x, room.own, padded(B))
    d_mean, d_log_std = room.delta.out, grad[-A:]
    for a in range(A):
        d_log_std[a] = 0
        for b in range(B):
            d_mean[a, b] = 0
    teacher = room.other.out, flat[-A:]
    reverse_kl_gradient(room.own.out, student[-A:], *teacher, B, 1.0 / B, d_mean, d_log_std)
    backward(weights, unpack(grad, sizes), room.own, room.delta, B, room)


@compiled
def act_on(acting: Acting, obs: NDArray[np.float64], noise: Array, action: Array) -> None:
    """Write actions [N, A] for raw `obs` [N, n] and standard-normal `noise` [N, A]."""
    flat, sizes, x, layers, mean, inv_std, limit = acting
    for b in range(len(obs)):
        for i in range(len(mean)):
            v = (obs[b, i] - mean[i]) * inv_std[i]
            v = limit if v > limit else v
            x[i, b] = -limit if v < -limit else v
    forward(unpack(flat, sizes), x, layers, padded(len(obs)))
    for a in range(sizes[3]):
        std = math.exp(flat[len(flat) - sizes[3] + a])
        for b in range(len(obs)):
            action[b, a] = layers.out[a, b] + std * noise[b, a]


@kernel
def act(acting: Acting, obs: NDArray[np.float64], noise: Array, action: Array) -> None:
    """Do what `Engine.act` says."""
    act_on(acting, obs, noise, action)


@kernel
def evaluate(
    flat: Array, sizes: Sizes, room: Workspace, gathered: Gathered, obs: Array, action: Array,
    out: Array,
) -> None:  # fmt: skip
    """Write log pi(a|s) [S] for `obs` [S, n] and `action` [S, A], as many at a time as fit."""
    weights, log_std = unpack(flat, sizes), flat[-sizes[3] :]
    for start in range(0, len(obs), len(room.x_rows)):
        rows = min(len(room.x_rows), len(obs) - start)
        transpose(obs[start:], rows, sizes[0], room.x)
        transpose(action[start:], rows, sizes[3], gathered.action)
        forward(weights, room.x, room.own, padded(rows))
        log_prob(room.own.out, log_std, gathered.action, rows, gathered.z, out[start:])


@kernel
def value(flat: Array, sizes: Sizes, room: Workspace, obs: Array, out: Array) -> None:
    """Write V(s) [S] for `obs` [S, n], as many at a time as fit."""
    weights = unpack(flat, (*sizes[:3], 1))
    layers = Layers(room.own.h1, room.own.h2, room.own.out[:1])
    for start in range(0, len(obs), len(room.x_rows)):
        rows = min(len(room.x_rows), len(obs) - start)
        transpose(obs[start:], rows, sizes[0], room.x)
        forward(weights, room.x, layers, padded(rows))
        for b in range(rows):
            out[start + b] = layers.out[0, b]
