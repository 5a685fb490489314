"""Evaluation: test domains, episodes on all cores, what is kept, and the statistics."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made import TASKS, make_policy, make_run

import p2p
from p2p.analysis.evaluation import session as evaluation
from p2p.analysis.evaluation.config import build_eval_config, parse_strengths
from p2p.analysis.evaluation.domain_sets import DomainSet, draw_set, single_set, sweep_set
from p2p.analysis.evaluation.file import EvalFile, Key, Outcome
from p2p.analysis.evaluation.results import (
    EvaluatedRun,
    Evaluation,
    Measured,
    score_methods,
    worst_mean,
)
from p2p.analysis.evaluation.subjects import digest
from p2p.analysis.evaluation.worker import envs_each
from p2p.analysis.pool import Pool, WorkerReport, worker_main
from p2p.analysis.session import Progress
from p2p.analysis.statistics import mean_interval
from p2p.cohort import launch
from p2p.core.errors import BadArtefact, Interrupted, NoRoom, PeerLost, UsageError
from p2p.core.rng import Purpose, keyed_generator
from p2p.envs.domain import Domain
from p2p.envs.randomisation import table_1
from p2p.envs.robot import Robot
from p2p.envs.vector import RandomisedEnvs
from p2p.policy.episodes import run_episodes

SMALL = {"domains": 6, "workers": 2}
HALF_WIDTHS = {
    "wind": 5.0,
    "gravity": 0.25,
    "friction": 0.30,
    "mass": 0.50,
    "initial_position": 1.0,
}  # of Table 1
NOMINAL = table_1().complete(Domain())


def returns(found: Evaluation) -> list[np.ndarray]:
    return [m.episode_return for run in found.runs for m in run.measured]


# An episode, and what it does not depend on


@pytest.mark.parametrize("task", ["hopper", "halfcheetah"])
def test_a_score_is_the_undiscounted_return_of_mean_action_episodes(task):
    """Against a slow oracle: one env, one step after the other, to the end of the episode."""
    policy = make_policy(task)
    found = p2p.evaluate(policy, 0.7, domains=2, episodes=2)
    (measured,) = found.runs[0].measured
    for d, domain in enumerate(measured.set.domains):
        for e in range(2):
            envs = RandomisedEnvs(task, 1)
            envs.set_domains([domain])
            envs.reset([keyed_generator(0, Purpose.EVALUATE, d, e)])
            total, steps = 0.0, 0
            while not envs.finished:
                envs.step(policy.act(envs.obs))
                total, steps = total + envs.reward[0], steps + 1
            assert measured.episode_return[0, d, e] == total
            assert measured.length[0, d, e] == steps
            assert measured.terminated[0, d, e] == (steps < 1000)
    assert found.score.mean == pytest.approx(measured.episode_return.mean())
    assert found.score.falls == (1.0 if task == "hopper" else 0.0)


@pytest.mark.parametrize("sampled", [False, True])
def test_neither_the_number_of_processes_nor_what_runs_beside_changes_a_bit(tmp_path, sampled):
    runs = [make_run(tmp_path / str(seed), seed=seed, num_peers=2) for seed in (0, 1)]
    ways: list[tuple[Any, int]] = [(runs, 1), (runs, 3), (runs[:1], 2), (runs[1:], 2)]
    one, three, *alone = (
        returns(p2p.evaluate(r, [0.3, 1.0], domains=5, sampled=sampled, workers=w, save=False))
        for r, w in ways
    )
    for other in (three, [*alone[0], *alone[1]]):
        np.testing.assert_array_equal(one, other)


def test_sampled_actions_are_sampled():
    policy = make_policy()
    mean, sampled = (p2p.evaluate(policy, 0, domains=4, sampled=s) for s in (False, True))
    assert (returns(mean)[0] != returns(sampled)[0]).all()


def test_at_strength_0_each_domain_has_a_start_of_its_own():
    """All domains are the nominal one; scoring one episode 24 times over would say nothing."""
    (found,) = returns(p2p.evaluate(make_policy(), 0, **SMALL))
    assert len(np.unique(found)) == found.size


def test_episodes_come_back_in_the_order_of_their_domains():
    """They end in another one: a heavier robot falls sooner."""
    policy = make_policy()
    domains = [Domain(mass=(m,)) for m in (1.5, 0.5, 1.0)]
    together = run_episodes(policy, domains, np.random.default_rng(0))
    streams = np.random.default_rng(0).spawn(3)
    for domain, stream, episode in zip(domains, streams, together, strict=True):
        envs = RandomisedEnvs("hopper", 1)
        envs.set_domains([domain])
        envs.reset([stream])
        while not envs.finished:
            envs.step(policy.act(envs.obs))
        assert episode[1:] == envs.finished[0][1:]


@pytest.mark.parametrize("task", ["hopper", "humanoid"])
def test_a_row_of_a_batch_gets_the_action_that_it_would_get_alone(task):
    policy = make_policy(task)
    obs = np.random.default_rng(1).standard_normal((37, policy.obs_dim))
    batch = policy.act(obs)
    np.testing.assert_array_equal(batch, [policy.act(row) for row in obs])
    np.testing.assert_array_equal(batch[5:11], policy.act(obs[5:11]))


def test_a_retired_env_stands_still_until_the_next_reset():
    envs = RandomisedEnvs("hopper", 2)
    envs.reset([np.random.default_rng(n) for n in (0, 1)])
    envs.next_domain = lambda env: None
    action = np.array([[1, 1, 1], [0, 0, 0]], np.float32)  # the first one falls first
    while not envs.finished:
        envs.step(action)
    time = envs.simulation(0)[1].time
    while len(envs.finished) < 2:
        envs.step(action)
        assert envs.simulation(0)[1].time == time
        assert (envs.reward[0], envs.episode_return[0], envs.elapsed[0]) == (0.0, 0.0, 0)
        assert (envs.terminated[0], envs.truncated[0]) == (False, False)
    assert [episode.env for episode in envs.finished] == [0, 1]
    envs.reset()
    envs.step(action)
    assert envs.elapsed.tolist() == [1, 1]


def test_a_retired_env_leaves_the_others_alone():
    def other(retires: bool) -> list[np.ndarray]:
        envs = RandomisedEnvs("hopper", 2)
        envs.reset([np.random.default_rng(n) for n in (0, 1)])
        if retires:
            envs.next_domain = lambda env: None
        seen = []
        while not any(episode.env == 1 for episode in envs.finished):
            seen.append(envs.obs[1].copy())
            envs.step(np.array([[1, 1, 1], [0, 0, 0]], np.float32))
        return seen

    np.testing.assert_array_equal(other(True), other(False))


@pytest.mark.parametrize(
    ("task", "tickets", "workers", "size"),
    [
        ("hopper", 24, 2, 6),  # two rounds, so that the second goes to whoever is free
        ("halfcheetah", 24, 2, 12),  # equal lengths: one round
        ("halfcheetah", 60, 1, 20),  # three equal rounds, not 24 + 24 + 12
        ("hopper", 1, 1, 1),
    ],
)
def test_processes_step_as_many_envs_as_ends_evenly(task, tickets, workers, size):
    assert envs_each(task, tickets, workers) == size


# Test domains


def test_more_domains_contain_fewer_and_strengths_share_their_directions():
    hopper = Robot(TASKS["hopper"]).binding
    few, many = (draw_set(hopper, 0.5, n, 7) for n in (4, 9))
    strong = draw_set(hopper, 1.0, 4, 7)
    assert many.domains[:4] == few.domains
    for half, whole in zip(few.domains, strong.domains, strict=True):
        assert 2 * half["wind"][0] == pytest.approx(whole["wind"][0])
        assert 2 * (half["mass"][0] - 1) == pytest.approx(whole["mass"][0] - 1)


def test_the_hash_is_that_of_the_domains():
    hopper = Robot(TASKS["hopper"]).binding
    base = draw_set(hopper, 0.5, 4, 0)
    others = [draw_set(hopper, *how) for how in ((0.5, 4, 1), (0.6, 4, 0), (0.5, 5, 0))]
    assert base.hash == replace(base, name="another").hash
    assert base.hash == "d2eb8989"  # part of what is published: it must not change by itself
    assert len({base.hash, *(other.hash for other in others)}) == 4


def test_methods_and_runs_meet_the_same_domains(tmp_path):
    runs = [
        make_run(tmp_path / "a", method="ppo", seed=3),
        make_run(tmp_path / "b", method="p2pdrl", seed=4, eps_tr=0.9),
    ]
    found = p2p.evaluate(runs, **SMALL)
    sets = [run.measured[0].set for run in found.runs]
    assert sets[0].domains == sets[1].domains
    assert len({score.hash for score in found.methods}) == 1


@pytest.mark.parametrize("factor", HALF_WIDTHS)
def test_one_factor_runs_over_its_range_of_table_1_while_the_others_are_nominal(factor):
    points = sweep_set(table_1(), [factor], 0.5, 5)
    nominal = table_1().summary(NOMINAL)
    values = [table_1().summary(domain)[factor] for domain in points.domains]
    width = 0.5 * HALF_WIDTHS[factor]
    assert values == pytest.approx(np.linspace(nominal[factor] - width, nominal[factor] + width, 5))
    assert points.domains[2] == NOMINAL
    for domain in points.domains:
        assert {**table_1().summary(domain), factor: nominal[factor]} == nominal


def test_a_grid_holds_every_pair_the_second_factor_fastest():
    grid = sweep_set(table_1(), ["wind", "mass"], 1.0, 3)
    assert [(d["wind"][0], d["mass"][0]) for d in grid.domains[:4]] == [
        (-5.0, 0.5), (-5.0, 1.0), (-5.0, 1.5), (0.0, 0.5),
    ]  # fmt: skip
    (measured,) = p2p.evaluate(make_policy(), 1.0, grid=("wind", "mass"), points=3).runs[0].measured
    assert measured.set.domains == grid.domains
    assert measured.by_domain.shape == (9,)


def test_the_nominal_point_of_every_factor_is_the_same_episodes(tmp_path):
    """All points share their starts, so they are the same, and run once."""
    found = p2p.evaluate(make_run(tmp_path / "run", num_peers=1), by_factor=True, points=3)
    assert [m.set.axes[0].factor for m in found.runs[0].measured] == list(HALF_WIDTHS)
    assert found.episodes == 10 * (5 * 2 + 1)


@pytest.mark.parametrize(
    ("settings", "episodes"),
    [
        ({}, 1),
        ({"eps_te": [0.2, 0.5]}, 1),
        ({"domain": "wind=1"}, 1),
        ({"by_factor": True}, 10),
        ({"grid": ("wind", "mass")}, 4),
        ({"by_factor": True, "episodes": 2}, 2),
        ({"by_factor": True, "episodes": None}, 10),
        ({"episodes": 3}, 3),
    ],
)
def test_curves_by_factor_have_episodes_for_an_interval_and_others_as_before(settings, episodes):
    """One episode a point made a spike at the nominal domain in all panels."""
    assert build_eval_config(**settings).episodes == episodes


def test_a_domain_that_is_given_is_the_one_that_is_tested():
    domain = Domain(wind=3.0, mass=(0.8,))
    text, value = (p2p.evaluate(make_policy(), domain=d) for d in ("wind=3,mass=0.8", domain))
    assert text.runs[0].measured[0].set.domains == (table_1().complete(domain),)
    assert returns(text)[0] == returns(value)[0]


def test_a_run_is_tested_in_its_own_kind_of_domains(tmp_path):
    kind = {"mass_randomisation": "per_link", "initial_position": "root_x"}
    found = p2p.evaluate(make_run(tmp_path / "run", **kind), domains=1)
    ((domain,),) = [m.set.domains for m in found.runs[0].measured]
    assert (len(domain["mass"]), len(domain["initial_position"])) == (4, 1)


def test_a_policys_file_is_tested_as_its_run_is(tmp_path):
    """In the same kind of domains, and as a seed of the same group."""
    kind = {"mass_randomisation": "per_link", "initial_position": "root_x"}
    run = make_run(tmp_path / "run", num_peers=1, **kind)
    whole, file = (
        p2p.evaluate(given, domains=2) for given in (run, run / "policies" / "peer-0.safetensors")
    )
    assert whole.runs[0].settings == file.runs[0].settings
    assert whole.methods == file.methods


def test_policies_files_with_other_settings_are_not_pooled(tmp_path):
    """Nor those that do not say how they were trained, as other programs' and older ones."""
    runs = [make_run(tmp_path / str(n), seed=n, num_peers=1, eps_tr=n / 10) for n in (0, 1)]
    files = [run / "policies" / "peer-0.safetensors" for run in runs]
    labels = [score.label for score in p2p.evaluate(files, domains=1).methods]
    assert labels == ["p2pdrl eps_tr 0", "p2pdrl eps_tr 0.1"]
    for seed, file in enumerate(files):
        file.write_bytes(make_policy(method="ppo", seed=seed, iterations=10).to_bytes())
    scores = p2p.evaluate(files, domains=1).methods
    assert [score.seeds for score in scores] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("text", "strengths"),
    [("0.5", [0.5]), ("0:1:0.25", [0, 0.25, 0.5, 0.75, 1]), ("0:0.5:0.2", [0, 0.2, 0.4])],
)
def test_a_range_of_strengths_has_both_ends_if_the_step_meets_them(text, strengths):
    assert parse_strengths(text) == strengths


