"""Algorithm 1: K processes against a slow transcription in one, and its identities."""

from __future__ import annotations

import pytest
from plain import algorithm_1, alone, trained
from torch import nn

from p2p.core.config import TrainConfig

SMALL = {
    "task": "hopper", "total_steps": 3 * 768, "steps_per_iteration": 768, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 0, "engine": "autograd", "seed": 3,
    "learning_rate": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("num_peers", [1, 2, 3])
def test_k_processes_equal_the_transcription_bit_for_bit(tmp_path, num_peers):
    """Exchange, barrier, streams and flat storage change no bit of Algorithm 1."""
    config = TrainConfig(num_peers=num_peers, **SMALL)
    states = trained(config, tmp_path / "run")
    for state, plain in zip(states, algorithm_1(config), strict=True):
        phi = nn.utils.parameters_to_vector(plain.phi).detach().numpy()
        assert (state["engine.actor"] == plain.flat()).all()
        assert (state["engine.critic"] == phi).all()


def test_one_peer_is_ppo(tmp_path):
    """With nobody to distil from, eq. 4 is eq. 2."""
    one = trained(TrainConfig(num_peers=1, **SMALL), tmp_path / "p2pdrl")
    ppo = trained(TrainConfig(method="ppo", **SMALL), tmp_path / "ppo")
    assert (one[0]["engine.actor"] == ppo[0]["engine.actor"]).all()


def test_alpha_0_is_independent_ppo(tmp_path):
    """Peers with alpha = 0 learn what they would if nobody showed them anything."""
    config = TrainConfig(num_peers=2, distill_coef=0.0, **SMALL)
    states = trained(config, tmp_path / "run")
    for state, plain in zip(states, algorithm_1(config, alone), strict=True):
        assert (state["engine.actor"] == plain.flat()).all()


def test_equal_seeds_give_equal_bits_and_others_do_not(tmp_path):
    runs = [
        trained(TrainConfig(num_peers=2, **{**SMALL, "seed": seed}), tmp_path / f"run{i}")
        for i, seed in enumerate((7, 7, 8))
    ]
    first, again, other = (run[1]["engine.actor"] for run in runs)
    assert (first == again).all()
    assert (first != other).any()
