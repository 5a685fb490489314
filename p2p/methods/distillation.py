"""Supervised distillation of several policies into one (DnC's global step)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from p2p.core.config import TrainConfig
from p2p.engine import losses
from p2p.engine.autograd import Network, mlp
from p2p.policy.parameters import Floats, actor_layout

BATCH = 64  # states a minibatch of the distillation


def distill(
    centre: Floats,
    teachers: Floats,
    states: Floats,
    action_dim: int,
    config: TrainConfig,
    settings: Any,
    rng: np.random.Generator,
) -> Floats:
    """Return `centre` fitted to the teachers, each on the states that it saw itself.

    Args:
        centre: flat actor parameters to start from, [n].
        teachers: [K, n].
        states: normalised, [K, S, obs_dim].
        settings: `distill_epochs` passes at `distill_learning_rate` with `distill_loss`: the
            squared error of the means (the authors' code), or KL(teacher || centre).
        rng: order of the minibatches; equal streams give equal bits in every peer.

    Returns:
        New flat parameters [n]; the log-std is the teachers' mean (geometric mean of std).
    """
    layout = actor_layout(states.shape[2], config.hidden_sizes, action_dim)
    network = Network(layout, centre.copy(), config)
    network.adam.param_groups[0]["lr"] = settings.distill_learning_rate
    inputs = torch.from_numpy(states.reshape(-1, states.shape[2]))
    with torch.no_grad():
        sets = [network.frozen(np.ascontiguousarray(teacher)) for teacher in teachers]
        seen = [mlp(w, torch.from_numpy(s)) for w, s in zip(sets, states, strict=True)]
        target = torch.cat(seen)
        spread = torch.stack([w["log_std"] for w in sets])
        network.weights["log_std"].copy_(spread.mean(0))
        spread = spread.repeat_interleave(states.shape[1], 0)
    for _ in range(settings.distill_epochs):
        order = torch.from_numpy(rng.permutation(len(inputs)))
        for rows in order.split(BATCH):  # type: ignore[no-untyped-call]
            mean = mlp(network.weights, inputs[rows])
            if settings.distill_loss == "mse":
                loss = functional.mse_loss(mean, target[rows])
            else:
                own = network.weights["log_std"].detach()
                loss = losses.gaussian_kl(target[rows], spread[rows], mean, own).mean()
            network.grad.zero_()
            loss.backward()  # type: ignore[no-untyped-call]
            network.adam.step()
    return network.flat.numpy()
