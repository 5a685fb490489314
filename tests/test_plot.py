"""`p2p plot`: what is drawn is the journal's, a band a group of seeds, of any run that began."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_curves import SIZE, make_trained, record
from matplotlib.figure import Figure

from p2p.analysis.learning import (
    choose_measures,
    group_learning,
    measures_of,
    read_learning,
    stretches,
)
from p2p.analysis.statistics import mean_interval
from p2p.cli import main
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.returns import training_length
from p2p.plots import curves
from p2p.plots.curves import draw_curves, group_curve, looks_of
from p2p.plots.panels import Layout, Panel, compose
from p2p.runs import RunFolder
from p2p.runs.measures import measures

approx = pytest.approx


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory, where pictures land."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def p2p(*args: str | Path) -> Result:
    return CliRunner().invoke(main.p2p, ["plot", *(str(arg) for arg in args)])


def test_a_point_is_the_mean_of_its_stretch_and_ends_with_it():
    """Rewards 1, 3 and 5 in stretches of two: 2 at two iterations' steps, then 5."""
    records = [record(n, 2, value) for n, value in enumerate((1.0, 3.0, 5.0))]
    reads = {"reward": lambda peer, limit: sum(r["reward_per_step"] for r in peer) / len(peer)}
    first, second = stretches(records, 2, reads, 1000)
    assert (first["reward"], first["steps"], first["iterations"]) == (2.0, 2 * SIZE, 2)
    assert (second["reward"], second["steps"], second["iterations"]) == (5.0, 3 * SIZE, 3)
    assert first["hours"] == approx(4.0 / 3600)
    assert second["speed"] == approx(SIZE / 2.0)


def test_length_counts_every_step_and_old_journals_their_episodes():
    """A termination every 100 steps is a mean length of 100; without counts, that of episodes."""
    assert training_length([{"reward_per_step": 1.0, "terminations_per_step": 0.01}]) == approx(
        100.0, rel=1e-4
    )
    assert training_length([{"episodes": [[5.0, 30], [5.0, 50]]}]) == 40
    assert training_length([{"episodes": []}]) is None


def test_seeds_are_one_line_with_students_interval_and_other_settings_another(here: Path) -> None:
    """Returns 1000 and 3000 of two seeds: mean 2000; another learning rate is a line of its own."""
    paths = [
        make_trained(here / "a", 1.0, seed=0),
        make_trained(here / "b", 3.0, seed=1),
        make_trained(here / "c", 9.0, seed=0, learning_rate=0.01),
    ]
    groups, notes = group_learning(map(read_learning, paths))
    assert [(group.label, len(group.runs)) for group in groups] == [
        ("p2pdrl learning_rate 0.0001", 2), ("p2pdrl learning_rate 0.01", 1),
    ]  # fmt: skip
    assert notes == []
    found = group_curve(groups[0], "return")
    assert found.mean[-1] == (4 * SIZE, approx(2000.0))
    axes = Figure().subplots()
    counts = curves._panel(axes, groups, "return", "steps", looks_of(groups))
    assert list(counts.values()) == [2, 1]
    (area,) = axes.collections  # a single seed has no band
    heights = area.get_paths()[0].vertices[:, 1]
    low, high = mean_interval([1000.0, 3000.0])
    assert (heights.min(), heights.max()) == (approx(low), approx(high))
    assert axes.get_ylim()[1] < high  # which would press all else flat


def test_a_seed_that_ended_early_ends_the_mean_and_the_other_goes_on_alone(here: Path) -> None:
    paths = [make_trained(here / "a", iterations=10, seed=0), make_trained(here / "b", seed=1)]
    (group,), _ = group_learning(map(read_learning, paths))
    found = group_curve(group, "return")
    assert max(found.points) == 4 * SIZE
    ((*_, last),) = found.alone
    assert last[0] == 10 * SIZE


def test_seeds_without_a_common_stretch_are_thin_lines_of_one_name(here: Path) -> None:
    """One ended before the other's first point: no mean, and the caption claims none."""
    long = {"iterations": 300, "total_steps": 300 * SIZE}
    make_trained(here / "a", seed=0, **long)
    make_trained(here / "b", iterations=2, seed=1, total_steps=300 * SIZE, score=None)
    done = p2p("a", "b", "--measure", "return")
    assert done.exit_code == 0, done.output
    (group,), _ = group_learning(read_learning(here / name) for name in "ab")
    assert group_curve(group, "return").points == {}
    axes = Figure().subplots()
    looks = looks_of([group])
    assert curves._panel(axes, [group], "return", "steps", looks) == {looks[group.label].label: 2}
    assert axes.get_legend_handles_labels()[1] == [looks[group.label].label]
    assert draw_curves([group], ["return"]).caption.startswith("Lines: single runs; n = 2 seeds. ")


def test_panels_without_a_line_have_no_legend() -> None:
    empty = Panel("", "x", "y", lambda axes: {})
    assert compose(Layout([[empty]], "Nothing.", "Lines")).caption == "Lines. Nothing."


def test_the_same_seed_twice_is_one_observation(here: Path) -> None:
    paths = [make_trained(here / name, seed=0) for name in "ab"]
    (group,), notes = group_learning(map(read_learning, paths))
    assert len(group.runs) == 1
    assert "is left out" in notes[0]


