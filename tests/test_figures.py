"""Figures: what is drawn is what was measured, looks alike everywhere, or is said to be missing."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made import METHODS as FACTS
from made import TASKS
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from p2p.cli import main
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, UsageError
from p2p.plots import FIGURES, draw, load_data
from p2p.plots.hyperparameters import sweep
from p2p.plots.lines import band, on_common_steps, seeds_text
from p2p.plots.method_styles import METHODS, group_colours
from p2p.plots.method_styles import TASKS as TASK_NAMES
from p2p.plots.strengths import regularised
from p2p.plots.training import cohort_size, learning_curves
from p2p.study import Study, config_hash, find_study, read_study
from p2p.study.names import run_name

approx = pytest.approx


def value(config: TrainConfig, eps: float = 0.0) -> float:
    """Return what a made-up run scores; of all hyperparameters, only the batch counts."""
    batch = config.steps_per_iteration - 4096
    return 1000.0 * list(FACTS).index(config.method) + 10 * config.seed - 100 * eps + batch


def write_tables(study: Study, folder: Path, keep: slice = slice(None)) -> Path:
    """Write tables as `p2p study --save` does, of made-up numbers."""
    rows, curves = StringIO(), StringIO()
    strengths = study.evaluate.eps_te if study.evaluate else ()
    fixed = ("task", "method", "num_peers", "learning_rate", "seed")
    tests = [f"eps_te={eps:g}" for eps in strengths]
    names = ["run", *dict.fromkeys((*fixed, *study.varying)), "train", "entropy", *tests, "steps"]
    table = csv.DictWriter(rows, names)
    table.writeheader()
    curve = csv.writer(curves)
    curve.writerow(["run", "steps", "return", "log_grad_variance"])
    for config in study.configs[keep]:
        run = run_name(config, study.varying)
        settings = {name: config.get(name) for name in (*fixed, *study.varying)}
        found = {f"eps_te={eps:g}": value(config, eps) for eps in strengths}
        table.writerow({"run": run, **settings, "train": value(config), "entropy": config.seed,
                        **found, "steps": config.total_steps})  # fmt: skip
        for part in (1, 2, 4):
            curve.writerow([run, part * config.total_steps // 4, part * value(config), -part])
    folder.mkdir(exist_ok=True)
    (folder / f"{study.name}.csv").write_text(rows.getvalue())
    (folder / f"{study.name}-curves.csv").write_text(curves.getvalue())
    if study.surface:
        write_surfaces(study, folder / f"{study.name}-surfaces.csv")
    return folder


def write_surfaces(study: Study, file: Path) -> None:
    """Write a surface of 3 x 4 points a run: training return falls with x, test return with y."""
    places = [("", "", x, y) for x in range(3) for y in range(4)]
    policies = [("initial", 0, 0, 0), ("middle", 1, 1, 2), ("final", 2, 2, 0)]
    with file.open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["run", "policy", "steps", "x", "y", "train", "test"])
        for config in study.configs:
            run = run_name(config, study.varying)
            table.writerows(
                [run, *place, value(config) - place[2], value(config) - place[3] / 10]
                for place in places + policies
            )


def p2p(*args: str | Path) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args])


def test_every_method_has_a_look_of_its_own_and_every_task_a_name():
    """Also without colour: no two methods share a dash and none a marker."""
    assert METHODS.keys() == FACTS.keys()
    assert TASK_NAMES.keys() == set(TASKS)
    for part in zip(*METHODS.values(), strict=True):
        assert len(set(part)) == len(METHODS)


def test_groups_wear_their_methods_colour_and_never_anothers_while_there_are_enough():
    """The first of a method's groups does; the second takes one that no group needs."""
    labels = ["ppo learning_rate 0.001", "dnc", "ppo learning_rate 0.0003", "unheard of"]
    colours = group_colours(labels)
    assert colours[:2] == [METHODS["ppo"].colour, METHODS["dnc"].colour]
    assert len(set(colours)) == 4
    assert len(group_colours(labels * 3)) == 12


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_drawn_from_its_studys_tables(tmp_path: Path, name: str) -> None:
    """And says how many seeds it stands on."""
    study = read_study(find_study(name))
    data = load_data(study, write_tables(study, tmp_path), None, tmp_path / "none")
    drawn = draw(name, data)
    assert drawn.files["png"].startswith(b"\x89PNG")
    assert drawn.files["svg"].startswith(b"<?xml")
    assert ("95% intervals" in drawn.caption) == (name != "fig5")  # which shows each run
    assert f"n = {8 if name in ('fig3', 'fig4') else 4} seeds" in drawn.caption


