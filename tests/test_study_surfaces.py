"""A study measures the return surface of each run, saves its points, and draws them (Fig. 5)."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_study import TINY, p2p

import p2p as library
from p2p.core.errors import BadArtefact, UsageError
from p2p.plots import Data, load_data
from p2p.plots.data import Row, SurfacePoint
from p2p.plots.surface import _contours, _levels, _map, return_surfaces
from p2p.study import State, plan_study, read_study, run_study, surfaces_csv

ASKED = "[surface]\ngrid = 2\ndomains = 1\n"
RUN = "[[grid]]\nmethod = 'ppo'\nmilestones = 2\n"


def study_file(folder: Path, surface: str = ASKED, grid: str = RUN) -> Path:
    file = folder / "tiny.toml"
    file.write_text(TINY + surface + grid)
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study that was run, in out/, and its tables, in saved/."""
    folder = tmp_path_factory.mktemp("surfaces")
    command = ["study", study_file(folder), "--out", folder / "out", "--save", folder / "saved"]
    assert p2p(*command, "--plain").exit_code == 0
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def states(folder: Path) -> list[State]:
    study = read_study(folder / "tiny.toml")
    return [run.state for run in plan_study(study, folder / "out", folder / "saved").runs]


def test_the_points_are_those_of_the_runs_surface(made):
    """By y, then x; and the three policies by name."""
    (run,) = (made / "out").glob("*/surface.json")
    found = library.measure_surface(run.parent, grid=2, domains=1)
    assert found.cost.episodes == 0  # all were there
    with (made / "saved/tiny-surfaces.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {run.parent.name}
    grid, named = rows[:4], rows[4:]
    for kind, landscape in zip(("train", "test"), found.landscapes, strict=True):
        values = [float(row[kind]) for row in grid]
        np.testing.assert_allclose(values, landscape.mean.ravel(), rtol=1e-5)
        assert len(set(values)) > 1
    assert [(row["policy"], int(row["steps"])) for row in named] == [
        ("initial", 0), ("middle", 512), ("final", 1024),
    ]  # fmt: skip
    for row, mark in zip(named, found.marks, strict=True):
        assert float(row["test"]) == pytest.approx(mark.test, rel=1e-5)
    assert [float(grid[n]["x"]) for n in (0, 1)] == pytest.approx(found.x, rel=1e-5)
    assert [float(grid[n]["y"]) for n in (0, 2)] == pytest.approx(found.y, rel=1e-5)


def test_a_saved_surface_counts_as_done_and_is_kept(copy):
    """Where the run's folder is gone; its three tables stay as they are."""
    shutil.rmtree(copy / "out")
    before = {file.name: file.read_bytes() for file in (copy / "saved").iterdir()}
    assert sorted(before) == ["tiny-curves.csv", "tiny-surfaces.csv", "tiny.csv"]
    result = p2p("study", copy / "tiny.toml", "--out", copy / "out", "--save", copy / "saved")
    assert result.exit_code == 0
    assert not list((copy / "out").glob("*/config.json"))
    assert {file.name: file.read_bytes() for file in (copy / "saved").iterdir()} == before


@pytest.mark.parametrize("change", ["another grid", "no points", "a point less", "no number"])
def test_a_saved_row_without_its_surface_does_not(copy, change):
    shutil.rmtree(copy / "out")
    assert states(copy) == [State.COMPLETE]
    points = copy / "saved/tiny-surfaces.csv"
    if change == "no points":
        points.unlink()
    elif change == "a point less":
        points.write_text("".join(points.read_text().splitlines(keepends=True)[:-1]))
    elif change == "no number":
        points.write_text(points.read_text().replace("train", "brain"))
    else:
        study_file(copy, ASKED.replace("2", "3"))
    assert states(copy) == [State.WAITING]
    study_file(copy, "")  # nor is a row that has a surface one of a study that asks for none
    assert states(copy) == [State.WAITING]


def test_another_surface_is_measured_without_training_anew(copy):
    study = read_study(study_file(copy, ASKED.replace("domains = 1", "domains = 2")))
    there = plan_study(study, copy / "out")
    assert [(run.state, run.trained) for run in there.runs] == [(State.WAITING, True)]
    shares = [run.tested for _ in run_study(there, 1) for run in there.runs]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert states(copy) == [State.COMPLETE]


def test_the_figure_of_saved_points_is_that_of_the_runs(copy):
    """Equal data, equal files."""
    common = ["figures", copy / "tiny.toml", "--like", "fig5"]
    for source, out in ((["--tables", copy / "saved"], "a"), (["--runs", copy / "out"], "b")):
        result = p2p(*common, *source, "--out", copy / out)
        assert result.exit_code == 0
        assert "One scale of returns for all; n = 1 seed." in " ".join(result.stdout.split())
    for suffix in ("png", "svg"):
        one, other = ((copy / out / f"tiny-fig5.{suffix}").read_bytes() for out in "ab")
        assert one == other


def test_each_point_stands_in_its_place(made):
    """Rows of the array go with y, columns with x, whatever the order in the table."""
    data = load_data(read_study(made / "tiny.toml"), made / "saved", None, made)
    (points,) = data.surfaces.values()
    found = _map(points[::-1], "the run", data)
    for point in points[:4]:
        i, j = found.y.tolist().index(point.y), found.x.tolist().index(point.x)
        assert found.returns["train"][i, j] == point.train
        assert found.returns["test"][i, j] == point.test
    levels = _levels(list(found.returns.values()))
    assert min(map(np.min, found.returns.values())) >= levels[0]
    assert max(map(np.max, found.returns.values())) <= levels[-1]
    axes = Figure().subplots()
    _contours(axes, found.x, found.y, found.returns["train"], levels)
    assert axes.dataLim.bounds[2:] == pytest.approx((np.ptp(found.x), np.ptp(found.y)))


@pytest.mark.parametrize(
    ("surface", "grid", "message"),
    [
        ("surface = 1\n", RUN, "surface must be a table"),
        ("[surface]\ngird = 2\n", RUN, "[surface]: unknown setting 'gird'; did you mean 'grid'?"),
        ("[surface]\ngrid = 1\n", RUN, "[surface]: grid"),
        ("[surface]\npeer = 1\n", RUN, "[surface]: peer=1, but a run has num_peers=1 alone"),
        (ASKED, RUN.replace("2", "1"), "[surface] needs milestones of 2 or more"),
        (ASKED, RUN + "total_steps = 512\n", "[surface] needs runs of two iterations or more"),
    ],
)
def test_what_no_run_can_give_is_said_before_any_is_trained(tmp_path, surface, grid, message):
    if surface.startswith("surface"):
        file = tmp_path / "tiny.toml"
        file.write_text(surface + TINY + grid)
    else:
        file = study_file(tmp_path, surface, grid)
    with pytest.raises(UsageError) as caught:
        read_study(file)
    assert message in str(caught.value)


@pytest.mark.parametrize("fault", [lambda p: None, lambda p: [], lambda p: p[1:], lambda p: [{}]])
def test_a_damaged_surface_is_one_line(copy, fault):
    (file,) = (copy / "out").glob("*/surface.json")
    there = json.loads(file.read_text())
    file.write_text(json.dumps({**there, "points": fault(there["points"])}))
    if fault(there["points"]) is None:
        assert states(copy) == [State.COMPLETE]  # by its row; its folder has none
        return
    with pytest.raises(BadArtefact, match=r"surface\.json is damaged: it holds no points; delete"):
        states(copy)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda text: text.replace("x,y", "a,b"), "is no table of surfaces: it needs columns"),
        (
            lambda text: text[: text.rindex("\n", 0, -1) + 1],
            "is no grid and three policies; make it with: p2p study",
        ),
    ],
)
def test_a_damaged_table_of_surfaces_is_one_line(copy, fault, message):
    file = copy / "saved/tiny-surfaces.csv"
    file.write_text(fault(file.read_text()))
    command = ["figures", copy / "tiny.toml", "--like", "fig5", "--tables", copy / "saved"]
    result = p2p(*command, "--out", copy / "pictures")
    (line,) = result.stderr.splitlines()
    assert message in line
    assert result.exit_code == BadArtefact.exit_code


