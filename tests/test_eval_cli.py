"""`p2p eval`: options, what it shows, and how it fails."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from made import forbid_writing, make_run

from p2p.analysis.evaluation.config import EvalConfig, build_eval_config
from p2p.analysis.evaluation.session import evaluate
from p2p.cli import main
from p2p.cli.eval import eval
from p2p.cli.eval_tables import heat_map
from p2p.cli.options import flags_in_messages
from p2p.cli.tables import VIRIDIS
from p2p.core.errors import UsageError
from p2p.envs.randomisation import table_1

HEAVY = ("torch", "numpy", "mujoco", "numba", "gymnasium", "rich", "h5py", "multiprocessing")


def p2p(*args: str | Path, **extra: Any) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args], **extra)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", num_peers=2)


@pytest.mark.parametrize("name", EvalConfig.model_fields)
def test_every_setting_is_an_option_with_the_fields_own_words(name: str) -> None:
    (option,) = (o for o in eval.params if o.name == name)
    assert getattr(option, "help", "") == EvalConfig.model_fields[name].description
    assert "--" + name.replace("_", "-") in option.opts


def test_a_run_is_shown_as_a_row_a_peer_and_their_mean(run: Path) -> None:
    result = p2p("eval", run, "--domains", 4)
    title, path, domains, _, head, *rows = result.stdout.splitlines()
    assert title == "hopper, p2pdrl, 2 peers, eps_tr 0.2, seed 0"
    assert path == str(run)
    assert domains == "4 test domains, seed 0, hash d2eb8989; 1 episode each, mean action"
    assert head.startswith("eps_te 0.5  return  spread  worst 10%  length  falls")
    assert [row[:7].strip() for row in rows[:3]] == ["peer 0", "peer 1", "mean"]
    means = [float(row.split()[-5]) for row in rows[:3]]
    assert means[2] == pytest.approx((means[0] + means[1]) / 2, abs=0.11)
    assert "no confidence interval" in result.stdout
    assert result.stdout.isascii()


def test_strengths_are_rows(run: Path) -> None:
    result = p2p("eval", run, "--domains", 2, "--eps-te", "0:0.4:0.2", "--eps-te", 1)
    rows = result.stdout.splitlines()[4:9]
    assert [row.split()[0] for row in rows] == ["eps_te", "0", "0.2", "0.4", "1"]
    assert rows[0].endswith("hash  peer 0  peer 1")


def test_several_seeds_get_an_interval_and_one_does_not(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(s), seed=s, method="ppo") for s in range(3)]
    lines = p2p("eval", *runs, "--domains", 2).stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("hopper  ppo"))
    assert row.split()[3] == "3"
    assert " to " in row
    assert "95% CI: Student's t over seeds" in "\n".join(lines)
    assert "95% CI: Student" not in p2p("eval", runs[0], "--domains", 2).stdout


def test_without_a_run_the_latest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no run under runs" in p2p("eval").stderr
    make_run(tmp_path / "runs" / "only")
    assert "runs/only" in p2p("eval", "--domains", 2).stdout.splitlines()


def test_json_is_one_object_with_all_that_was_found(run: Path) -> None:
    result = p2p("eval", run, "--domains", 3, "--json")
    found = json.loads(result.stdout)
    (one,) = found["runs"][0]["sets"]
    assert (one["eps_te"], len(one["domains"]), len(one["peers"])) == (0.5, 3, 2)
    assert len(one["domains"][0]["return_by_peer"]) == 2
    assert found["methods"][0]["mean_ci"] is None
    assert found["episodes"] == 6
    assert json.loads(p2p("eval", run, "--domains", 3, "--json").stdout)["reused"] == 6


def test_factors_are_columns(run: Path) -> None:
    pytest.importorskip("matplotlib")
    result = p2p("eval", run, "--by-factor", "--points", 3)
    head, *rows = result.stdout.splitlines()[4:8]
    assert head.split("  ")[0] == "wind N"
    assert head.count("return") == len(table_1().names)
    assert len(rows[1].split()) == 2 * len(table_1().names)
    assert len(set(rows[1].split()[1::2])) == 1  # the nominal point, five times
    assert (run / "eval-by-factor.png").read_bytes().startswith(b"\x89PNG")


def test_a_grid_is_a_heat_map_in_text_and_as_a_picture(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "map.png"
    result = p2p("eval", run, "--grid", "wind,mass", "--points", 3, "--figure", picture)
    lines = result.stdout.splitlines()
    assert lines[5].split() == ["wind", "N", "0.750", "1.00", "1.25"]
    assert [line.split()[0] for line in lines[6:9]] == ["2.50", "0", "-2.50"]  # up is more
    assert lines[-1] == f"figure: {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_ground_of_a_heat_map_goes_from_the_lowest_to_the_highest(run: Path) -> None:
    (one,) = evaluate(run, grid=("wind", "mass"), points=3).runs
    (measured,) = one.measured
    spans = [span for line in heat_map(measured, one, 80) for span in line.spans]
    for colour in (VIRIDIS[0], VIRIDIS[-1]):
        text = "rgb({},{},{})".format(*colour)
        assert sum(text in str(span.style) for span in spans) == 2  # a cell, and the scale


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--eps-te 1.5", "--eps-te=1.5 is outside [0, 1]"),
        ("--eps-te 0:1", "--eps-te 0:1: give a number, or a range such as 0:1:0.1"),
        ("--grid wind", "--grid wind: name two factors, as in wind,mass"),
        ("--grid wind,mas", "unknown factor 'mas'; did you mean 'mass'?; known: wind, gravity"),
        ("--by-factor --domain wind=1", "--by-factor=, --grid= and --domain= exclude one another"),
        ("--domain wnd=3", "unknown factor 'wnd'; did you mean 'wind'?; known: wind, gravity"),
        ("--figure x.png", "--figure draws what --grid or --by-factor measures"),
        (
            "--domain wind=1 --eps-te 0.9 --domains 7 --points 4",
            "--eps-te, --domains, --points have no effect with --domain, which gives the only",
        ),
        ("--by-factor --domains 7", "--domains has no effect with --by-factor; give --points"),
        ("--grid wind,mass --domains 7", "--domains has no effect with --grid; give --points"),
        ("--points 4", "--points has no effect without --by-factor or --grid; give one of them"),
        ("--workers 0", "Invalid value for '--workers': 0 is not in the range"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run: Path, args: str, message: str) -> None:
    result = p2p("eval", run, *args.split())
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize(
    "args",
    [
        "--domain wind=1 --domain-seed 3 --episodes 2 --sampled",
        "--by-factor --eps-te 0.9 --points 3 --domain-seed 3 --episodes 1",
        "--grid wind,mass --eps-te 0.9 --points 3 --domain-seed 3",
        "--eps-te 0.9 --domains 2 --domain-seed 3",
    ],
)
def test_options_that_count_are_accepted(run: Path, args: str) -> None:
    done = p2p("eval", run, *args.split(), "--no-save")
    assert done.exit_code == 0, done.stderr


def test_what_is_no_run_ends_with_exit_5(tmp_path: Path) -> None:
    result = p2p("eval", tmp_path)
    assert result.exit_code == 5
    assert "is not a run folder" in result.stderr


def test_of_a_run_that_may_only_be_read_all_is_shown_but_the_picture(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for a picture in its folder; one that was asked for is an error, told last."""
    pytest.importorskip("matplotlib")
    args = ("eval", run, "--grid", "wind,mass", "--points", 3)
    *before, _, figure = p2p(*args).stdout.splitlines()
    forbid_writing(monkeypatch, run)
    now = p2p(*args)
    assert now.exit_code == 0
    assert now.stdout.splitlines()[:-1] == before
    assert now.stderr == (
        f"note: cannot write {figure.replace(':', '')}: permission denied; "
        "name another with --figure\n"
    )
    asked = p2p(*args, "--figure", run / "map.png", "--json")
    assert (asked.exit_code, json.loads(asked.stdout)["figures"]) == (6, [])
    assert asked.stderr.startswith(f"error: cannot write figure {run / 'map.png'}: permission")


