"""`p2p surface`: options, what it shows, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from made import forbid_writing, make_finished, make_run
from rich.text import Text
from test_eval_cli import HEAVY

from p2p.analysis.surface.config import SurfaceConfig
from p2p.analysis.surface.measure import measure_surface
from p2p.analysis.surface.results import Surface
from p2p.cli import main
from p2p.cli.surface import render, surface
from p2p.core.errors import NoRoom

SMALL = ("--grid", 5, "--domains", 1)


def p2p(*args: Any) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_finished(tmp_path_factory.mktemp("surface") / "run")


@pytest.fixture(scope="module")
def found(run: Path) -> Surface:
    return measure_surface(run, grid=5, domains=1)


def digits(map_rows: list[str], at: slice) -> list[list[str]]:
    return [row[at].split() for row in map_rows]


@pytest.mark.parametrize("name", SurfaceConfig.model_fields)
def test_every_setting_is_an_option_with_the_fields_own_words(name: str) -> None:
    (option,) = (o for o in surface.params if o.name == name)
    assert getattr(option, "help", "") == SurfaceConfig.model_fields[name].description


def test_both_maps_the_three_policies_and_the_best_points_are_shown(
    run: Path, found: Surface
) -> None:
    result = p2p("surface", run, *SMALL)
    lines = result.stdout.splitlines()
    assert lines[0] == "hopper, p2pdrl, peer 0, seed 0"
    assert lines[1] == str(run)
    assert lines[2].startswith("5 x 5 points; 1 domain, seed 0; eps 0.2 hash ")
    assert lines[4].split("  ")[-1].strip() == "test return, eps 0.5"
    rows = {line.split()[0]: line.split() for line in lines if line}
    for mark in found.marks:
        cells = rows[mark.name]
        assert cells[2:4] == [f"{mark.x:.2f}", f"{mark.y:.2f}"]
        assert float(cells[4]) == pytest.approx(mark.train, rel=0.01)
        assert float(cells[7]) == pytest.approx(mark.test_as_trained, rel=0.01)
    assert sum(line.startswith("best ") for line in lines) == 2
    assert result.stdout.isascii()


def test_a_digit_is_the_tenth_of_the_scale_and_up_is_more(found: Surface) -> None:
    lines = [line.plain for line in render(found, 200)]
    rows = [line.split() for line in lines[5:10]]
    assert [row[0] for row in rows] == [f"{y:.2f}" for y in found.y[::-1]]
    low = min(one.mean.min() for one in found.landscapes)
    high = max(one.mean.max() for one in found.landscapes)
    for one, at in zip(found.landscapes, (slice(1, 6), slice(7, 12)), strict=True):
        letters = "".join(text for row in rows for text in row[at] if text.isalpha())
        assert sorted(letters) == ["F", "I", "M"]
        for row, values in zip(rows, one.mean[::-1], strict=True):
            for text, value in zip(row[at], values, strict=True):
                tenth = min(int(10 * (value - low) / (high - low)), 9)
                assert text.isalpha() or text == str(tenth)


def test_a_policy_stands_where_it_is_nearest(found: Surface) -> None:
    rows = [line.plain.split()[1:6] for line in render(found, 200)[5:10]][::-1]
    for mark in found.marks:
        y, x = (
            int(np.argmin(np.abs(axis - at))) for axis, at in ((found.y, mark.y), (found.x, mark.x))
        )
        assert rows[y][x] == mark.name[0].upper()


@pytest.mark.parametrize(("width", "maps"), [(80, 1), (20, 2), (10, 2)])
def test_maps_stand_below_one_another_where_they_do_not_fit(
    found: Surface, width: int, maps: int
) -> None:
    """And points are left out rather than lines broken."""
    lines: list[Text] = render(found, width)
    heads = [n for n, line in enumerate(lines) if "return, eps" in line.plain]
    assert len(heads) == maps
    if maps == 2:
        assert all(len(line) <= width for line in lines[heads[0] + 1 : heads[0] + 4])


def test_json_is_one_object_with_all_that_was_found(run: Path, found: Surface) -> None:
    told = json.loads(p2p("surface", run, *SMALL, "--json").stdout)
    assert told["test"]["return"] == found.landscapes[1].mean.tolist()
    assert told["x"] == found.x.tolist()
    assert [one["name"] for one in told["policies"]] == ["initial", "middle", "final"]
    assert told["train"]["best"]["value"] == found.best(found.landscapes[0]).value
    assert (told["episodes"], told["config"]["grid"]) == (0, 5)


def test_pictures_lie_beside_the_run_by_peer(run: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = p2p("surface", run, *SMALL, "--peer", 1).stdout.splitlines()
    paths = [run / f"surface-peer-1.{suffix}" for suffix in ("png", "svg")]
    assert lines[-2:] == [f"figure: {path}" for path in paths]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in paths[1].read_bytes()


def test_without_matplotlib_the_rest_is_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = p2p("surface", run, *SMALL)
    assert result.exit_code == 0
    assert result.stderr == (
        "note: figures need matplotlib; install it with: pip install 'p2pdrl[figures]'\n"
    )
    assert "best train" in result.stdout


def test_of_a_run_that_may_only_be_read_the_surface_is_shown(
    run: Path, found: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its episodes are kept already."""
    forbid_writing(monkeypatch, run)
    result = p2p("surface", run, *SMALL)
    assert result.exit_code == 0
    assert "best train" in result.stdout
    assert "figure:" not in result.stdout
    assert result.stderr == (
        f"note: cannot write surface {run / 'surface-peer-0.h5'}: permission denied; "
        "it is shown, not kept\n"
    )
    with pytest.raises(NoRoom, match=r"surface-peer-0.h5: permission denied; --no-save \(save=Fal"):
        measure_surface(run, grid=5, domains=1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--grid 1", "--grid=1: input should be greater than or equal to 2"),
        ("--eps-te 1.5", "--eps-te=1.5: input should be less than or equal to 1"),
        ("--grid x", "Invalid value for '--grid': 'x' is not a valid integer"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run: Path, args: str, message: str) -> None:
    result = p2p("surface", run, *args.split())
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert line.startswith(f"error: {message}")


def test_a_run_that_has_not_ended_or_kept_nothing_ends_with_exit_5(tmp_path: Path) -> None:
    none, unfinished = make_run(tmp_path / "a"), make_finished(tmp_path / "b", (0, 5))
    for folder, words in (
        (none, "has no milestones"),
        (unfinished, f"finish it with: p2p train --resume {unfinished}"),
        (tmp_path, "is not a run folder"),
    ):
        result = p2p("surface", folder)
        assert (result.exit_code, result.stdout) == (5, "")
        assert words in result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from p2p.cli.main import p2p\n"
        "try: p2p.main(['surface', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: p2p surface ")
    assert done.stderr == "[]\n"