def test_a_study_without_tables_is_drawn_from_those_of_its_owner(tmp_path: Path) -> None:
    """Fig. 3 shows runs of Fig. 4; Fig. 6 tests them in other domains, so that nothing is there."""
    fig4 = read_study(find_study("fig4"))
    file = write_tables(fig4, tmp_path) / "fig4.csv"
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    hashes = [config_hash(config) for config in fig4.configs]
    with file.open("w", newline="") as lines:
        table = csv.DictWriter(lines, [*rows[0], "config"])
        table.writeheader()
        table.writerows({**row, "config": one} for row, one in zip(rows, hashes, strict=True))
    found = load_data(read_study(find_study("fig3")), tmp_path, None, tmp_path / "none")
    assert (found.source, len(found.rows)) == (str(file), len(found.study.configs))
    assert draw("fig3", found) == draw("fig3", load_data(fig4, tmp_path, None, tmp_path))
    for name in ("fig5", "fig6"):  # Fig. 5 wants surfaces
        with pytest.raises(UsageError, match=rf"nothing to draw of study {name}: "):
            load_data(read_study(find_study(name)), tmp_path, None, tmp_path / "none")


def test_equal_data_gives_equal_files(tmp_path: Path) -> None:
    """So a committed figure can be made again from committed data."""
    study = read_study(find_study("fig7"))
    tables = write_tables(study, tmp_path)
    first, second = (draw("fig7", load_data(study, tables, None, tmp_path)) for _ in range(2))
    assert first == second


def test_a_line_is_the_mean_over_seeds_and_its_band_their_interval():
    """Four seeds 0, 10, 20, 30: the mean is 15, and no resample leaves [0, 30]."""
    axes = Figure().subplots()
    band(axes, {0.5: [0.0, 10.0, 20.0, 30.0], 0.0: [7.0, 7.0]}, METHODS["ppo"])
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0.0, 7.0], [0.5, 15.0]]
    assert to_hex(line.get_color()).upper() == METHODS["ppo"].colour
    (area,) = axes.collections
    corners = area.get_paths()[0].vertices
    heights = corners[corners[:, 0] == 0.5][:, 1]
    assert 0 <= heights.min() < 8
    assert 22 < heights.max() <= 30
    assert set(corners[corners[:, 0] == 0.0][:, 1]) == {7.0}


def test_a_single_seed_has_no_band():
    axes = Figure().subplots()
    band(axes, {0.0: [1.0], 1.0: [2.0]}, METHODS["ppo"])
    assert len(axes.lines) == 1
    assert not axes.collections


def test_curves_meet_on_common_steps_and_are_extended_nowhere():
    """The second one begins later, ends sooner, and has a point less: a line goes between."""
    points = on_common_steps([[(0, 0.0), (10, 1.0), (20, 2.0), (30, 3.0)], [(5, 0.0), (25, 20.0)]])
    assert points == {10.0: [1.0, approx(5.0)], 20.0: [2.0, approx(15.0)]}


def test_unequal_numbers_of_seeds_are_told_apart():
    assert seeds_text({"PPO": 4, "DnC": 4}) == "n = 4 seeds"
    assert seeds_text({"PPO": 4, "DnC": 3}) == "seeds: PPO n = 4, DnC n = 3"


def test_the_cohorts_steps_are_counted_in_both_ways(tmp_path: Path) -> None:
    """2M steps of each peer end the left panel at 2, 4M over all peers the right one at 4."""
    study = read_study(find_study("fig9"))
    layout = cohort_size(load_data(study, write_tables(study, tmp_path), None, tmp_path))
    ends = []
    for panel in layout.rows[0]:
        axes = Figure().subplots()
        assert panel.draw(axes) == {"K = 1 (single agent)": 4, "K = 2": 4, "K = 4": 4}
        ends.append([line.get_xdata()[-1] for line in axes.lines])
    assert ends == [[2.0, 2.0, 2.0], [4.0, 4.0, 4.0]]


