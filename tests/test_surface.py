"""Return surfaces: the plane through a run's policies, and returns on it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from made import make_finished, make_policy
from plain import trained

import p2p
from p2p.analysis.evaluation.subjects import digest
from p2p.analysis.session import Progress
from p2p.analysis.surface.plane import Plane, load_references
from p2p.analysis.surface.results import Surface
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, Interrupted, UsageError
from p2p.plots.surface import surface_figure
from p2p.policy.normaliser import Normaliser
from p2p.runs import RunFolder
from p2p.runs.policies import load_milestone_policy

SMALL = {"grid": 3, "domains": 2}
EPISODES = 2 * 2 * (3 * 3 + 3 + 2)  # scenarios, domains; the final policy has one normaliser


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_finished(tmp_path / "run")


# Policies of a run's milestones


@pytest.mark.parametrize("method", ["p2pdrl", "distral", "dnc"])
def test_the_last_milestones_policies_are_the_runs(tmp_path, method):
    """Bit for bit, and the central one where the method has one."""
    own = {"distill_epochs": 1} if method == "dnc" else {}
    config = TrainConfig(
        method=method, num_peers=2, steps_per_iteration=256, num_epochs=1, num_minibatches=4,
        total_steps=512, final_episodes=0, engine="autograd", milestones=2, **own,
    )  # fmt: skip
    trained(config, tmp_path / "run")
    run = RunFolder.open(tmp_path / "run")
    first, _, last = run.milestones()
    for rank in range(2):
        kept, again = p2p.load_policy(run.path, rank), load_milestone_policy(run, last, rank)
        assert digest(again) == digest(kept)
        assert again.meta == kept.meta
        assert digest(load_milestone_policy(run, first, rank)) != digest(kept)
    assert p2p.measure_surface(run, grid=2, domains=1).marks[-1].steps == 512


@pytest.mark.parametrize("task", ["hopper", "halfcheetah"])
def test_under_another_normaliser_a_policy_acts_as_before(task):
    policy = make_policy(task)
    rng = np.random.default_rng(1)
    other = Normaliser(rng.normal(size=policy.obs_dim), rng.uniform(0.5, 2, policy.obs_dim), 10.0)
    moved = policy.under(other)
    obs = rng.normal(size=(500, policy.obs_dim))
    assert max(np.abs(n(obs)).max() for n in (policy.normaliser, other)) < 10.0
    np.testing.assert_allclose(moved.act(obs), policy.act(obs), atol=1e-6)
    assert np.abs(moved.actor - policy.actor).max() > 0.1
    np.testing.assert_array_equal(moved.actor[-3:], policy.actor[-3:])  # of its log-std


def test_under_its_own_normaliser_a_policy_keeps_its_bits():
    policy = make_policy()
    assert digest(policy.under(policy.normaliser)) == digest(policy)


def test_the_three_policies_are_those_of_the_milestones_under_one_normaliser(tmp_path):
    run = RunFolder.open(make_finished(tmp_path / "run", num_peers=2))
    references = load_references(run, peer=1)
    assert [one.steps for one in references] == [0, 5 * 4096, 10 * 4096]
    final = references[-1].trained
    for one, path in zip(references, run.milestones(), strict=True):
        kept = run.load_milestone(path).tensors["peer1.engine.actor"]
        np.testing.assert_array_equal(one.trained.actor, kept)
        assert one.policy.normaliser is final.normaliser
        if one.name != "middle":
            np.testing.assert_array_equal(one.policy.actor, kept)
    middle = references[1]
    near = middle.trained.normaliser
    obs = near.mean + np.random.default_rng(0).uniform(-2, 2, (100, final.obs_dim)) / near.inv_std
    np.testing.assert_allclose(middle.policy.act(obs), middle.trained.act(obs), atol=1e-6)
    assert np.abs(middle.policy.actor - middle.trained.actor).max() > 0.01
    assert digest(load_references(run, peer=0)[2].policy) != digest(final)


@pytest.mark.parametrize(
    ("kept", "chosen"), [((0, 1, 4, 8, 10), 4), ((0, 4, 6, 10), 4), ((0, 9, 10), 9)]
)
def test_the_middle_is_the_milestone_nearest_half_of_the_steps(tmp_path, kept, chosen):
    run = RunFolder.open(make_finished(tmp_path / "run", kept))
    assert load_references(run)[1].steps == chosen * 4096


# The plane


@pytest.fixture
def plane() -> Plane:
    rng = np.random.default_rng(3)
    return Plane.through(list(rng.normal(size=(3, 200)).astype(np.float32)))


def test_the_plane_goes_through_the_three_points_bit_for_bit(plane):
    for corner, weights, point in zip(
        plane.corners, [(0, 0), (1, 0), (0, 1)], plane.points, strict=True
    ):
        assert plane.weights(*corner) == weights
        np.testing.assert_array_equal(plane.parameters(*weights), point.astype(np.float32))


def test_distances_on_the_plane_are_distances_between_parameters(plane):
    places = np.random.default_rng(4).uniform(-30, 30, (20, 2))
    parameters = [plane.parameters(*plane.weights(*xy)).astype(float) for xy in places]
    for one, other, p, q in zip(places, places[1:], parameters, parameters[1:], strict=False):
        assert np.linalg.norm(p - q) == pytest.approx(np.linalg.norm(one - other), rel=1e-5)


def test_a_point_is_the_affine_combination_of_its_weights(plane):
    w1, w2, w3 = plane.points
    a, b = plane.weights(7.0, -2.0)
    expected = w1 + a * (w2 - w1) + b * (w3 - w1)
    np.testing.assert_allclose(plane.parameters(a, b), expected, rtol=1e-5, atol=1e-6)


def test_x_runs_to_the_final_policy_and_the_middle_lies_above(plane):
    (_, (_, height), (length, at)) = plane.corners
    assert at == 0
    assert height > 0
    assert length == pytest.approx(np.linalg.norm(plane.points[2] - plane.points[0]))


def test_the_window_has_its_margin_on_every_side(plane):
    x, y = plane.window(0.25, 5)
    low, high = plane.corners.min(axis=0), plane.corners.max(axis=0)
    room = 0.25 * max(high - low)
    for axis, a, b in zip((x, y), low, high, strict=True):
        np.testing.assert_allclose(axis, np.linspace(a - room, b + room, 5))


@pytest.mark.parametrize("third", [0.0, 2.0])
def test_three_policies_on_a_line_are_refused(third):
    start, way = np.random.default_rng(5).normal(size=(2, 50)).astype(np.float32)
    with pytest.raises(BadArtefact, match="lie on one line, which spans no plane"):
        Plane.through([start, start + way, start + np.float32(third) * way])


# Returns on it


def returns(surface: Surface) -> list[np.ndarray]:
    marks = np.array([mark[4:] for mark in surface.marks])
    return [*(one.by_domain for one in surface.landscapes), marks]


def test_the_three_policies_have_the_returns_that_p2p_eval_gives_them(run):
    surface = p2p.measure_surface(run, save=False, eps_te=0.7, **SMALL)

    def scores(policy) -> list[float]:
        found = p2p.evaluate(policy, [0.2, 0.7], domains=2, save=False)
        return [one.score.mean for one in found.runs[0].measured]

    references = load_references(RunFolder.open(run))
    for mark, reference in zip(surface.marks, references, strict=True):
        assert [mark.train, mark.test] == scores(reference.policy)
        assert [mark.train_as_trained, mark.test_as_trained] == scores(reference.trained)
    last = surface.marks[-1]
    of_run = p2p.evaluate(run, [0.2, 0.7], domains=2, save=False).runs[0].measured
    assert [last.train, last.test] == [one.peers[0].mean for one in of_run]
    assert last[4:6] == last[6:8]


def test_a_point_of_the_grid_is_the_policy_at_its_place(run):
    """Row y, column x; on a domain set of its own, so that nothing else gives the number."""
    surface = p2p.measure_surface(run, domain_seed=5, **SMALL)
    references = load_references(RunFolder.open(run))
    plane = Plane.through([one.policy.actor for one in references])
    final = references[-1].policy
    actor = plane.parameters(*plane.weights(surface.x[2], surface.y[0]))
    policy = final.with_actor(actor, final.normaliser)
    found = p2p.evaluate(policy, [0.2, 0.5], domains=2, domain_seed=5)
    for landscape, measured in zip(surface.landscapes, found.runs[0].measured, strict=True):
        np.testing.assert_array_equal(landscape.by_domain[0, 2], measured.by_domain)
        assert landscape.set == measured.set
        assert len(np.unique(landscape.mean)) == 9
    assert surface.policies[0, 2] == digest(policy)


def test_the_number_of_processes_changes_no_bit(run):
    one, three = (p2p.measure_surface(run, save=False, workers=n, **SMALL) for n in (1, 3))
    for a, b in zip(returns(one), returns(three), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_measured_is_not_run_again(run):
    first, again = (p2p.measure_surface(run, **SMALL) for _ in range(2))
    assert [(s.cost.episodes, s.cost.reused) for s in (first, again)] == [
        (EPISODES, 0), (0, EPISODES),
    ]  # fmt: skip
    for a, b in zip(returns(first), returns(again), strict=True):
        np.testing.assert_array_equal(a, b)
    more = p2p.measure_surface(run, **{**SMALL, "domains": 3})
    assert more.cost.reused == EPISODES
    assert p2p.evaluate(run, [0.2, 0.5], domains=2, save=False).episodes > 0
    assert p2p.evaluate(run, [0.2, 0.5], domains=2).reused == 4  # the final policy's


def test_what_was_measured_before_a_signal_is_kept(run):
    done = [0]

    def interrupt(now: Progress) -> None:
        done.append(now.done)
        if done[-2] == 0 < done[-1]:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="the same command goes on from there"):
        p2p.measure_surface(run, workers=1, report=interrupt, **SMALL)
    assert not (run / "surface-peer-0.h5").exists()
    rest = p2p.measure_surface(run, **SMALL)
    assert 0 < rest.cost.reused == done[-1] < EPISODES
    assert rest.cost.episodes == EPISODES - done[-1]
    whole = p2p.measure_surface(run, save=False, **SMALL)
    for a, b in zip(returns(rest), returns(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_file_holds_the_surface(run):
    surface = p2p.measure_surface(run, **SMALL)
    with h5py.File(run / "surface-peer-0.h5") as file:
        np.testing.assert_array_equal(file["x"], surface.x)
        np.testing.assert_array_equal(file["y"], surface.y)
        np.testing.assert_array_equal(file["policies"].asstr()[:], surface.policies)
        for one in surface.landscapes:
            np.testing.assert_array_equal(file[f"{one.scenario}/return"], one.mean)
            np.testing.assert_array_equal(file[f"{one.scenario}/return_by_domain"], one.by_domain)
            assert file[one.scenario].attrs["hash"] == one.set.hash
        assert [file[f"marks/{k}"][1] for k in ("x", "test")] == [
            surface.marks[1].x, surface.marks[1].test,
        ]  # fmt: skip
        with h5py.File(run / "eval.h5") as episodes:
            assert set(file["policies"][:].ravel()) <= set(episodes["policies"][:])


def test_nothing_is_kept_if_nothing_shall_be(run):
    before = sorted(run.rglob("*"))
    p2p.measure_surface(run, save=False, **SMALL)
    assert sorted(run.rglob("*")) == before


def test_equal_strengths_are_measured_once(run):
    surface = p2p.measure_surface(run, eps_te=0.2, **SMALL)
    assert surface.cost.episodes == EPISODES / 2
    train, test = surface.landscapes
    np.testing.assert_array_equal(train.by_domain, test.by_domain)


def test_the_best_point_is_the_best_of_grid_and_policies(run):
    surface = p2p.measure_surface(run, **SMALL)
    for n, one in enumerate(surface.landscapes):
        at_marks = [mark[4 + n] for mark in surface.marks]
        best = surface.best(one)
        assert best.value == max(one.mean.max(), *at_marks)
        if best.mark is None:
            (row,), (column,) = np.nonzero(one.mean == best.value)
            assert (best.x, best.y) == (surface.x[column], surface.y[row])


# The picture


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_equal_surfaces_give_equal_pictures(run, suffix, start):
    pytest.importorskip("matplotlib")
    surface = p2p.measure_surface(run, **SMALL)
    one, other = (surface_figure(surface, suffix) for _ in range(2))
    assert one == other
    assert one.startswith(start)


def test_a_surface_without_relief_can_be_drawn(run):
    pytest.importorskip("matplotlib")
    surface = p2p.measure_surface(run, **SMALL)
    for one in surface.landscapes:
        one.by_domain[:] = 7.0
    assert surface_figure(surface).startswith(b"\x89PNG")


# What is refused


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((), r"has no milestones: .* --milestones 2 or more"),
        (
            (0, 5),
            r"has not ended: its last milestone is at iteration 5 of 10; .*p2p train --resume",
        ),
        ((0, 10), r"milestones at iterations 0, 10 alone, and a surface needs 0, 10 and one"),
        ((5, 10), r"milestones at iterations 5, 10 alone"),
    ],
)
def test_a_run_without_three_policies_is_refused(tmp_path, kept, words):
    run = make_finished(tmp_path / "run", kept)
    with pytest.raises(BadArtefact, match=words):
        p2p.measure_surface(run)


def test_a_damaged_milestone_is_named(run):
    path = RunFolder.open(run).milestones()[1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        BadArtefact, match=r"iteration-00000005\.safetensors is truncated or damaged"
    ):
        p2p.measure_surface(run, **SMALL)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"grid": 1}, "grid=1: input should be greater than or equal to 2"),
        ({"domains": 0}, "domains=0"),
        ({"eps_te": 1.5}, "eps_te=1.5: input should be less than or equal to 1"),
        ({"margin": -1.0}, "margin=-1.0"),
        ({"peer": 2}, r"has peers 0\.\.1, not 2"),
        ({"gird": 5}, "unknown setting 'gird'"),
    ],
)
def test_wrong_settings_are_refused(run, settings, words):
    with pytest.raises(UsageError, match=words):
        p2p.measure_surface(run, **settings)