def test_studies_that_share_a_run_keep_its_surfaces_side_by_side(copy):
    """Neither measures it again after the other."""
    for grid in (3, 2):
        study = read_study(study_file(copy, ASKED.replace("2", str(grid))))
        for _ in run_study(plan_study(study, copy / "out"), 1):
            pass
    for grid in (3, 2):
        study = read_study(study_file(copy, ASKED.replace("2", str(grid))))
        assert [run.state for run in plan_study(study, copy / "out").runs] == [State.COMPLETE]


def test_a_run_that_was_trained_without_milestones_is_refused_before_anything_runs(tmp_path):
    """Else it would fail each time, after the others have been trained."""
    plain = study_file(tmp_path, "", RUN.replace("milestones = 2", "milestones = 0"))
    for _ in run_study(plan_study(read_study(plain), tmp_path / "out"), 1):
        pass
    with pytest.raises(UsageError, match=r"milestones=0, and a surface needs 2 or more; choose"):
        plan_study(read_study(study_file(tmp_path)), tmp_path / "out")


def test_points_of_a_study_that_asks_for_none_are_not_drawn(copy):
    """They are of an earlier file of that name, and say nothing of this one's settings."""
    result = p2p("figures", study_file(copy, ""), "--like", "fig5", "--tables", copy / "saved")
    assert result.exit_code == 2
    assert "has no return surfaces, as the study makes none: add a table [surface]" in result.stderr


def test_a_seed_that_a_method_lacks_leaves_its_place_empty(tmp_path):
    """Seeds stand one below the other."""
    grid = RUN.replace("'ppo'", '["ppo", "dppo"]') + "seed = [0, 1]\n"
    study = read_study(study_file(tmp_path, grid=grid))
    rows = [Row(f"{c.method}-{c.seed}", c.task, c.method, c.seed, {}) for c in study.configs[1:]]
    axis = [SurfacePoint("", 0, x, y, x + y, math.nan) for x in (0.0, 1.0) for y in (0.0, 1.0)]
    marks = [SurfacePoint(name, 1, 0.5, 0.5, 1.0, 1.0) for name in ("initial", "middle", "final")]
    data = Data(study, "here", rows, {}, {row.run: [*axis, *marks] for row in rows})
    figure = Figure()
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2p.plots.surface.picture", lambda draw, *_: drawn.append(draw(figure)))
        return_surfaces(data)
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    filled = [bool(axes.collections) for axes in panels[:8]]
    assert filled == [False, True, False, True, True, True, True, True]
    assert [axes.get_title() for axes in panels[:2]] == ["seed 0", "seed 1"]


def test_no_run_has_a_surface_before_it_is_measured(tmp_path):
    assert surfaces_csv(plan_study(read_study(study_file(tmp_path)), tmp_path / "out")) is None