def test_of_a_run_that_may_only_be_read_known_episodes_make_up_any_set(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three domains are the first of four; which of them they are is all that is not kept."""
    p2p("eval", run, "--domains", 4)
    forbid_writing(monkeypatch, run)
    assert json.loads(p2p("eval", run, "--domains", 3, "--json").stdout)["episodes"] == 0
    result = p2p("eval", run, "--domains", 5)
    assert (result.exit_code, result.stdout) == (6, "")
    assert "--no-save (save=False) evaluates without keeping" in result.stderr


@pytest.mark.parametrize("command", ["eval", "compare"])
@pytest.mark.parametrize("name", ["loop", "x" * 300, "closed/peer-0.safetensors"])
def test_a_path_out_of_reach_is_one_line(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system knows no such name, goes in a circle, or may not look."""
    (tmp_path / "loop").symlink_to("loop")
    look = Path.stat

    def stat(path: Path, **extra: Any) -> Any:  # root may look everywhere
        if path.parent.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, **extra)

    monkeypatch.setattr(Path, "stat", stat)
    result = p2p(command, tmp_path / name)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 5
    assert line.startswith(f"error: cannot reach {tmp_path / name}: ")


def test_among_several_a_folder_that_is_no_run_is_left_out(run: Path, tmp_path: Path) -> None:
    """`p2p eval runs/*` meets runs/studies too; what is not there at all is no such folder."""
    (tmp_path / "studies").mkdir()
    result = p2p("eval", *sorted(tmp_path.iterdir()), "--domains", 2, "--json")
    assert result.exit_code == 0
    assert [one["path"] for one in json.loads(result.stdout)["runs"]] == [str(run)]
    assert result.stderr == ""
    assert p2p("eval", run, tmp_path / "stu").exit_code == 5


@pytest.mark.parametrize("command", ["eval", "compare", "grad-variance"])
def test_without_any_run_the_first_folder_is_the_error(command: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    result = p2p(command, *folders)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 5
    assert line.startswith(f"error: {folders[0]} is not a run folder")


def test_settings_are_named_as_flags_where_flags_are_typed() -> None:
    """And by their names in the library."""
    both = {"by_factor": True, "domain": "wind=1"}
    with pytest.raises(UsageError, match=r"^by_factor=, grid= and domain= exclude"):
        build_eval_config(**both)
    with flags_in_messages(), pytest.raises(UsageError) as caught:
        build_eval_config(**both)
    assert str(caught.value).startswith("--by-factor=, --grid= and --domain= exclude")
    with flags_in_messages(), pytest.raises(UsageError, match=r"^--points=1: "):
        build_eval_config(points=1)
    with flags_in_messages(), pytest.raises(UsageError, match=r"^--grid=wind,wind: "):
        build_eval_config(grid=("wind", "wind"))


@pytest.mark.parametrize("command", ["eval", "compare", "grad-variance"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from p2p.cli.main import p2p\n"
        f"try: p2p.main([{command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"Usage: p2p {command} ")
    assert done.stderr == "[]\n"
