"""The scripts in `benchmarks/`: how they count, not how fast or how well anything learns."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import against
import learning
import pytest
import rivals
from click.testing import CliRunner
from learning import Pool
from learning_runs import LAST, TASKS, Learned, Point, Run, all_runs, load, mean_return
from rivals import NEEDS, RIVALS, check_installed, rate, setups

from p2p.bench import load_results
from p2p.bench.training import Trained
from p2p.core.errors import UsageError

FOLDER = Path(rivals.__file__).parent

# Two nodes beside one machine ----------------------------------------------------

NODES = runpy.run_path(str(FOLDER / "nodes.py"))


def test_a_wires_ratio_is_the_median_of_those_within_a_round():
    """One machine drifts: 100 and 200 in two rounds, and the nodes with it."""

    def row(wire: str, *rates: float) -> dict[str, Any]:
        ratios = [rate / one for rate, one in zip(rates, (100.0, 200.0), strict=True)]
        return {"wire": wire, "task": "ant", "sync": "epoch", "rates": rates, "ratios": ratios}

    table = NODES["table"]([row("shared memory", 100.0, 200.0), row("10G", 90.0, 160.0)])
    assert table.splitlines()[-1] == "| Ant | `epoch` | 150 | 0.85 |"


def test_a_rate_leaves_out_the_first_iterations(tmp_path):
    seconds = [9.0, 9.0, 9.0, 1.0, 3.0]
    lines = [json.dumps({"seconds": one}) for one in seconds]
    (tmp_path / "journal.jsonl").write_text("\n".join(lines))
    assert NODES["rate"](tmp_path) == 4096 * 2 / 4.0


def test_the_docs_have_the_table_by_wire_of_its_data():
    data = FOLDER.parent / "data/results/by-wire.json"
    table = NODES["table"](json.loads(data.read_text())["rows"])
    assert table in (FOLDER.parent / "docs/performance.md").read_text()


# Speed beside other trainers ----------------------------------------------------


@pytest.mark.parametrize("rival", RIVALS)
def test_every_setup_of_a_rival_divides_an_iteration(rival):
    """4096 steps an iteration, whatever the number of its envs."""
    assert all(4096 % setup.num_envs == 0 for setup in setups(rival))


@pytest.mark.parametrize("rival", ["cleanrl", "envpool"])
def test_cleanrls_recipe_counts_the_iterations_asked_for(monkeypatch, rival):
    """One mark an iteration and one for the untimed first; a tiny batch stands in."""
    pytest.importorskip(NEEDS[rival])
    import cleanrl

    from p2p.core.config import build_config

    tiny = build_config(steps_per_iteration=128, num_epochs=1, num_minibatches=2)
    monkeypatch.setattr(cleanrl, "build_config", lambda: tiny)
    order = {"rival": rival, "task": "hopper", "iterations": 2, "seed": 0, "num_envs": 2}
    marks = cleanrl.train_cleanrl(order)
    assert len(marks) == 3
    assert marks == sorted(marks)


def test_a_rivals_failure_is_told(tmp_path, monkeypatch):
    """Its last line is the reason."""
    program = tmp_path / "fails.py"
    program.write_text("raise SystemExit('no such thing')")
    monkeypatch.setattr(rivals, "PROGRAM", str(program))
    with pytest.raises(Exception, match=r"sb3 failed on hopper \(1 envs.*no such thing"):
        rate("sb3", "hopper", setups("sb3")[0], 1)


def test_a_rival_runs_with_mujoco_as_it_comes():
    """Nobody but us stops its timers: a trainer's process has them on."""
    code = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
import mujoco
import rivals
import p2p
from p2p.envs.model import load_model

def step(order):
    model = load_model(p2p.task("hopper"))
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    return [data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration]

