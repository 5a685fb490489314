"""The scripts in `benchmarks/`: how they count, not how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import against
import pytest
import rivals
from click.testing import CliRunner
from rivals import NEEDS, RIVALS, check_installed, rate, setups

from p2p.bench import load_results
from p2p.bench.training import Trained
from p2p.errors import UsageError

FOLDER = Path(rivals.__file__).parent

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

    from p2p.config import build_config

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
from p2p.simulator import load_model

def step(order):
    model = load_model("hopper.xml")
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
