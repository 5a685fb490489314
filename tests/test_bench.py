"""What `p2p bench` measures and how it counts; how fast anything is, is not tested."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from click.testing import CliRunner
from made import METHODS, TASKS, make_policy, make_run

from p2p.analysis.evaluation.domain_sets import single_set
from p2p.analysis.evaluation.session import evaluate
from p2p.analysis.evaluation.worker import episode_stream
from p2p.bench import PARTS, Measurement, Results, Settings, Spread, load_results, scaling, training
from p2p.bench.arithmetic import limit, peak_rate, products_a_step
from p2p.bench.bare_loop import BareLoop, Script, bare_episodes, record_episode, record_script
from p2p.bench.engine import stepping
from p2p.bench.evaluation import measure_evaluation
from p2p.bench.exchange import cost, work_and_exchange
from p2p.bench.measure import Candidate, alternate, compare
from p2p.bench.methods import COMPARED, dnc_with_distillation, measure_methods
from p2p.bench.physics import GYMNASIUM_IDS, gymnasium_loop, play, timed
from p2p.bench.processes import run_together
from p2p.bench.scaling import measure_scaling
from p2p.bench.suite import extremes
from p2p.bench.training import Trained, measure_envs, private_memory, summarise
from p2p.cli.bench import bench
from p2p.cli.bench_tables import TITLES, markdown, sheets
from p2p.cli.options import given_on_command_line
from p2p.cli.train import train
from p2p.core.config import build_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.build import bind
from p2p.envs.domain import Domain
from p2p.envs.vector import RandomisedEnvs
from p2p.exchange.shared_memory import Arena, SharedExchange

COMMITTED = sorted((Path(__file__).parents[1] / "data" / "results").glob("bench*.json"))
ELSEWHERE = Domain(wind=3.0, friction=0.8, mass=1.3, gravity=0.9, initial_position=0.05)

approx = pytest.approx


def measured(name: str, *values: float, unit: str = "steps/s") -> Measurement:
    return Measurement("train", "hopper", name, unit, "all of it", values)


def results(*found: Measurement) -> Results:
    return Results(found, {"cpu": "abacus", "cpus": 2, "load": 0.1}, {"rounds": 3})


# Arithmetic ------------------------------------------------------------------


def test_a_ratio_is_the_median_of_ratios_within_a_round():
    """1/1, 10/5, 30/100: median 1; the medians' own ratio, 10/5, would be 2."""
    ratio = measured("ours", 1, 10, 30).over(measured("bare", 1, 5, 100)).ratio
    assert ratio == Spread(approx(0.3), approx(1.0), approx(2.0))


def test_measures_take_turns():
    """A B A B: each candidate once a round, so that a slow minute slows both."""
    calls: list[str] = []

    def measure(name: str) -> Any:
        return lambda: calls.append(name) or float(len(calls))

    values = alternate([measure("A"), measure("B")], 3, lambda turn: None)
    assert "".join(calls) == "ABABAB"
    assert values == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


def test_each_candidate_is_compared_with_its_own_baseline():
    """Two baselines in one comparison: neither is taken for the other."""
    candidates = [
        Candidate("one", lambda: 2.0, "x"),
        Candidate("two", lambda: 5.0, "x"),
        Candidate("fast", lambda: 10.0, "x", "two"),
    ]
    *_, fast = compare("physics", "ant", "steps/s", candidates, 2, lambda text: None)
    assert (fast.baseline, fast.ratios) == ("two", (2.0, 2.0))


def test_an_exchange_costs_what_exceeds_the_slowest_peers_work():
    """2 turns of 3 and 1, then 1 and 3 ms; 8 ms of wall: 1 ms each is nobody's work."""
    own = np.array([[3e-3, 1e-3], [1e-3, 3e-3]])
    assert cost([8e-3, 7.9e-3], own, num_cores=2) == approx(1000.0)


def test_more_peers_than_cores_are_not_blamed_on_the_exchange():
    """4 ms of work on each of 4 peers takes 8 ms on 2 cores, however they meet."""
    assert cost([9e-3] * 4, np.full((4, 1), 4e-3), num_cores=2) == approx(1000.0)