def test_a_sweep_varies_one_setting_with_the_others_as_the_paper_chose_them(tmp_path: Path) -> None:
    """Distillation is swept for the methods that distil; all have five learning rates.

    The runs of other batches, which score more, raise no point of the learning rates.
    """
    study = read_study(find_study("a2"))
    layout = sweep(load_data(study, write_tables(study, tmp_path), None, tmp_path))
    sizes, heights = [], []
    for panel in layout.rows[0]:
        axes = Figure().subplots()
        panel.draw(axes)
        sizes.append(sorted(len(line.get_xdata()) for line in axes.lines))
        heights.append({y for line in axes.lines for y in line.get_ydata()})
    rings = [1] * 5
    assert [len(found) for found in heights] == [5, 20, 3]  # a height a method, but by batch
    assert sizes == [rings + [5] * 5, rings + [4] * 5, [1] * 3 + [5] * 3]


def test_a_study_of_which_only_a_part_is_there_is_drawn_and_counted(tmp_path: Path) -> None:
    study = read_study(find_study("fig4"))
    write_tables(study, tmp_path, slice(0, 11))  # 8 seeds of P2PDRL, 3 of PPO
    result = p2p("figures", "fig4", "--tables", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert f"data     {tmp_path / 'fig4.csv'}, 11 of 200 runs" in result.stdout
    assert "seeds: P2PDRL n = 8, PPO n = 3." in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"fig4.png", "fig4.svg"}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("number", [0, 13, 39])
def test_a_study_of_one_run_so_far_is_drawn_or_refused(
    tmp_path: Path, name: str, number: int
) -> None:
    """Whichever run it is: no figure ends in a traceback."""
    study = read_study(find_study(name))
    number = number * len(study.configs) // 40
    data = load_data(
        study, write_tables(study, tmp_path, slice(number, number + 1)), None, tmp_path
    )
    with suppress(UsageError):
        assert "n = 1 seed." in draw(name, data).caption


def test_a_sweep_with_one_value_so_far_says_what_is_missing(tmp_path: Path) -> None:
    study = read_study(find_study("a2"))
    data = load_data(study, write_tables(study, tmp_path, slice(0, 4)), None, tmp_path)
    with pytest.raises(UsageError, match=r"a2\.csv has no tested runs at two values; make it with"):
        draw("a2", data)


def test_a_task_that_is_not_tested_yet_has_no_row_beside_those_that_are(tmp_path: Path) -> None:
    study = read_study(find_study("fig4"))
    rows = write_tables(study, tmp_path) / "fig4.csv"
    table = list(csv.DictReader(StringIO(rows.read_text())))
    for row in table:
        if row["task"] != "halfcheetah":
            row.update({name: "" for name in row if name.startswith("eps_te=")})
    out = StringIO()
    writer = csv.DictWriter(out, table[0])
    writer.writeheader()
    writer.writerows(table)
    rows.write_text(out.getvalue())
    layout = regularised(load_data(study, tmp_path, None, tmp_path))
    assert [[panel.title for panel in row] for row in layout.rows] == [["HalfCheetah"] * 2]


def test_settings_are_told_apart_and_never_taken_for_seeds(tmp_path: Path) -> None:
    """A study of one method at three settings of `sync`, three seeds of each."""
    study = read_study(find_study("sync"))
    layout = learning_curves(load_data(study, write_tables(study, tmp_path), None, tmp_path))
    axes = Figure().subplots()
    counts = layout.rows[0][0].draw(axes)
    assert counts == {f"P2PDRL, sync={sync}": 3 for sync in ("minibatch", "epoch", "iteration")}
    assert len({line.get_color() for line in axes.lines}) == 3
    assert axes.lines[0].get_color() == METHODS["p2pdrl"].colour


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fig4", "4M steps a run, trained at strength 0.2, each method's own learning rate."),
        ("sync", "0.5M steps a run, trained at strength 0.2, learning rate 0.0003."),
        ("a2", "4M steps a run, trained at strength 0.2."),
    ],
)
def test_the_caption_says_what_is_the_same_for_all_runs(
    tmp_path: Path, name: str, words: str
) -> None:
    """P2PDRL's own rate is 1e-4; in `sync` it is another method's."""
    study = read_study(find_study(name))
    data = load_data(study, write_tables(study, tmp_path), None, tmp_path)
    assert learning_curves(data).caption.startswith(words)