rivals.train_sb3 = step
rivals.main()
"""
    order = '{"rival": "sb3", "threads": 1}'
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, order], capture_output=True, text=True, check=True
    )
    (duration,) = json.loads(done.stdout)
    assert duration > 0


def test_a_missing_rival_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(NEEDS, "sb3", "no_such_pool")
    with pytest.raises(UsageError, match=r"sb3 needs no_such_pool.*--group bench"):
        check_installed(("sb3",))


@pytest.mark.parametrize("wrong", [{"rivals": ("tb3",)}, {"tasks": ("hoper",)}, {"rounds": 0}])
def test_settings_that_compare_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        against.Settings(**wrong)


def test_others_are_measured_in_turns_with_ours(tmp_path, monkeypatch):
    """Ratios are to ours of the same round; the file has them, and the setups tried."""
    speeds = iter([100.0, 200.0])

    def train_once(task: str, folder: Path, iterations: int, peers: int, seed: int) -> Trained:
        return Trained(next(speeds), 0.0, 0.0, 1.0, (1.0,), folder)

    def fake_rate(rival: str, task: str, setup: Any, iterations: int) -> float:
        return 50.0 if setup.num_envs == 16 else 10.0

    monkeypatch.setattr(against, "train_once", train_once)
    monkeypatch.setattr(against, "rate", fake_rate)
    monkeypatch.setattr(against, "check_installed", lambda rivals: None)
    file = tmp_path / "against.json"
    options = ["--rivals", "sb3", "--tasks", "hopper", "--rounds", "2", "-o", str(file)]
    done = CliRunner().invoke(against.main, options, catch_exceptions=False)
    assert done.exit_code == 0
    results = load_results(file)
    ours, sb3 = results.part("against")
    assert (ours.values, sb3.values) == ((100.0, 200.0), (50.0, 50.0))
    assert (sb3.baseline, sb3.ratios) == (ours.name, (0.5, 0.25))
    assert "16 envs in one process" in sb3.includes
    assert len(results.part("trials")) == len(setups("sb3"))
    assert "### Beside other trainers" in done.stdout


def test_a_file_that_cannot_be_written_is_refused_first(tmp_path):
    """A benchmark takes an hour."""
    done = CliRunner().invoke(against.main, ["-o", str(tmp_path / "no" / "such.json")])
    assert done.exit_code == 2
    assert "there is no folder" in done.stderr


# What PPO learns ------------------------------------------------------------------


def test_a_training_return_is_the_mean_over_episodes():
    """Iterations that end in (100, 300]: 1 episode of 7, 3 of 11, so 10; not 9, theirs apart."""
    points = [Point(100, 9, 0.0, 1.0), Point(200, 1, 7.0, 1.0), Point(300, 3, 11.0, 1.0)]
    assert mean_return(points, 100, 300) == (4, 10.0)
    assert mean_return(points, 300, 400)[0] == 0


def test_the_first_runs_cover_all_tasks():
    """Whoever stops early has whole seeds."""
    runs = all_runs(["sb3-"], seeds=2)
    assert [(run.task, run.seed) for run in runs[:6]] == [
        (task, seed) for seed in (0, 1) for task in TASKS
    ]


def test_the_table_compares_each_variant_with_sb3():
    """Means 11 and 15, both of variance 2 over two seeds: Welch's t is 4 / sqrt(2) at 2 degrees."""
    found = [
        Learned(Run(variant, "hopper", seed), [Point(LAST, 1, score, 1.0)], 1.0)
        for variant, scores in {"sb3": (10.0, 12.0), "p2p-carry": (14.0, 16.0)}.items()
        for seed, score in enumerate(scores)
    ]
    sb3, ours = [
        line.split(" | ") for line in list(learning.lines({x.run: x.last[1] for x in found}))[2:]
    ]
    assert sb3[2:4] == ["2", "11"]
    assert ours[2:6] == ["2", "15", "2 - 28", "+4"]  # 15 +- 12.706
    assert ours[6].startswith("-2 to +10")  # 4 +- 4.303 sqrt 2
    assert float(ours[7].rstrip(" |")) == pytest.approx(0.106, abs=1e-3)


def test_both_trainers_leave_curves_of_one_shape(tmp_path):
    """Two iterations of each, in processes of their own; what is there is not run again."""
    pytest.importorskip("stable_baselines3")
    options = ["--out", str(tmp_path), "--steps", "8192", "--seeds", "1"]
    only = ["--only", "sb3-hopper", "--only", "p2p-carry-hopper"]
    for text in ("2 runs to do", "0 runs to do"):
        done = CliRunner().invoke(learning.main, ["run", *options, *only], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert text in done.stdout
    found = load(tmp_path)
    assert [x.run.variant for x in found] == ["sb3", "p2p-carry"]
    assert all([p.steps for p in x.points] == [4096, 8192] for x in found)
    assert all(10 < x.last[1] < 100 for x in found)  # Hopper falls at once
    rows = tmp_path / "rows.csv"
    options = ["table", "--out", str(tmp_path), "--csv", str(rows)]
    done = CliRunner().invoke(learning.main, options, catch_exceptions=False)
    assert "| hopper | p2p-carry | 1 |" in done.stdout
    assert len(rows.read_text().splitlines()) == 3


def test_runs_stand_still_while_the_pause_file_is_there(tmp_path):
    """All processes of a run stop, and go on."""
    pool = Pool(tmp_path, 1)
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    pool.processes[Run("sb3", "hopper", 0)] = process

    def state() -> str:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]

    def becomes(wanted: str) -> bool:
        end = time.monotonic() + 10
        while state() != wanted and time.monotonic() < end:
            time.sleep(0.01)
        return state() == wanted

    try:
        pool.pause(True)
        assert becomes("T")
        pool.pause(False)
        assert becomes("S")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