def record(iteration: int, seconds: float, waiting: float) -> dict[str, Any]:
    time = {"physics": 1.0, "policy": 0.5, "update": 1.5, "waiting": waiting}
    return {"steps": 4096 * (iteration + 1), "seconds": seconds, "peers": [{"time": time}] * 2}


def test_training_is_timed_after_its_first_iteration():
    """Start-up and the first iteration's 90 s count nowhere but in the start-up."""
    records = [record(0, 90.0, 0.0), record(1, 4.0, 1.0), record(2, 4.0, 1.0)]
    found = summarise(records, 5.0, 40.0, Path("policy"))
    assert found.steps_per_second == 4096 / 4
    assert found.waiting == approx(1 / 4)  # 1 of 4 s
    assert found.startup == approx(5.0 - 3.0)  # less what the first iteration's phases took


# The same physics --------------------------------------------------------------


def final_states(script: Script) -> tuple[Any, Any]:
    """Return the physics at the script's end, by the bare loop and by our envs."""
    loop = BareLoop(script)
    loop.run()
    envs = RandomisedEnvs(script.task, script.action.shape[1])
    envs.set_domains([script.domain])
    play(envs, script)
    return loop.final, envs.state()["physics"]


@pytest.mark.parametrize("task", TASKS)
def test_the_bare_loop_does_the_same_physics_as_our_envs(task):
    """Equal final states to the last bit, over resets, in a domain with everything shifted."""
    script = record_script(task, 3, 60, seed=1, domain=ELSEWHERE)
    bare, ours = final_states(script)
    np.testing.assert_array_equal(bare, ours)


def test_scripts_hold_resets():
    """Random actions fell Hopper several times; its episodes tile the script's steps."""
    script = record_script("hopper", 2, 120, seed=0)
    for episodes in script.episodes:
        assert len(episodes) > 2
        assert (episodes[0].first, episodes[-1].last) == (0, 120)
        assert all(a.last == b.first for a, b in pairwise(episodes))
    assert script.steps == 240


def test_the_gymnasium_loop_does_the_same_physics(monkeypatch):
    """Its env ends where the bare loop ends, resets and all."""
    script = record_script("hopper", 1, 120, seed=3)
    made: list[Any] = []
    make = gymnasium.make
    monkeypatch.setattr(gymnasium, "make", lambda name: made.append(make(name)) or made[-1])
    gymnasium_loop(script)()
    loop = BareLoop(script)
    loop.run()
    data = made[0].unwrapped.data
    np.testing.assert_array_equal(data.qpos, loop.data.qpos)
    np.testing.assert_array_equal(data.qvel, loop.data.qvel)
    made[0].close()


def test_what_runs_with_mujoco_as_it_comes_fills_its_timers():
    """`MjData.timer` grows within, and no longer after, whatever was raised."""
    loop = BareLoop(record_script("hopper", 1, 20, seed=0))

    def seconds() -> float:
        return float(loop.data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration)

    def run_and_fail() -> float:
        loop.run()
        raise KeyError

    loop.run()
    assert seconds() == 0
    with pytest.raises(KeyError):
        timed(run_and_fail)()
    assert seconds() > 0
    loop.run()  # begins with a reset
    assert seconds() == 0


def test_a_playback_can_be_repeated():
    """Every round measures the same steps."""
    script = record_script("walker2d", 2, 40, seed=0)
    loop = BareLoop(script)
    loop.run()
    first = loop.final.copy()
    loop.run()
    np.testing.assert_array_equal(loop.final, first)


def test_a_policy_acts_where_one_is_given():
    """Its actions differ from random ones, and are the same for the same seed."""
    policy = make_policy("hopper")
    first, again = (record_script("hopper", 1, 20, 5, policy).action for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, record_script("hopper", 1, 20, 5).action)


# What is measured ----------------------------------------------------------------


def test_the_methods_compared_are_all_that_take_two_peers():
    """Each by flags that `p2p train` takes, no two alike."""
    parsed = [given_on_command_line(train.make_context("train", [*f])) for f in COMPARED.values()]
    configs = [build_config(**given) for given in parsed]
    assert {c.method for c in configs} == {n for n, m in METHODS.items() if m.peers[1] > 1}
    assert {c.get("sync") for c in configs if c.method == "p2pdrl"} == {
        "minibatch",
        "epoch",
        "iteration",
    }
    assert len(set(configs)) == len(configs)


