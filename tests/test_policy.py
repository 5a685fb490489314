"""Flat parameters, moments, the normaliser, and the artefact that is deployed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from p2p.core.errors import BadArtefact, UsageError
from p2p.policy.policy import (
    Moments,
    Normaliser,
    Policy,
    actor_layout,
    critic_layout,
    init_parameters,
)

OBS, ACTION, HIDDEN = 5, 2, (8, 6)


def make_policy(seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    layout = actor_layout(OBS, HIDDEN, ACTION)
    actor = init_parameters(layout, 1.0, -0.5, rng)
    normaliser = Normaliser(rng.standard_normal(OBS), rng.random(OBS) + 0.5, 10.0)
    high = np.full(ACTION, 0.4, np.float32)
    return Policy("hopper", actor, HIDDEN, normaliser, -high, high, {"seed": seed})


def test_views_cover_the_flat_vector_once():
    """Writing 1 through every view fills it: no gap, no overlap."""
    layout = actor_layout(OBS, HIDDEN, ACTION)
    flat = np.zeros(layout.size)
    for view in layout.views(flat).values():
        view += 1.0
    assert (flat == 1.0).all()
    assert layout.size == 8 * 5 + 8 + 6 * 8 + 6 + 2 * 6 + 2 + 2


def test_layers_start_orthogonal():
    """Gain sqrt 2 (W W^T = 2 I on the short side), the head's own gain, biases 0."""
    layout = critic_layout(OBS, HIDDEN)
    net = layout.views(init_parameters(layout, 0.01, 0.0, np.random.default_rng(0)))
    np.testing.assert_allclose(net["w1"].T @ net["w1"], 2 * np.eye(OBS), atol=1e-6)
    np.testing.assert_allclose(net["w3"] @ net["w3"].T, 1e-4 * np.eye(1), atol=1e-9)
    assert not net["b1"].any()


def test_merged_moments_are_those_of_all_samples():
    """Chan's formula: peers that saw different states agree on the mean and variance of all."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, 3)) * 7 + 100 * n for n in (1, 20, 300)]
    merged = Moments.zeros(3)
    for part in parts:
        merged = merged.merged(Moments.from_vector(Moments.of(part).to_vector()))
    everything = np.concatenate(parts)
    np.testing.assert_allclose(merged.mean, everything.mean(0))
    np.testing.assert_allclose(merged.variance, everything.var(0))


def test_normalised_observations_have_unit_moments_and_a_limit():
    samples = np.random.default_rng(0).standard_normal((1000, 3)) * [1, 50, 1e-3] + 4
    out = Normaliser.of(Moments.of(samples), 10.0)(samples)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-2)
    assert Normaliser.of(Moments.of(samples), 10.0)(np.full(3, 1e9)).max() == 10.0


def test_before_the_first_sample_the_normaliser_only_clips():
    obs = np.array([3.0, -70.0, 0.5])
    assert Normaliser.of(Moments.zeros(3), 10.0)(obs).tolist() == pytest.approx([3, -10, 0.5])


def test_an_input_that_never_varied_is_ignored():
    """It may be large, or carry rounding; a millimetre in another world must not act."""
    rng = np.random.default_rng(0)
    varied = rng.standard_normal((1000, 2)) * [1e-3, 1.0]
    constant = np.array([0.0, 8.2, -3e5]) * (1 + 1e-16 * rng.standard_normal((1000, 3)))
    normaliser = Normaliser.of(Moments.of(np.hstack([varied, constant])), 10.0)
    moved = normaliser(np.array([1e-3, 1.0, 1e-3, 8.3, 7.0]))
    assert (moved[2:] == 0).all()
    assert (np.abs(moved[:2]) > 0.5).all()


def test_a_file_of_an_earlier_version_amplifies_no_constant_input(tmp_path):
    """There an input of variance 0 has inv_std = 1e4; the file is right otherwise."""
    from safetensors.numpy import save

    policy, path = make_policy(), tmp_path / "policy.safetensors"
    inv_std = policy.normaliser.inv_std.copy()
    inv_std[[1, 3]] = 1.0 / np.sqrt(np.array([0.0, 1e-24]) + 1e-8)
    tensors = {
        "actor": policy.actor, "obs_mean": policy.normaliser.mean, "obs_inv_std": inv_std,
        "action_low": policy.low, "action_high": policy.high,
    }  # fmt: skip
    head = {"task": "hopper", "hidden": HIDDEN, "obs_clip": 10.0}
    path.write_bytes(save(tensors, {"format": "p2p-policy-1", "policy": json.dumps(head)}))
    found = Policy.load(path).normaliser
    assert (found.inv_std[[1, 3]] == 0).all()
    assert (found.inv_std[[0, 2, 4]] == inv_std[[0, 2, 4]]).all()


def test_equal_policies_are_equal_files():
    assert len({make_policy().to_bytes() for _ in range(20)}) == 1


def test_another_normaliser_keeps_the_action_also_where_inputs_are_frozen():
    """Frozen in both, in the policy's own only, and in neither."""
    policy = make_policy()
    own = policy.normaliser._replace(inv_std=np.array([0.0, 0.0, 1.0, 0.7, 1.2]))
    other = Normaliser(np.full(OBS, 0.1), np.array([0.0, 2.0, 0.5, 1.0, 1.5]), 10.0)
    policy = policy.with_actor(policy.actor, own)
    obs = np.random.default_rng(3).standard_normal((20, OBS))
    np.testing.assert_allclose(policy.under(other).act(obs), policy.act(obs), atol=1e-6)
    assert (policy.under(own).actor == policy.actor).all()


def test_a_batch_acts_as_its_rows_do():
    policy = make_policy()
    obs = np.random.default_rng(1).standard_normal((7, OBS))
    rows = np.stack([policy.act(row) for row in obs])
    np.testing.assert_allclose(policy.act(obs), rows, atol=1e-6)
    assert rows.shape == (7, ACTION)


def test_actions_stay_within_bounds_and_samples_follow_their_stream():
    policy, obs = make_policy(), np.ones(OBS)
    drawn = [policy.act(obs, False, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    assert np.abs(policy.act(np.full((50, OBS), 9.0), False)).max() <= np.float32(0.4)


def test_observations_of_another_shape_are_refused():
    with pytest.raises(UsageError, match=r"takes observations \[5\] or \[B, 5\], got \[4\]"):
        make_policy().act(np.zeros(4))


def test_the_artefact_holds_all_that_acting_needs(tmp_path):
    """The normaliser lies in the same file: an artefact without it is another policy."""
    policy, path = make_policy(), tmp_path / "policy.safetensors"
    path.write_bytes(policy.to_bytes())
    loaded, obs = Policy.load(path), np.random.default_rng(2).standard_normal((9, OBS))
    assert (loaded.act(obs) == policy.act(obs)).all()
    assert (loaded.task, loaded.meta["seed"]) == ("hopper", 0)


@pytest.mark.parametrize("damage", ["absent", "truncated", "foreign"])
def test_a_file_that_is_no_policy_is_named(tmp_path, damage):
    path = tmp_path / "policy.safetensors"
    if damage == "truncated":
        path.write_bytes(make_policy().to_bytes()[:-100])
    if damage == "foreign":
        from safetensors.numpy import save

        path.write_bytes(save({"actor": np.zeros(3)}))
    with pytest.raises(BadArtefact, match=str(path)):
        Policy.load(path)
