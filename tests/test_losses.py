"""Losses against values worked by hand, and against torch's own distributions."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from p2p.engine.losses import (
    clipped_surrogate,
    distillation,
    entropy,
    gaussian_kl,
    log_prob,
    value_loss,
)


def gaussian(mean: float, std: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[mean]]), torch.tensor([log(std)])


def drawn(seed: int, batch: int = 5, actions: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(batch, actions, generator=generator, dtype=torch.float64)
    return mean, torch.randn(actions, generator=generator, dtype=torch.float64)


def as_torch(mean: torch.Tensor, log_std: torch.Tensor) -> Independent:
    return Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)


def test_kl_runs_from_own_to_peer():
    """Eq. 3 puts pi_i first: ln 2 - 3/8; the reverse would be 3/2 - ln 2."""
    loss = distillation(*gaussian(0.0, 1.0), [gaussian(0.0, 2.0)])
    assert loss.item() == pytest.approx(log(2) - 3 / 8)


def test_symmetric_kl_adds_the_reverse():
    loss = distillation(*gaussian(0.0, 1.0), [gaussian(0.0, 2.0)], symmetric=True)
    assert loss.item() == pytest.approx(9 / 8)


def test_distillation_averages_over_peers():
    """Eq. 3 divides by K - 1: half of one peer's KL when the other peer is oneself."""
    own = gaussian(0.0, 1.0)
    assert distillation(*own, [gaussian(0.0, 2.0), own]).item() == pytest.approx(
        (log(2) - 3 / 8) / 2
    )


def test_kl_and_its_gradient_vanish_exactly_at_equal_parameters():
    """Not to rounding but exactly: peers that agree must not be pushed apart by noise."""
    mean, log_std = (x.float().requires_grad_() for x in drawn(0))
    loss = distillation(mean, log_std, [(mean.detach().clone(), log_std.detach().clone())])
    loss.backward()
    assert loss.item() == 0.0
    assert not mean.grad.any()
    assert not log_std.grad.any()


def test_gaussian_formulas_are_those_of_torch_distributions():
    p, q, action = drawn(1), drawn(2), drawn(3)[0]
    torch.testing.assert_close(log_prob(*p, action), as_torch(*p).log_prob(action))
    torch.testing.assert_close(gaussian_kl(*p, *q), kl_divergence(as_torch(*p), as_torch(*q)))
    torch.testing.assert_close(entropy(p[1]).expand(5), as_torch(*p).entropy())


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.1, 2.0, -2.2),  # inside the clip: the plain surrogate
        (1.5, 2.0, -2.4),  # too far towards a good action: clipped at 1.2
        (1.5, -2.0, 3.0),  # too far towards a bad one: the pessimistic, unclipped value
        (0.5, -2.0, 1.6),  # far from a bad action: clipped at 0.8
    ],
)
def test_surrogate_is_the_pessimistic_bound_with_its_sign_flipped(ratio, advantage, expected):
    """Eq. 2 with epsilon 0.2, worked by hand, as a loss to be minimised."""
    args = torch.tensor([log(ratio)]), torch.zeros(1), torch.tensor([advantage])
    assert clipped_surrogate(*args, 0.2).item() == pytest.approx(expected)


def test_surrogate_has_no_gradient_where_the_clip_binds():
    """Otherwise the policy would go on moving away from the one that collected."""
    new = torch.tensor([log(1.5), log(1.1)], requires_grad=True)
    clipped_surrogate(new, torch.zeros(2), torch.ones(2), 0.2).backward()
    assert new.grad.tolist() == pytest.approx([0.0, -1.1 / 2])


def test_value_loss_is_half_the_mean_squared_error():
    args = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), torch.zeros(2)
    assert value_loss(*args).item() == pytest.approx(0.5 * (1 + 9) / 2)


def test_clipped_value_loss_takes_the_worse_of_both():
    """V moved from 0 to 1 past a clip of 0.2; its target 0.5 is nearer to the clipped 0.2."""
    args = torch.tensor([1.0]), torch.tensor([0.5]), torch.zeros(1)
    assert value_loss(*args, clip=0.2).item() == pytest.approx(0.5 * 0.25)
    args = torch.tensor([1.0]), torch.tensor([2.0]), torch.zeros(1)
    assert value_loss(*args, clip=0.2).item() == pytest.approx(0.5 * 1.8**2)


def test_entropy_of_the_unit_gaussian():
    """Half of ln(2 pi e) for each action: 1.4189."""
    assert entropy(torch.zeros(2)).item() == pytest.approx(2 * 1.4189385)