def test_a_distillation_is_spread_over_the_iterations_between_two():
    """50 iterations of 1 s and a distillation of 10 s: 60 s for 50 iterations' steps."""
    dnc, base = measured("dnc", 4096.0), measured("p2pdrl", 4096.0)
    cost, whole = dnc_with_distillation(dnc, (10.0,), base)
    assert (cost.values, cost.unit) == ((10.0,), "s")
    assert whole.ratios == (approx(5 / 6),)


def test_an_evaluation_is_measured_beside_the_same_policys_steps(tmp_path):
    """Both count all steps of their episodes; the ratio is of one round."""
    policy = tmp_path / "policy.safetensors"
    policy.write_bytes(make_policy("hopper").to_bytes())
    settings = replace(Settings(tasks=("hopper",), rounds=2).quick(), runs={"hopper": policy})
    ours, bare = measure_evaluation(settings, "hopper", tmp_path / "run", lambda text: None)
    assert (ours.name, ours.baseline) == ("p2p eval", bare.name)
    assert ours.ratios == tuple(a / b for a, b in zip(ours.values, bare.values, strict=True))
    assert not (tmp_path / "run").exists()  # no policy had to be trained


NOMINAL = bind("hopper").check(Domain())


def test_a_measuring_process_that_fails_ends_the_measurement(tmp_path):
    """The second of two has no episode to play, while the first waits to start with it."""
    policy = tmp_path / "policy.safetensors"
    policy.write_bytes(make_policy("hopper").to_bytes())
    with pytest.raises(RuntimeError, match="IndexError"):
        run_together(bare_episodes, [(policy, single_set(NOMINAL), 0)] * 2)


def test_an_evaluation_of_fewer_domains_than_cores_is_measured(tmp_path, monkeypatch):
    """On a machine with more cores the rest of them have nothing to do."""
    monkeypatch.setattr("p2p.bench.evaluation.cores", lambda: 3)
    policy = tmp_path / "policy.safetensors"
    policy.write_bytes(make_policy("hopper").to_bytes())
    few = Settings(rounds=1, runs={"hopper": policy}, eval_domains=2)
    _, bare = measure_evaluation(few, "hopper", tmp_path / "run", lambda text: None)
    assert bare.name == "bare mj_step, 2 processes"


def test_the_limit_of_an_evaluation_is_of_the_same_episodes():
    """Each has the length that `p2p eval` finds, and the same last step's physics as our envs."""
    policy = make_policy("walker2d")
    found = evaluate(policy, 0.5, domains=3, workers=1, save=False)
    tested = found.runs[0].measured[0]
    for d, (domain, start) in enumerate(zip(tested.set.domains, tested.set.starts, strict=True)):
        script = record_episode(policy, domain, episode_stream(0, start, 0))
        assert script.steps == tested.length[0, d, 0]
        loop = BareLoop(script)
        loop.run()
        envs = RandomisedEnvs("walker2d", 1)
        envs.set_domains([domain])
        envs.reset([episode_stream(0, start, 0)])
        for action in script.action[:-1]:
            envs.step(action)
        envs.advance(script.action[-1])  # no restart
        np.testing.assert_array_equal(loop.final, envs.state()["physics"])


def test_a_policy_that_is_evaluated_is_trained_first(tmp_path, monkeypatch):
    """One iteration is not timed: as many as the note says in all."""
    policy, timed = tmp_path / "policy.safetensors", []
    policy.write_bytes(make_policy("hopper").to_bytes())

    def train_once(task, folder, iterations):
        timed.append(iterations)
        return Trained(1.0, 0.0, 0.0, 1.0, (1.0,), policy)

    monkeypatch.setattr("p2p.bench.evaluation.train_once", train_once)
    settings = replace(Settings(rounds=1).quick(), eval_iterations=7)
    ours, _ = measure_evaluation(settings, "hopper", tmp_path / "run", lambda text: None)
    assert timed == [6]
    assert "trained for 7 iterations" in ours.includes