def test_json_has_stdout_to_itself(tmp_path: Path) -> None:
    write_tables(read_study(find_study("fig3")), tmp_path)
    result = p2p("figures", "fig3", "--tables", tmp_path, "--out", tmp_path, "--json")
    found = json.loads(result.stdout)
    assert (found["figure"], found["runs"], found["missing"]) == ("fig3", 200, 0)
    assert found["files"] == [str(tmp_path / "fig3.png"), str(tmp_path / "fig3.svg")]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fig9"], "there is no trained run in "),
        (
            ["fig4"],
            "fig4.csv has no test returns; make it with: p2p study fig4 --save data/results",
        ),
        (["fig4", "--like", "fig6"], "has no test returns"),
        (["fig4", "--like", "fig8bc"], "has no variance of the gradient"),
        (["fig4", "--like", "fig0"], "--like fig0: unknown figure; known: fig2, "),
        (["learning"], "study 'learning' has no figure of its own; name one with --like: fig2, "),
    ],
)
def test_what_cannot_be_drawn_is_one_line_that_says_what_to_do(
    tmp_path: Path, args: list[str], message: str
) -> None:
    """Here the table of fig4 has runs that were never tested."""
    row = "run,task,method,seed\nx,halfcheetah,ppo,0\n"
    (tmp_path / "fig4.csv").write_text(row)
    extra = ["--tables", str(tmp_path), "--out", str(tmp_path / "out")]
    result = p2p("figures", *args, *extra, *(["--runs", str(tmp_path)] if args == ["fig9"] else []))
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("like", "add"),
    [
        ("fig2", "add a table [evaluate], such as eps_te = 0.5, to "),
        ("fig4", "add a table [evaluate], such as eps_te = 0.5, to "),
        ("fig5", "add a table [surface] to "),
        ("fig8bc", "add grad_variance_every = 25 to "),
        ("fig9", "add num_peers 1, 2, 4 at steps_per_iteration 4096, or 2048 of each peer, to "),
    ],
)
def test_what_a_study_never_makes_is_said_with_what_its_file_lacks(
    tmp_path: Path, like: str, add: str
) -> None:
    """To repeat a study that has no tests gives none."""
    file = tmp_path / "tiny.toml"
    file.write_text('[[grid]]\nmethod = "ppo"\n')
    (tmp_path / "tiny.csv").write_text("run,task,method,seed\nx,hopper,ppo,0\n")
    (tmp_path / "tiny-curves.csv").write_text("run,steps,return\nx,4096,1.0\n")
    result = p2p("figures", file, "--like", like, "--tables", tmp_path, "--out", tmp_path)
    assert f"as the study makes none: {add}{file}; then run: p2p study {file}" in result.stderr


@pytest.mark.parametrize("row", ["x,ant,ppo,0,1", "x,hopper,dnc,0,1"])
@pytest.mark.parametrize("like", ["fig2", "fig3", "fig4", "fig7", "fig8a", "fig9"])
def test_a_table_of_other_tasks_or_methods_is_one_line(tmp_path: Path, row: str, like: str) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text('[[grid]]\nmethod = "ppo"\n')
    (tmp_path / "tiny.csv").write_text(f"run,task,method,seed,eps_te=0.5\n{row}\n")
    (tmp_path / "tiny-curves.csv").write_text("run,steps,return\nx,4096,1.0\n")
    result = p2p("figures", file, "--like", like, "--tables", tmp_path, "--out", tmp_path)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert "tiny.csv has no run of the study's tasks and methods; make it with: p2p study" in line


def test_a_shipped_study_is_to_be_copied_before_it_is_changed(tmp_path: Path) -> None:
    (tmp_path / "learning.csv").write_text("run,task,method,seed\nx,hopper,ppo,0\n")
    result = p2p("figures", "learning", "--like", "fig4", "--tables", tmp_path)
    assert result.stderr.rstrip().endswith("to a copy of study learning")


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "fig4.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadArtefact, match=r"fig4\.csv is no table of results"):
        load_data(read_study(find_study("fig4")), tmp_path, None, tmp_path)


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(find_study("fig3"))
    data = load_data(study, write_tables(study, tmp_path), None, tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'p2pdrl\[figures\]'"):
        draw("fig3", data)
