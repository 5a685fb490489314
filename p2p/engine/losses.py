"""Eqs. 2-4 and the value loss as pure functions on tensors: the autograd reference.

Every function returns something to be minimised. A diagonal Gaussian is a pair
(mean [B, A], log_std [A]).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Return log N(action; mean, exp(log_std)^2) summed over the action's axis, [B], nats."""
    z = (action - mean) * torch.exp(-log_std)
    return -0.5 * (z * z).sum(-1) - log_std.sum() - 0.5 * math.log(2 * math.pi) * mean.shape[-1]


def entropy(log_std: Tensor) -> Tensor:
    """Return the entropy of the Gaussian, a scalar, nats; it does not depend on the state."""
    return log_std.sum() + 0.5 * math.log(2 * math.pi * math.e) * log_std.shape[-1]


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """Return KL(p || q) of two diagonal Gaussians, summed over the action's axis, [B], nats.

    Written in the ratio of variances, so that value and gradient are exactly 0 at p = q.
    """
    log_ratio = 2.0 * (log_std_p - log_std_q)
    z = (mean_p - mean_q) * torch.exp(-log_std_q)
    return 0.5 * (torch.exp(log_ratio) - 1.0 - log_ratio + z * z).sum(-1)


def distillation(
    mean: Tensor, log_std: Tensor, peers: list[tuple[Tensor, Tensor]], symmetric: bool = False
) -> Tensor:
    """Return eq. 3: the mean over peers and states of KL(own || peer), a scalar, nats.

    Args:
        mean, log_std: own policy on own states.
        peers: (mean, log_std) of each other peer on the same states, detached.
        symmetric: add KL(peer || own), as DnC does (Ghosh et al. 2018).
    """
    total = mean.new_zeros(())
    for peer_mean, peer_log_std in peers:
        kl = gaussian_kl(mean, log_std, peer_mean, peer_log_std)
        if symmetric:
            kl = kl + gaussian_kl(peer_mean, peer_log_std, mean, log_std)
        total = total + kl.mean()
    return total / len(peers)


def clipped_surrogate(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
) -> Tensor:
    """Return PPO's clipped surrogate as a loss (eq. 2 with its sign flipped), a scalar.

    The paper prints what to maximise, yet line 13 descends; the minus sign is applied
    here and nowhere else.

    Args:
        log_prob, old_log_prob: log pi(a|s) now and at collection, [B], nats.
        advantage: [B], normalised by the caller.
        clip: epsilon of eq. 2, not the randomisation strength.
    """
    ratio = torch.exp(log_prob - old_log_prob)
    clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def value_loss(
    value: Tensor, value_target: Tensor, old_value: Tensor, clip: float | None = None
) -> Tensor:
    """Return the MSE of line 15 halved, a scalar; with `clip`, PPO2's clipped form.

    The half keeps the gradient of the MSE's usual definition in PPO implementations;
    with Adam it changes nothing but the norm that is clipped.
    """
    loss = torch.square(value - value_target)
    if clip is not None:
        near = old_value + torch.clamp(value - old_value, -clip, clip)
        loss = torch.maximum(loss, torch.square(near - value_target))
    return 0.5 * loss.mean()