def test_envs_are_counted_for_each_peer(tmp_path, monkeypatch):
    """Speeds are compared with those of two envs; the rest of what a run shows stands beside."""

    def train_once(task, folder, iterations, num_peers, seed, flags):
        assert num_peers == 2
        N = int(flags[flags.index("--envs-per-peer") + 1])
        return Trained(100.0 * N + seed, 0.1 * N, 0.0, 1.0, (1.0,), Path("policy"))

    monkeypatch.setattr(training, "train_once", train_once)
    settings = replace(Settings(rounds=2), envs_per_peer=(1, 2))
    found = measure_envs(settings, "hopper", tmp_path, lambda text: None)
    one, two, waiting, _ = found[:4]
    assert (one.name, one.values, one.baseline) == ("N=1", (100.0, 101.0), "N=2")
    assert one.ratios == (0.5, approx(101 / 201))
    assert two.ratios == (1.0, 1.0)
    assert (waiting.name, waiting.values) == ("N=1", (0.1, 0.1))


def test_peers_and_threads_are_measured_beside_as_many_bare_loops(tmp_path, monkeypatch):
    """On four cores: two peers of two threads beside four loops; 2048 a peer is 4096 for two."""
    given: list[tuple[Any, ...]] = []

    def train_once(task, folder, iterations, num_peers, seed, flags, *, threads, steps):
        envs = int(flags[flags.index("--envs-per-peer") + 1])
        given.append((num_peers, threads, envs, steps, iterations))
        return Trained(30.0 * num_peers * threads, 0.1, 0.0, 1.0, (1.0,), Path("policy"))

    monkeypatch.setattr(scaling, "train_once", train_once)
    monkeypatch.setattr(scaling, "cores", lambda: 4)
    monkeypatch.setattr(scaling, "bare_on_cores", lambda num, *_: 40.0 * num)
    settings = replace(Settings(rounds=1), num_peers=(1, 2, 8), iterations=8)
    found = measure_scaling(settings, "hopper", tmp_path, lambda text: None)
    assert given == [
        (1, 1, 2, 4096, 8), (1, 4, 4, 4096, 8), (2, 1, 2, 4096, 8), (2, 2, 2, 4096, 8),
        (8, 1, 2, 4096, 8), (1, 1, 2, 2048, 16), (1, 4, 4, 2048, 16), (8, 1, 2, 16384, 2),
    ]  # fmt: skip
    speeds = {m.name: m for m in found if m.unit == "steps/s"}
    two = speeds["K=2, T=2, 4096 in all"]
    assert (two.baseline, two.ratios) == ("bare mj_step, 4 processes", (0.75,))
    assert speeds["K=1, T=1, 2048 each"].baseline == "bare mj_step, 1 process"
    assert all(scaling.Setup.parse(m.name) for m in found if m.ratios)


def test_parts_of_two_tasks_take_those_that_observe_least_and_most():
    """Of all five Hopper (11 numbers) and Humanoid (348), in whatever order they are named."""
    assert extremes(sorted(TASKS)) == extremes(sorted(TASKS)[::-1]) == ("hopper", "humanoid")
    assert extremes(["ant"]) == ("ant",)


def test_the_limit_counts_physics_and_the_products_of_the_updates():
    """An actor and a critic of 64 x 64 on Hopper, ten epochs, beside one other peer's actor."""
    config = build_config(task="hopper", num_peers=2)
    actor, critic = (64 * (11 + 64 + outputs) for outputs in (3, 1))
    inputs = (64 * (64 + 3), 64 * (64 + 1))  # gradients by the layers' inputs, not by obs
    assert products_a_step(config, 11, 3) == 20 * (
        2 * actor + inputs[0] + 2 * critic + inputs[1] + actor
    )
    assert limit(bare=100.0, peak=1e-9, products=0.0, num=2) == 100.0
    assert limit(bare=100.0, peak=1.0, products=2e7, num=2) == approx(2 / (2 / 100 + 0.02))


def test_the_peak_of_products_counts_two_operations_a_multiply_add(monkeypatch):
    """200 products [64, 512] x [512, 64] in what the clock calls a second: 0.84 GFLOP/s."""
    ticks = itertools.count()
    monkeypatch.setattr("p2p.bench.arithmetic.time.perf_counter", lambda: float(next(ticks)))
    assert peak_rate(SharedExchange(Arena(1, 64), 0)) == approx(200 * 2 * 64 * 512 * 64 / 1e9)