def test_measures_are_those_that_some_run_has(here: Path) -> None:
    """Without a penalty the KL of the update stands in; reward terms are named by their task."""
    run = read_learning(make_trained(here / "a", more={"reward_terms": {"track": 0.5}}))
    assert choose_measures([run]) == ["return", "length", "entropy", "approx_kl", "speed",
                                      "reward/track"]  # fmt: skip
    assert choose_measures([run], ["steps/s", "reward/track"]) == ["speed", "reward/track"]
    assert "kl" not in measures_of([run])
    for name, said in (("kl", "no run has recorded it"), ("retrun", "did you mean")):
        with pytest.raises(UsageError, match=said):
            choose_measures([run], [name])


def test_the_command_writes_both_pictures_and_shows_a_chart_of_80_columns(here: Path) -> None:
    """Piped, it is plain text; equal journals give equal pictures."""
    for seed in (0, 1):
        make_trained(here / f"run-{seed}", 1.0 + seed, seed=seed)
    first = p2p("run-0", "run-1")
    assert first.exit_code == 0, first.output
    assert all(len(line) <= 80 for line in first.output.splitlines())
    assert "p2pdrl (2 seeds)" in first.output
    assert first.output.isascii()
    pictures = [(here / f"curves.{suffix}").read_bytes() for suffix in ("png", "svg")]
    assert pictures[0].startswith(b"\x89PNG")
    assert p2p("run-0", "run-1").exit_code == 0
    assert pictures == [(here / f"curves.{suffix}").read_bytes() for suffix in ("png", "svg")]


@pytest.mark.parametrize("x", ["steps", "hours", "iterations"])
def test_it_draws_over_steps_hours_and_iterations(here: Path, x: str) -> None:
    make_trained(here / "run")
    done = p2p("run", "--x", x, "--measure", "return,entropy", "--json", "-o", "a.svg")
    found = json.loads(done.output)
    points = found["groups"][0]["means"]["return"]["points"]
    ends = {"steps": 4 * SIZE, "hours": 8 / 3600, "iterations": 4}
    assert points[-1][x] == approx(ends[x])
    assert points[-1]["mean"] == approx(1000.0)
    assert found["figures"] == ["a.svg"]
    assert not (here / "curves.png").exists()


def test_a_run_that_trains_or_crashed_is_drawn_as_far_as_it_came(here: Path) -> None:
    """The last line was cut by a kill."""
    run = make_trained(here / "run", total_steps=100 * SIZE, score=None)
    with (run / "journal.jsonl").open("a") as journal:
        journal.write('{"iteration":4,"st')
    done = p2p("run")
    assert done.exit_code == 0, done.output
    assert "1 run is not finished" in done.output.replace("\n", " ")
    assert read_learning(run).points[-1]["iterations"] == 4


def test_a_damaged_folder_is_one_line_and_the_others_are_drawn_all_the_same(here: Path) -> None:
    """The exit code says that something is wrong."""
    make_trained(here / "whole")
    damaged = make_trained(here / "damaged", seed=1) / "journal.jsonl"
    damaged.write_text("no record\n" + damaged.read_text())
    empty = make_trained(here / "empty", seed=2)
    (empty / "journal.jsonl").write_text("")
    done = p2p("whole", "damaged", "empty")
    assert done.exit_code == 5
    assert "damaged/journal.jsonl line 1 is not a record" in done.stderr
    assert "empty has no iteration yet" in done.stderr
    assert "p2pdrl" in done.output
    assert (here / "curves.png").exists()
    with pytest.raises(BadArtefact, match="no iteration yet"):
        read_learning(empty)
    journal = here / "whole" / "journal.jsonl"
    journal.write_text('{"iteration": 0, "peers": [{}]}\n')
    with pytest.raises(BadArtefact, match="not as p2p writes it"):
        read_learning(here / "whole")


def test_without_matplotlib_the_chart_is_shown_and_a_line_says_how_to_get_files(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained(here / "run")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = p2p("run")
    assert done.exit_code == 0
    assert "o p2pdrl" in done.output
    assert "pip install 'p2pdrl[figures]'" in done.output
    assert not (here / "curves.png").exists()


def test_tasks_stand_side_by_side_in_the_picture(here: Path) -> None:
    """Two tasks and two measures are two rows of two panels."""
    paths = [make_trained(here / task, task=task) for task in ("hopper", "ant")]
    groups, _ = group_learning(map(read_learning, paths))
    drawn = draw_curves(groups, ["return", "entropy"])
    assert "Lines: single runs" in drawn.caption
    svg = drawn.files["svg"].decode()
    assert sum(f'id="axes_{n}"' in svg for n in range(1, 9)) == 4


def test_the_last_tenth_is_that_of_the_tables_of_studies(here: Path) -> None:
    """Returns 1000, then 3000 in the last two of 20 iterations; the speed is of these alone."""
    run = make_trained(here / "run", iterations=20)
    records = [record(n, 2, 3.0 if n >= 18 else 1.0) for n in range(20)]
    (run / "journal.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    found = read_learning(run)
    assert found.last["return"] == approx(3000.0)
    assert measures(RunFolder.open(run))["train"] == approx([3000.0, 3000.0])
    assert found.last["speed"] == approx(SIZE / 2.0)


def test_a_long_journal_has_a_hundred_points(here: Path) -> None:
    run = make_trained(here / "run", iterations=250)
    found = read_learning(run)
    assert (len(found.points), found.size) == (84, 3)
    assert math.isclose(found.points[-1]["return"], 1000.0)
