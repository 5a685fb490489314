"""Tests in held-out domains during training (`test_every`), and the policies that they keep."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from played import PlayedRun, record, score
from test_cohort import assert_same_end, drain

import p2p
from p2p.analysis.evaluation.domain_sets import draw_set
from p2p.cli.live.frame import render
from p2p.cli.live.history import History
from p2p.cli.live.plain import JsonLines, PlainLines
from p2p.cohort import cohort
from p2p.cohort.events import Finished, Iterated, Started
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.build import bind, build_envs
from p2p.peer.scores import held_out_domains, held_out_score
from p2p.runs import RunFolder

SMALL = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 512, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 2, "checkpoint_every": 2, "total_steps": 512 * 6,
    "test_every": 1024, "test_domains": 3,
}  # fmt: skip


def small(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, **settings})


@pytest.fixture(scope="module")
def tested(tmp_path_factory) -> RunFolder:
    return p2p.train(small(), tmp_path_factory.mktemp("tested") / "run")


def scores(run: RunFolder, rank: int) -> dict[int, float]:
    """Return a peer's test returns by the number of iterations completed."""
    return {
        one["iteration"] + 1: one["peers"][rank]["test"]["return"]
        for one in run.records()
        if "test" in one["peers"][rank]
    }


def test_tests_change_no_bit_of_training(tested, tmp_path):
    plain = p2p.train(small(test_every=0), tmp_path / "run")
    for rank in range(2):
        assert plain.policy_path(rank).read_bytes() == tested.policy_path(rank).read_bytes()
    assert plain.result()["scores"] == tested.result()["scores"]
    assert not list((plain.path / "policies").glob("best-*"))


def test_a_test_is_due_whenever_so_many_steps_have_passed(tested):
    assert list(scores(tested, 0)) == [2, 4, 6]
    rare = TrainConfig(total_steps=10**6, test_every=10**5)
    due = [n * 4096 for n in range(1, rare.num_iterations + 1) if rare.is_test(n)]
    assert len(due) == 10
    assert due[-1] == rare.whole_steps  # the final policies, too
    assert all(0 <= steps - 10**5 * (n + 1) < 4096 for n, steps in enumerate(due))
    with pytest.raises(UsageError, match="test_every=2000000 is beyond total_steps=1000000"):
        build_config(test_every=2_000_000)


def test_the_best_policy_of_each_peer_is_kept_with_its_score(tested):
    for rank in range(2):
        returns = scores(tested, rank)
        policy = p2p.load_policy(tested.path, rank, best=True)
        best = max(returns, key=lambda n: returns[n])
        assert policy.meta["iterations"] == best
        assert policy.meta["test"]["return"] == returns[best]
        assert (policy.meta["peer"], policy.meta["test"]["domains"]) == (rank, 3)


def test_a_score_is_that_of_its_policy(tested):
    """Run again from the file, the test gives the same number."""
    policy = p2p.load_policy(tested.path, 1, best=True)
    binding = build_envs("hopper", 1).binding
    found = held_out_score(policy, tested.config, binding, lambda: None)
    assert found["return"] == policy.meta["test"]["return"]
    assert 0 <= found["falls"] <= 1


def test_evaluation_meets_none_of_the_held_out_domains():
    """Of no seed: else the policy chosen by them would look better than it is."""
    binding, config = bind("hopper"), small(test_domains=8)
    held_out = set(map(str, held_out_domains(config, binding)))
    assert len(held_out) == 8
    for seed in range(5):
        assert not held_out & set(map(str, draw_set(binding, config.test_eps, 24, seed).domains))
    nominal = held_out_domains(small(test_eps=0.0), binding)
    assert {(one["mass"], abs(one["wind"][0])) for one in nominal} == {((1.0,), 0.0)}