def test_dncs_distillation_is_measured_apart(tmp_path, monkeypatch):
    """Real runs: it takes a while, and the speed beside P2PDRL's is the one without it."""
    kept = {name: COMPARED[name] for name in ("p2pdrl", "dnc")}
    monkeypatch.setattr("p2p.bench.methods.COMPARED", kept)
    settings = Settings(tasks=("hopper",), rounds=1).quick()
    found = measure_methods(settings, "hopper", tmp_path / "run", lambda text: None)
    base, without, cost, whole = found
    assert (base.ratios, whole.baseline) == ((1.0,), "p2pdrl")
    assert cost.spread.median > 0
    assert whole.values < without.values


def test_both_engines_take_the_steps_asked_for():
    """A time is that of one step, whatever the number of steps."""
    for engine in ("fused", "autograd"):
        assert 0 < stepping(engine, "hopper", 2)() < 1e7


def test_work_between_exchanges_is_at_least_what_was_asked(monkeypatch):
    """Each turn's CPU seconds are returned, one a turn."""
    turns: list[int] = []
    wall, own = work_and_exchange(lambda vector: turns.append(1), 3, 1e-3)  # type: ignore[arg-type]
    assert own.shape == (3,)
    assert (own >= 1e-3).all()
    assert wall >= own.sum() * 0.99
    assert len(turns) == 4  # the first starts the clock


def test_a_process_without_peers_has_no_private_memory():
    """A run that ended before it was looked at: 0, not an error."""
    assert private_memory(2**22 + 1) == 0.0


def test_gymnasium_knows_all_tasks():
    assert set(GYMNASIUM_IDS) == set(TASKS)
    assert all(name in gymnasium.registry for name in GYMNASIUM_IDS.values())


@pytest.mark.parametrize("wrong", [{"parts": ("fisics",)}, {"tasks": ("hoper",)}, {"rounds": 0}])
def test_settings_that_measure_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        Settings(**wrong)


# What is shown ---------------------------------------------------------------------


def test_results_survive_their_file(tmp_path):
    """Committed data give the tables that the measurement gave."""
    bare = measured("bare", 10.0, 12.0, 11.0)
    found = results(measured("ours", 6.0, 7.0, 8.0).over(bare), bare)
    found.save(tmp_path / "bench.json")
    again = load_results(tmp_path / "bench.json")
    assert again == Results(list(found.measurements), found.machine, found.settings)
    assert markdown(again) == markdown(found)


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_committed_results_can_be_shown(file):
    """Those of other trainers too, which benchmarks/against.py measures."""
    found = load_results(file)
    assert found.measurements
    assert {m.part for m in found.measurements} <= set(TITLES)


def test_json_says_what_each_number_includes(tmp_path):
    """Every measurement has its values, spread, unit, and what it includes."""
    row = results(measured("ours", 3.0, 1.0, 2.0)).to_dict()["measurements"][0]
    assert (row["low"], row["median"], row["high"]) == (1.0, 2.0, 3.0)
    assert (row["unit"], row["includes"], row["ratio"]) == ("steps/s", "all of it", None)
    json.dumps(row, allow_nan=False)


