"""`p2p grad-variance` and `p2p.grad_variance`: a run's milestones, kept, shown and drawn."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from made import forbid_writing, make_run
from plain import trained

import p2p
from p2p.analysis.gradient_variance.config import GradVarianceConfig
from p2p.analysis.gradient_variance.file import QUANTITIES
from p2p.analysis.gradient_variance.results import GradVariance, MeasuredRun
from p2p.cli import main
from p2p.cli.text.chart import MARKERS, Series, chart
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact
from p2p.runs import RunFolder

QUICK = {"steps": 192, "minibatches": 12}
FLAGS = ("--steps", 192, "--minibatches", 12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three iterations that looked at its gradient in the first and third."""
    path = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(
        total_steps=3 * 768, steps_per_iteration=768, num_minibatches=4, hidden_sizes=(8, 8),
        final_episodes=0, milestones=3, grad_variance_every=2,
    )  # fmt: skip
    trained(config, path)
    return path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def command(*args: Any) -> Result:
    return CliRunner().invoke(main.p2p, ["grad-variance", *map(str, args)])


def test_milestones_show_what_training_recorded_whatever_the_workers(run):
    """Equal states, equal numbers: a checkpoint has all that the measurement depends on."""
    one, two = (p2p.grad_variance(run, save=False, workers=n) for n in (1, 2))
    (first,), (second,) = one.runs, two.runs
    np.testing.assert_array_equal(first.values, second.values)
    assert (first.iterations, first.steps) == ((0, 1, 2, 3), (0, 768, 1536, 2304))
    for record in RunFolder.open(run).records()[::2]:
        for rank, peer in enumerate(record["peers"]):
            row = first.values[record["iteration"], rank]
            assert [peer["grad_variance"][name] for name in QUANTITIES] == row.tolist()


def test_run_h5_has_what_training_recorded(whole):
    RunFolder.open(whole).write_h5()
    with h5py.File(whole / "run.h5") as file:
        dataset = file["peers/grad_variance/log_variance"]
        assert np.isfinite(dataset[:]).tolist() == [[True, True], [False, False], [True, True]]
        assert dataset.attrs["units"] == "1"
        assert file["peers/grad_variance/seconds"].attrs["units"] == "s"


def test_what_is_kept_is_not_measured_again(run, tmp_path):
    last = RunFolder.open(run).milestones()[-1]
    last.rename(tmp_path / last.name)
    early = p2p.grad_variance(run, **QUICK)
    (tmp_path / last.name).rename(last)
    late = p2p.grad_variance(run, **QUICK)
    assert (early.measured, early.reused, late.measured, late.reused) == (3, 0, 1, 3)
    np.testing.assert_array_equal(early.runs[0].values, late.runs[0].values[:3])
    fresh = p2p.grad_variance(run, save=False, **QUICK)
    np.testing.assert_array_equal(fresh.runs[0].values, late.runs[0].values)
    other = p2p.grad_variance(run, steps=192, minibatches=6)
    assert (other.measured, other.reused) == (4, 0)


def test_the_file_holds_columns(run):
    found = p2p.grad_variance(run, **QUICK)
    with h5py.File(run / "grad-variance.h5") as file:
        assert file["iteration"][:].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert sorted(file["trace"][:]) == sorted(found.runs[0].of("trace").ravel())
        assert file.attrs["parameters"] == found.runs[0].parameters == 198
        assert json.loads(file["conditions"].asstr()[0])["minibatches"] == 12


def test_a_damaged_file_and_a_damaged_milestone_are_named(run):
    (run / "grad-variance.h5").write_bytes(b"junk")
    with pytest.raises(BadArtefact, match="move it out of the way to measure anew"):
        p2p.grad_variance(run, **QUICK)
    path = RunFolder.open(run).milestones()[1]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadArtefact, match=r"iteration-00000001.safetensors is truncated"):
        p2p.grad_variance(run, save=False, **QUICK)


def made(seed: int, *log_variances: float, method: str = "ppo") -> MeasuredRun:
    """Return a run of one checkpoint whose peers have these."""
    values = np.ones((1, len(log_variances), len(QUANTITIES)))
    values[0, :, 0] = log_variances
    return MeasuredRun("r", "hopper", method, seed, {"eps_tr": 0.2}, 9, (0,), (0,), values)


def test_seeds_are_the_unit_however_many_peers_and_copies_there_are():
    """Seeds 0 and 1 have means 2 and (4 + 8) / 2; t(0.975, 1) = 12.7062, halved range 2."""
    runs = (made(0, 1.0, 3.0), made(1, 4.0), made(1, 8.0), made(0, 5.0, method="dppo"))
    ours, other = GradVariance(GradVarianceConfig(), runs, 0, 0, 0.0, 0).curves
    (point,) = ours.points
    assert (point.seeds, point.mean["log_variance"]) == ((0, 1), 4.0)
    assert point.ci["log_variance"] == pytest.approx((4 - 25.4124, 4 + 25.4124), abs=1e-3)
    assert (other.label, other.points[0].ci["log_variance"]) == ("dppo", None)


def test_a_gradient_that_is_not_finite_has_no_interval_and_is_shown():
    """As at a milestone of a run that is about to diverge."""
    runs = (made(0, math.nan), made(1, 2.0))
    (curve,) = GradVariance(GradVarianceConfig(), runs, 0, 0, 0.0, 0).curves
    assert math.isnan(curve.points[0].mean["log_variance"])
    assert curve.points[0].ci["log_variance"] is None