def test_a_run_that_is_cut_and_resumed_keeps_the_same_policies(tested, tmp_path):
    """Cut after the test of iteration 4, before the checkpoint that has it."""
    drain(cohort.train(small(checkpoint_every=3), out=tmp_path / "run"), upto=4)
    drain(cohort.resume(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    for rank in range(2):
        assert run.best_policy_path(rank).read_bytes() == (
            tested.best_policy_path(rank).read_bytes()
        )
        assert scores(run, rank) == scores(tested, rank)


def test_a_run_killed_before_its_first_checkpoint_starts_afresh(tested, tmp_path):
    """It has best policies, which are older than any checkpoint."""
    drain(cohort.train(small(checkpoint_every=100), out=tmp_path / "run"), upto=3)
    assert list((tmp_path / "run" / "policies").glob("best-*"))
    drain(cohort.resume(tmp_path / "run"))
    assert scores(RunFolder.open(tmp_path / "run"), 0) == scores(tested, 0)


def test_run_h5_has_the_tests(tested):
    with h5py.File(tested.path / "run.h5") as file:
        column = file["peers/test/return"][:, 1]
        assert file["peers/test/length"].attrs["units"] == "steps"
    assert [n + 1 for n in np.flatnonzero(np.isfinite(column))] == list(scores(tested, 1))


def test_evaluate_takes_the_best_policies_if_asked(tested, tmp_path):
    last, best = (
        p2p.evaluate(tested.path, domains=2, policies=which, save=False, workers=1)
        for which in ("last", "best")
    )
    kept = [p2p.load_policy(tested.path, k, best=True) for k in range(2)]
    alone = p2p.evaluate(kept, domains=2, save=False, workers=1)
    found = best.runs[0].measured[0].episode_return
    assert found.tolist() == [run.measured[0].episode_return[0].tolist() for run in alone.runs]
    assert best.runs[0].settings == {**last.runs[0].settings, "policies": "best"}
    shutil.copytree(tested.path, tmp_path / "run")
    RunFolder.open(tmp_path / "run").best_policy_path(1).unlink()
    with pytest.raises(BadArtefact, match=r"has no best policy.*--test-every N"):
        p2p.evaluate(tmp_path / "run", policies="best", save=False, workers=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "distral", "task": "halfcheetah"},
        {"task": "Reacher-v5", "randomise": {"damping": {"scale": 0.5}}},
    ],
    ids=["central", "gymnasium"],
)
def test_any_method_and_task_can_be_tested(tmp_path, settings):
    config = small(total_steps=1024, final_episodes=0, test_domains=2, **settings)
    run = p2p.train(config, tmp_path / "run")
    returns = [scores(run, rank)[2] for rank in range(2)]
    assert np.isfinite(returns).all()
    assert (returns[0] == returns[1]) == ("method" in settings)  # all peers have the centre's


# What is shown


def with_test(config: TrainConfig, iteration: int, *returns: float) -> dict[str, Any]:
    one = record(config, iteration)
    for peer, value in zip(one["peers"], returns, strict=True):
        peer["test"] = {"return": value}
    return one


def test_the_views_show_tests_and_the_best():
    config = small(total_steps=512 * 3)
    history = History(config)
    for n, returns in enumerate([(10.0, 50.0), (30.0, 40.0), (20.0, 45.0)]):
        history.add(with_test(config, n, *returns))
    assert history.best == [(1024, 30.0), (512, 50.0)]
    assert history.best_mean == 40.0
    for width in (60, 80, 120):
        lines = [line.plain for line in render(history, "run", "", width, 30)]
        (line,) = [line for line in lines if line.startswith("test ")]
        assert "30.0 to 35.0" in line
        assert len(line) <= width
    before = History(config)
    before.add(record(config, 0))
    assert not any(line.plain.startswith("test ") for line in render(before, "r", "", 80, 30))


def test_plain_lines_say_when_a_test_was_and_what_it_found():
    config, stream = small(total_steps=512 * 2), StringIO()
    run: Any = PlayedRun(config)
    for view in (PlainLines(stream), JsonLines(stream)):
        view.started(Started(run, config, 0))
        for n, returns in enumerate([(30.0, 50.0), (20.0, 45.0)]):
            view.iterated(Iterated(with_test(config, n, *returns)))
        view.finished(Finished(run, [score(k) for k in range(2)], 1.0, 1024))
    text = stream.getvalue()
    assert "tested at 1,024 steps: return 32.5, best 40.0 (3 held-out domains)\n" in text
    assert (
        "best of 2 tests: mean action, 3 held-out domains, strength 0.5\n"
        "         return     at steps\n"
        "peer 0     30.0          512\n"
        "peer 1     50.0          512\n"
        "mean       40.0\n"
    ) in text
    assert "p2p eval runs/played --eps-te 0.5 --policies best\n" in text
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [e["peers"][1]["test"]["return"] for e in events if e["event"] == "iteration"] == [
        50,
        45,
    ]


def test_a_longer_goal_has_the_same_tests_as_from_the_start(tested, tmp_path):
    shutil.copytree(tested.path, tmp_path / "whole")
    drain(cohort.train(small(total_steps=1024), out=tmp_path / "grown"))
    drain(cohort.resume(tmp_path / "grown", total_steps=512 * 6))
    for run in ("whole", "grown"):  # a clock's reading is no part of the comparison
        strip_seconds(tmp_path / run / "journal.jsonl")
    assert_same_end(tmp_path / "whole", tmp_path / "grown")


def strip_seconds(journal: Path) -> None:
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for one in records:
        for peer in one["peers"]:
            peer.get("test", {}).pop("seconds", None)
    journal.write_text("".join(json.dumps(one) + "\n" for one in records))