def test_a_range_in_tenths_is_exact():
    assert parse_strengths("0,0.5:1:0.5") == [0.0, 0.5, 1.0]
    assert parse_strengths("0:1:0.1") == [n / 10 for n in range(11)]


@pytest.mark.parametrize("text", ["", "x", "0:1", "1:0:0.1", "0:1:0", "0:1:-1", "nan", "0:inf:1"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(UsageError, match=r"give a number, or a range such as 0:1:0\.1"):
        parse_strengths(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eps_te": 1.2}, r"eps_te=1.2 is outside \[0, 1\]"),
        ({"eps_te": []}, "at least one strength"),
        ({"domains": 0}, "domains=0: input should be greater"),
        ({"by_factor": True, "domain": "wind=1"}, "exclude one another"),
        ({"by_factor": True, "eps_te": [0.1, 0.2]}, "takes a single eps_te=0.1"),
        ({"grid": ("wind", "wind")}, "two different factors"),
        ({"domain": "mass=-1"}, "mass must leave all masses positive"),
        ({"domain": "mass=1/1/1"}, "mass has 3 values: give 1, or one for each of 4$"),
        ({"domain": "storm=1"}, "unknown factor 'storm'; known: wind, gravity"),
        ({"grid": ("wind", "mas")}, "unknown factor 'mas'; did you mean 'mass'"),
        ({"workers": 0}, "workers=0 must be at least 1"),
        ({"wokers": 2}, "unknown setting 'wokers'"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        p2p.evaluate(make_policy(), **settings)


# What is kept


def test_what_was_evaluated_is_not_run_again(tmp_path):
    run = make_run(tmp_path / "run", num_peers=2)
    first = p2p.evaluate(run, 0.5, **SMALL)
    again = p2p.evaluate(run, 0.5, **SMALL)
    wider = p2p.evaluate(run, [0.5, 0.8], **{**SMALL, "domains": 7})
    assert [(f.episodes, f.reused) for f in (first, again, wider)] == [(12, 0), (0, 12), (16, 12)]
    np.testing.assert_array_equal(returns(first), returns(again))
    np.testing.assert_array_equal(returns(first)[0], returns(wider)[0][:, :6])


@pytest.mark.parametrize("change", [{"sampled": True}, {"domain_seed": 1}])
def test_other_conditions_are_run_anew(tmp_path, change):
    run = make_run(tmp_path / "run")
    p2p.evaluate(run, **SMALL)
    assert p2p.evaluate(run, **SMALL, **change).reused == 0


def test_a_policy_that_was_trained_on_is_run_anew(tmp_path):
    run = make_run(tmp_path / "run", num_peers=2)
    p2p.evaluate(run, **SMALL)
    (run / "policies" / "peer-1.safetensors").write_bytes(make_policy(key=55).to_bytes())
    found = p2p.evaluate(run, **SMALL)
    assert (found.episodes, found.reused) == (6, 6)


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path):
    run, whole = (make_run(tmp_path / name, num_peers=2) for name in ("run", "whole"))
    asked = []

    def interrupt(now: Progress) -> None:
        if now.done >= 10 and not asked:
            asked.append(signal.raise_signal(signal.SIGINT))

    with pytest.raises(Interrupted, match="of 80 episodes were run; the same command goes on"):
        p2p.evaluate(run, domains=40, workers=2, report=interrupt)
    found = p2p.evaluate(run, domains=40, workers=2)
    assert 10 <= found.reused < 80
    assert found.episodes + found.reused == 80
    np.testing.assert_array_equal(returns(found), returns(p2p.evaluate(whole, domains=40)))


def test_the_file_holds_every_episode_and_every_set_with_its_hash(tmp_path):
    run = make_run(tmp_path / "run", num_peers=2)
    found = p2p.evaluate(run, [0.25, 0.5], **SMALL)
    with h5py.File(run / "eval.h5") as file:
        domains = file["domains"].asstr()[:]
        for measured in found.runs[0].measured:
            kept = file[f"sets/{measured.set.hash}"]
            assert kept.attrs["eps_te"] == measured.set.eps
            assert [Domain.parse(domains[n]) for n in kept[:]] == list(measured.set.domains)
        assert sorted(file["episodes/return"][:]) == sorted(np.concatenate(returns(found)).ravel())
        wind = file["factors/wind"][:]
        assert wind.tolist() == [Domain.parse(text)["wind"][0] for text in domains]


def test_evaluations_at_the_same_time_keep_each_others_episodes(tmp_path):
    one, other = EvalFile(tmp_path), EvalFile(tmp_path)
    rows = {Key("p", "{}", str(Domain()), n, 0): Outcome(1.5, 10, True, False) for n in range(2)}
    for file, (key, outcome) in zip((one, other), rows.items(), strict=True):
        file.load()
        file.keep({key: outcome}, {})
    read = EvalFile(tmp_path)
    read.load()
    assert read.rows == rows


def test_policies_are_told_apart_by_whatever_acts():
    policy = make_policy()
    others = [make_policy() for _ in range(3)]
    others[0].actor[-1] += 1.0
    others[1].normaliser.mean[0] += 1.0
    others[2].high[0] = 0.5
    assert digest(make_policy(seed=7)) == digest(policy)  # what is known of it does not act
    assert len({digest(policy), *map(digest, others)}) == 4


def test_nothing_is_kept_if_nothing_shall_be(tmp_path):
    run = make_run(tmp_path / "run")
    before = sorted(run.rglob("*"))
    p2p.evaluate(run, save=False, **SMALL)
    assert sorted(run.rglob("*")) == before


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "eval.h5").write_bytes(b"junk")
    with pytest.raises(BadArtefact, match="move it out of the way to evaluate anew"):
        p2p.evaluate(run, **SMALL)
    assert (run / "eval.h5").read_bytes() == b"junk"


def test_a_run_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    def full(path: Path, data: bytes, what: str) -> None:
        raise NoRoom(f"cannot write {what} {path}: read-only file system; make it writable")

    monkeypatch.setattr("p2p.analysis.file.write_atomically", full)
    monkeypatch.setattr(evaluation, "episode_pool", None)
    with pytest.raises(NoRoom, match=r"eval.h5: read-only file system; --no-save"):
        p2p.evaluate(make_run(tmp_path / "run"), **SMALL)


def test_a_process_that_dies_is_named_and_what_was_found_is_kept(tmp_path, monkeypatch):
    """It is killed in the first of three rounds, so that it has something left to do."""
    run = make_run(tmp_path / "run", task="halfcheetah", num_peers=1)
    whole = Pool.reports

    def reports(self: Pool) -> Any:
        for told in whole(self):
            yield told
            if told.ended:
                first, *_ = self.workers.values()
                with suppress(ProcessLookupError):  # reports of the other may still come in
                    os.kill(first.pid or 0, signal.SIGKILL)

    monkeypatch.setattr(Pool, "reports", reports)
    with pytest.raises(PeerLost, match=r"\(pid \d+\) died: signal SIGKILL.*; \d+ of 100 episodes"):
        p2p.evaluate(run, domains=100, workers=2)
    monkeypatch.undo()
    assert p2p.evaluate(run, domains=100).reused > 0


def test_a_process_whose_parent_closes_the_pipe_ends_without_a_word(monkeypatch, capfd):
    """Unread requests make it a reset connection: after Ctrl-C that was a traceback."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(launch, "die_with_parent", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    theirs.send(WorkerReport(0, [], 1))
    ours.close()
    worker_main(theirs, (), Connection.recv)
    assert capfd.readouterr() == ("", "")


def test_a_broken_connection_of_a_tasks_own_is_told(monkeypatch):
    """It was taken for the parent's, and the process ended as if its work were done."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(launch, "die_with_parent", lambda: None)

    def serve(pipe: Connection) -> None:
        raise BrokenPipeError("of a simulator")

    ours, theirs = multiprocessing.Pipe()
    worker_main(theirs, (), serve)
    theirs.close()
    assert "BrokenPipeError: of a simulator" in ours.recv()


def test_a_run_without_policies_is_refused(tmp_path):
    run = make_run(tmp_path / "run", num_peers=2)
    (run / "policies" / "peer-1.safetensors").unlink()
    with pytest.raises(BadArtefact, match="has no policy yet"):
        p2p.evaluate(run)


def test_the_same_run_by_two_names_counts_once(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert len(p2p.evaluate([run, "run", "run/../run"], **SMALL).runs) == 1


# Statistics


def measured(values: Any) -> Measured:
    """Return what policies with these returns [K, D, E] measured."""
    array = np.array(values, float)
    D = array.shape[1]
    one = DomainSet("eps_te 0.5", 0.5, tuple(Domain(wind=float(d)) for d in range(D)), (0,) * D)
    no = np.zeros(array.shape, bool)
    return Measured(one, array, np.full(array.shape, 10), no, no)


def run_of(values: Any, seed: int = 0, **settings: Any) -> EvaluatedRun:
    one = measured(values)
    ranks = tuple(range(len(one.episode_return)))
    return EvaluatedRun("path", "hopper", "ppo", seed, ranks, settings, (one,))


def test_the_worst_decile_counts_the_last_domain_in_part():
    """Of 24 domains it is 2.4: the worst, the second, and two fifths of the third."""
    assert worst_mean(np.arange(24.0, 0.0, -1.0)) == pytest.approx((1 + 2 + 0.4 * 3) / 2.4)
    assert worst_mean(np.arange(1.0, 11.0)) == 1.0
    assert worst_mean(np.array([5.0, 3.0])) == pytest.approx(3.0)


def test_the_worst_decile_of_a_method_is_the_mean_of_each_peers_own():
    """Each of two peers fails in another domain: averaging them first would hide it."""
    values = np.full((2, 10, 1), 100.0)
    values[0, 0], values[1, 5] = 0.0, 20.0
    assert measured(values).score.worst == 10.0


def test_the_spread_is_over_domains_not_over_episodes_or_peers():
    values = [[[0.0, 20.0], [20.0, 40.0]], [[10.0, 10.0], [30.0, 30.0]]]
    score = measured(values).score
    assert (score.mean, score.spread) == (20.0, 10.0)
    assert [peer.mean for peer in measured(values).peers] == [20.0, 20.0]


def test_seeds_are_the_unit_however_many_peers_domains_and_copies_there_are():
    runs = [
        run_of([[[1.0], [3.0]], [[1.0], [3.0]]], seed=0),
        run_of([[[4.0], [4.0]]], seed=1),
        run_of([[[8.0], [8.0]]], seed=1),
    ]
    (score,) = score_methods(runs)
    assert score.seeds == (0, 1)
    assert score.mean == 4.0
    assert score.mean_ci == mean_interval([2.0, 6.0])


def test_runs_with_other_settings_are_not_pooled_and_are_told_apart():
    runs = [run_of([[[1.0]]], seed, eps_tr=eps, K=1) for seed in (0, 1) for eps in (0.2, 0.5)]
    scores = score_methods(runs)
    assert [(s.label, s.seeds) for s in scores] == [
        ("ppo eps_tr 0.2", (0, 1)), ("ppo eps_tr 0.5", (0, 1)),
    ]  # fmt: skip


def test_settings_that_agree_to_six_digits_are_told_apart():
    rates = (0.31622776, 0.316228)
    scores = score_methods(run_of([[[1.0]]], learning_rate=rate) for rate in rates)
    assert [s.label for s in scores] == [f"ppo learning_rate {rate}" for rate in rates]


def test_a_run_that_was_stopped_is_no_seed_of_one_that_was_not(tmp_path):
    runs = [make_run(tmp_path / str(seed), seed=seed, num_peers=1) for seed in (0, 1)]
    meta = {"method": "p2pdrl", "seed": 1, "peer": 0, "iterations": 3}
    stopped = make_policy(key=100, **meta)
    (runs[1] / "policies" / "peer-0.safetensors").write_bytes(stopped.to_bytes())
    labels = [score.label for score in p2p.evaluate(runs, **SMALL).methods]
    assert labels == ["p2pdrl steps 40960", "p2pdrl steps 12288"]


def test_one_domain_is_a_set_of_its_own():
    one = single_set(Domain(wind=1.0))
    assert (one.eps, one.domains, one.axes) == (None, (Domain(wind=1.0),), ())