def test_one_run_is_a_row_a_checkpoint_and_a_chart(run):
    pytest.importorskip("matplotlib")
    result = command(run, *FLAGS)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stderr
    assert lines[0] == "hopper, p2pdrl, 2 peers, eps_tr 0.2, seed 0"
    assert lines[4].split("  ")[0] == "iteration"
    assert lines[4].endswith("ln Var  PPO part  trace    SNR  peer 0  peer 1")
    first, *_ = p2p.grad_variance(run, **QUICK).runs[0].of("log_variance").tolist()
    assert lines[5].split()[2] == f"{np.mean(first):.3f}"
    assert lines[5].split()[-2:] == [f"{value:.3f}" for value in first]
    assert lines[-1] == f"figure: {run / 'grad-variance.png'}"
    assert (run / "grad-variance.png").read_bytes().startswith(b"\x89PNG")
    assert result.stdout.isascii()
    assert max(len(line) for line in lines if str(run) not in line) <= 80


def test_several_runs_are_groups(run, tmp_path):
    """A copy is the same seed again, so there is one seed, and no interval."""
    copy = shutil.copytree(run, tmp_path / "copy")
    lines = command(run, copy, *FLAGS).stdout.splitlines()
    assert lines[2].split()[:3] == ["method", "steps", "seeds"]
    assert [line.split()[:3] for line in lines[3:7]] == [
        ["p2pdrl", steps, "1"] for steps in ("0", "768", "1,536", "2,304")
    ]
    assert not (run / "grad-variance.png").exists()


def test_json_is_one_object(run):
    found = json.loads(command(run, *FLAGS, "--json", "--no-save").stdout)
    assert found["config"] == QUICK
    assert [len(one["peers"]) for one in found["runs"][0]["checkpoints"]] == [2] * 4
    assert found["methods"][0]["points"][0]["ci"]["log_variance"] is None
    assert not (run / "grad-variance.h5").exists()


def test_among_several_a_folder_that_is_no_run_is_left_out(run, tmp_path):
    (tmp_path / "logs").mkdir()
    result = command(run, tmp_path / "logs", *FLAGS, "--json")
    assert [one["path"] for one in json.loads(result.stdout)["runs"]] == [str(run)]
    assert "logs" not in result.stderr


def test_without_matplotlib_the_numbers_are_shown_all_the_same(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = command(run, *FLAGS)
    assert result.exit_code == 0
    assert result.stderr.startswith("note: figures need matplotlib; install it with")
    asked = command(run, *FLAGS, "--figure", run / "f.png")
    assert (asked.exit_code, asked.stderr.splitlines()) == (
        2, ["error: figures need matplotlib; install it with: pip install 'p2pdrl[figures]'"],
    )  # fmt: skip


def test_of_a_run_that_may_only_be_read_all_is_shown_but_the_picture(run, monkeypatch):
    """One that was asked for is an error, told last."""
    pytest.importorskip("matplotlib")
    p2p.grad_variance(run, **QUICK)
    forbid_writing(monkeypatch, run)
    result = command(run, *FLAGS)
    assert (result.exit_code, len(result.stdout.splitlines()) > 9) == (0, True)
    assert result.stderr == (
        f"note: cannot write figure {run / 'grad-variance.png'}: permission denied; "
        "name another with --figure\n"
    )
    asked = command(run, *FLAGS, "--figure", run / "f.png")
    assert (asked.exit_code, asked.stdout) == (6, result.stdout)
    assert asked.stderr.startswith(f"error: cannot write figure {run / 'f.png'}: permission denied")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("--steps 100", 2, "--steps=100 does not split into --minibatches=64 of two samples or"),
        ("--minibatches 1", 2, "--minibatches=1: input should be greater than or equal to 2"),
        ("--workers 0", 2, "Invalid value for '--workers': 0 is not in the range"),
        ("", 5, "has no milestones to measure at"),
        ("nowhere", 5, "nowhere is not a run folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path, args, code, message):
    made_run = make_run(tmp_path / "run")
    result = command(made_run, *args.split())
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (code, "")
    assert line.startswith("error: ")
    assert message in line


def test_a_chart_puts_points_where_they_are():
    up, down = Series("up", [(0, 0.0), (10, 1.0)]), Series("down", [(0, 1.0), (10, 0.0)])
    lines = [line.plain for line in chart([up, down], 60, 9, braille=False)]
    first, *_, last = (line[10:] for line in lines[:9])
    assert (first[0], first[-1], last[0], last[-1]) == (
        MARKERS[1], MARKERS[0], MARKERS[0], MARKERS[1],
    )  # fmt: skip
    assert lines[0].startswith("    1.00 |")
    assert lines[8].startswith("       0 |") or lines[8].startswith("    0.00 |")
    assert lines[-1].split() == ["o", "up", "x", "down"]
    assert max(map(len, lines)) <= 60
    drawn = chart([up, down], 60, 9)
    assert any(0x2800 < ord(glyph) < 0x2900 for line in drawn for glyph in line.plain)


def test_a_chart_leaves_out_what_is_not_finite():
    assert chart([Series("a", [(0, math.nan)])], 60) == []
    flat = chart([Series("a", [(0, 1.0), (5, math.inf), (9, 1.0)])], 60, braille=False)
    assert sum(line.plain.count("o") for line in flat) == 3  # two points, and the legend