def test_a_file_of_something_else_is_refused(tmp_path):
    for text in ("{}", "[]", "no json", '{"format": "p2p-bench-0"}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BadArtefact, match=r"x\.json"):
            load_results(tmp_path / "x.json")


def test_every_part_has_a_table():
    """A part without one would be measured and not shown."""
    for part in PARTS:
        found = results(measured("ours", 1.0)._replace(part=part))
        assert len(list(sheets(found))) == 1


def test_markdown_shows_ratio_range_and_note():
    """Median, range, ratio and its range, and the note that its last column points to."""
    bare = measured("bare", 1000.0, 2000.0, 4000.0)
    text = markdown(results(measured("ours", 500.0, 1000.0, 1000.0).over(bare)))
    row = "| hopper | ours | 1,000 | 500 - 1,000 | steps/s | 0.50 | 0.25 - 0.50 | bare | 1 |"
    assert row in text
    assert "1. all of it" in text


def test_the_command_measures_and_saves(tmp_path):
    """One short round of physics, end to end; the same tables come from the file."""
    file = tmp_path / "bench.json"
    options = ["--quick", "--only", "physics", "--tasks", "Hopper-v5", "--save", str(file)]
    done = CliRunner().invoke(bench, [*options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found == json.loads(file.read_text())
    names = [m["name"] for m in found["measurements"]]
    assert "p2p envs, N=16" in names
    assert all(m["includes"] for m in found["measurements"])
    again = CliRunner().invoke(bench, ["--from", str(file), "--markdown"], catch_exceptions=False)
    assert again.stdout.startswith(found["machine"]["cpu"])
    assert all(name in again.stdout for name in names)


def test_a_short_round_may_time_more_iterations(monkeypatch):
    """What is named counts, --quick or not."""
    asked: list[Settings] = []

    def run(settings: Settings, tell: Any) -> Results:
        asked.append(settings)
        return results(measured("ours", 1.0))

    monkeypatch.setattr("p2p.bench.run_bench", run)
    CliRunner().invoke(bench, ["--quick", "--iterations", "3"], catch_exceptions=False)
    CliRunner().invoke(bench, [], catch_exceptions=False)
    assert [settings.iterations for settings in asked] == [3, Settings.iterations]


@pytest.mark.parametrize(
    "args",
    ["--only train", "--tasks ant", "--rounds 2", "--iterations 2", "--run .", "--quick"],
)
def test_saved_results_are_shown_with_no_option_of_measuring(tmp_path, args):
    """It would do nothing."""
    file = tmp_path / "bench.json"
    results(measured("ours", 1.0)).save(file)
    options = ["--from", str(file), *args.split()]
    with pytest.raises(UsageError, match=f"^{args.split()[0]} has no effect with --from"):
        CliRunner().invoke(bench, options, catch_exceptions=False, standalone_mode=False)


def test_two_runs_of_one_task_are_refused(tmp_path, monkeypatch):
    """One policy acts on a task."""
    monkeypatch.setattr("p2p.bench.run_bench", lambda *_: pytest.fail("measured first"))
    paths = [str(make_run(tmp_path / name)) for name in "ab"]
    options = [part for path in paths for part in ("--run", path)]
    with pytest.raises(UsageError, match=f"^--run {paths[1]}: another --run is of hopper too"):
        CliRunner().invoke(bench, options, catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--only exchange,scaling", "^no run's policy acts in exchange, scaling; it does in"),
        (
            "--tasks ant,humanoid",
            r"peer-0\.safetensors acts on hopper; measured are ant, humanoid$",
        ),
    ],
)
def test_a_run_that_would_not_act_is_refused(tmp_path, monkeypatch, args, said):
    monkeypatch.setattr("p2p.bench.run_bench", lambda *_: pytest.fail("measured first"))
    options = ["--run", str(make_run(tmp_path / "run")), *args.split()]
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(bench, options, catch_exceptions=False, standalone_mode=False)


def test_options_that_contradict_are_refused():
    options = ["--json", "--markdown"]
    with pytest.raises(UsageError):
        CliRunner().invoke(bench, options, catch_exceptions=False, standalone_mode=False)


def test_a_plot_that_cannot_be_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    """A benchmark takes an hour."""
    monkeypatch.setattr("p2p.bench.run_bench", lambda *_: pytest.fail("measured first"))
    options = ["--plot", str(tmp_path / "bench.png")]
    extra = {"catch_exceptions": False, "standalone_mode": False}
    with pytest.raises(UsageError, match=r"--plot draws parts train, .*; measure one of them"):
        CliRunner().invoke(bench, [*options, "--only", "exchange"], **extra)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="figures need matplotlib"):
        CliRunner().invoke(bench, options, **extra)


def test_what_was_measured_is_shown_before_it_is_drawn(tmp_path, monkeypatch):
    """What goes wrong in drawing must not take the table with it."""
    file = tmp_path / "bench.json"
    results(measured("ours", 1.0)).save(file)  # of which nothing can be drawn: it has no ratio
    done = CliRunner().invoke(bench, ["--from", str(file), "--plot", str(tmp_path / "bench.png")])
    assert isinstance(done.exception, UsageError)
    assert "ours" in done.stdout
