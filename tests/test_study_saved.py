"""A saved row counts as done: a study goes on where no run folder is left."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from test_study import TINY, p2p, played, study_file  # noqa: F401

from p2p.study import State, plan_study, read_study, run_study

GRID = 'task = ["hopper", "ant"]\nmethod = "ppo"\nseed = [0, 1]'


def rows(saved: Path) -> list[dict[str, str]]:
    with (saved / "tiny.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def study(tmp_path: Path, played: None) -> list[str | Path]:  # noqa: F811
    """Return the command of a study that was run here, and whose folders are gone."""
    file = study_file(tmp_path, GRID)
    command = ["study", file, "--out", tmp_path / "out", "--save", tmp_path / "saved", "--plain"]
    assert p2p(*command).exit_code == 0
    shutil.rmtree(tmp_path / "out")
    return command


def test_runs_with_a_saved_row_are_not_trained_again(tmp_path, study):
    before = [(tmp_path / "saved" / f"tiny{end}.csv").read_text() for end in ("", "-curves")]
    result = p2p(*study)
    assert result.exit_code == 0
    assert not list((tmp_path / "out").glob("*/config.json"))
    assert "p2p compare" not in result.stdout  # no run is there
    assert f"--like fig3 --tables {tmp_path / 'saved'}" in " ".join(result.stdout.split())
    after = [(tmp_path / "saved" / f"tiny{end}.csv").read_text() for end in ("", "-curves")]
    assert after == before
    assert len(rows(tmp_path / "saved")) == 4


def test_what_has_no_row_is_trained_and_added(tmp_path, study):
    saved = tmp_path / "saved" / "tiny.csv"
    lines = saved.read_text().splitlines(keepends=True)
    saved.write_text("".join(lines[:-1]))
    assert p2p(*study).exit_code == 0
    assert len(list((tmp_path / "out").glob("*/config.json"))) == 1
    assert sorted(saved.read_text().splitlines()) == sorted("".join(lines).splitlines())


@pytest.mark.parametrize("column", ["version", "config", "steps"])
def test_a_row_of_another_version_or_settings_is_made_anew(tmp_path, study, column):
    saved = tmp_path / "saved" / "tiny.csv"
    table = rows(tmp_path / "saved")
    table[0][column] = "0.1.0" if column == "version" else "512"
    with saved.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    assert p2p(*study).exit_code == 0
    assert len(list((tmp_path / "out").glob("*/config.json"))) == 1


def test_rows_are_saved_as_each_run_ends(tmp_path, study, monkeypatch):
    """Whatever stops the study later, they are there."""
    from p2p.cli import study as command

    saved = []
    write = command._save
    monkeypatch.setattr(command, "_save", lambda *args: (saved.append(1), write(*args))[1])
    shutil.rmtree(tmp_path / "saved")
    assert p2p(*study).exit_code == 0
    assert len(saved) == 5  # one a run, and at the end


def test_only_a_part_of_the_grid_is_trained_and_the_tables_keep_the_rest(tmp_path, study):
    """So a stranger repeats one row, and a long study goes task by task."""
    saved = tmp_path / "saved"
    shutil.rmtree(saved)
    assert p2p(*study, "--only", "seed=0").exit_code == 0
    first = rows(saved)
    assert [row["run"] for row in first] == ["hopper-ppo-seed=0", "ant-ppo-seed=0"]
    shutil.rmtree(tmp_path / "out")
    assert p2p(*study, "--only", "task=hopper", "--only", "seed=0,1").exit_code == 0
    assert {row["run"] for row in rows(saved)} - {row["run"] for row in first} == {
        "hopper-ppo-seed=1"
    }
    assert [row for row in rows(saved) if row["seed"] == "0"] == first
    assert len(list((tmp_path / "out").glob("*/config.json"))) == 1


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("sed=0", "--only sed=0: unknown setting 'sed'; did you mean 'seed'?"),
        ("seed", "--only seed: give its values, as in seed=0,1"),
        ("seed=77", "study tiny has no run with seed=77; it has 0, 1"),
        ("task=hopper,walker", "study tiny has no run with task=walker; it has hopper, ant"),
    ],
)
def test_a_part_that_is_not_there_is_one_line(study, only, message):
    done = p2p(*study, "--only", only)
    assert (done.exit_code, message in done.output) == (2, True)


def test_a_saved_row_without_the_tests_asked_for_does_not_count(tmp_path, study):
    study_file(tmp_path, GRID, head=TINY)
    file = tmp_path / "tiny.toml"
    file.write_text(file.read_text() + "[evaluate]\neps_te = 0.5\n")
    assert p2p(*study).exit_code == 0
    assert len(list((tmp_path / "out").glob("*/config.json"))) == 4


TESTED = TINY + "[evaluate]\neps_te = 0.5\n"


def test_a_run_whose_tests_are_missing_or_old_is_saved_by_no_row(tmp_path, played):  # noqa: F811
    """Else another machine would count it as done, without its numbers."""
    file = study_file(tmp_path, GRID, head=TESTED)
    out, saved = tmp_path / "out", tmp_path / "saved"
    command = ["study", file, "--out", out, "--save", saved, "--plain"]
    assert p2p(*command).exit_code == 0
    (out / "hopper-ppo-seed=0" / "evaluation.json").unlink()
    old = out / "ant-ppo-seed=0" / "evaluation.json"
    old.write_text(old.read_text().replace('"mujoco": "3', '"mujoco": "2'))
    assert p2p(*command, "--results-only").exit_code == 0
    assert len(rows(saved)) == 4, "no number is lost"
    shutil.rmtree(saved)
    assert p2p(*command, "--results-only").exit_code == 0
    assert {row["run"] for row in rows(saved)} == {"hopper-ppo-seed=1", "ant-ppo-seed=1"}


@pytest.mark.parametrize("left", ["trained, not tested", "begun"])
def test_a_saved_row_counts_beside_a_folder_that_has_less(tmp_path, played, left):  # noqa: F811
    """Another study may have trained the run anew there; its row must not go for that."""
    file = study_file(tmp_path, GRID, head=TESTED)
    out, saved = tmp_path / "out", tmp_path / "saved"
    command = ["study", file, "--out", out, "--save", saved, "--plain"]
    assert p2p(*command).exit_code == 0
    before = [(saved / f"tiny{end}.csv").read_text() for end in ("", "-curves")]
    run = out / "hopper-ppo-seed=0"
    (run / "evaluation.json").unlink()
    if left == "begun":
        (run / "result.json").unlink()
        journal = run / "journal.jsonl"
        journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    done = p2p(*command, "--only", "task=ant")
    assert done.exit_code == 0, done.output
    assert [(saved / f"tiny{end}.csv").read_text() for end in ("", "-curves")] == before
    assert not list(saved.glob("*-earlier*"))


def test_rows_that_a_study_cannot_use_are_set_aside_and_said(tmp_path, study):
    """They may be all that is left of these runs; a second save loses nothing more."""
    saved = tmp_path / "saved"
    before = [(saved / f"tiny{end}.csv").read_text() for end in ("", "-curves")]
    smaller = study_file(tmp_path, GRID.replace(', "ant"', ""))
    done = p2p("study", smaller, *study[2:])
    assert done.exit_code == 0
    earlier = [saved / f"tiny-earlier{end}.csv" for end in ("", "-curves")]
    assert [file.read_text() for file in earlier] == before
    assert f"kept as {earlier[0]}, {earlier[1]}" in done.stderr
    assert len(rows(saved)) == 2
    assert "kept as" not in p2p("study", smaller, *study[2:]).stderr


def test_studies_that_share_a_run_keep_its_tests_side_by_side(tmp_path):
    """Neither tests it again after the other, and neither's numbers are gone."""
    settings = 'method = "ppo"\nhidden_sizes = [8, 8]'
    made = []
    for name, eps in (("one", 0.5), ("two", 1), ("one", 0.5)):
        head = TINY.replace("tiny", name) + f"[evaluate]\neps_te = {eps}\ndomains = 1\n"
        file = study_file(tmp_path, settings, head=head)
        made.append(plan_study(read_study(file), tmp_path / "out"))
        for _ in run_study(made[-1], 1):
            pass
    again = [plan_study(described.study, tmp_path / "out").runs[0] for described in made]
    assert [run.state for run in again] == [State.COMPLETE] * 3


@pytest.mark.parametrize(
    ("only", "runs"),
    [
        ("learning_rate=3e-4", {"hopper-ppo-seed=0", "hopper-ppo-seed=1"}),
        ("env=hopper", {"hopper-ppo-seed=0", "hopper-ppo-seed=1"}),
        ("eps_tr=0.20", {"hopper-ppo-seed=0", "hopper-ppo-seed=1"}),
    ],
)
def test_a_part_is_named_by_any_way_to_write_its_value(tmp_path, played, only, runs):  # noqa: F811
    file = study_file(tmp_path, 'method = "ppo"\neps_tr = 0.2\nseed = [0, 1]')
    done = p2p("study", file, "--out", tmp_path / "out", "--plain", "--only", only)
    assert done.exit_code == 0, done.output
    assert {path.parent.name for path in (tmp_path / "out").glob("*/config.json")} == runs


def test_rows_of_the_study_whose_folder_it_shares_count_as_its_own(tmp_path, played):  # noqa: F811
    """Where it tests no more than that one did; its table then has its own measures alone."""
    owner, saved = study_file(tmp_path, GRID, head=TESTED), tmp_path / "saved"
    options = ["--save", saved, "--plain", "--out"]
    assert p2p("study", owner, *options, tmp_path / "out").exit_code == 0

    def share(name: str, head: str) -> list[Path]:
        file = tmp_path / f"{name}.toml"
        head = head.replace('name = "tiny"', f'name = "{name}"\nfolder = "tiny"')
        file.write_text(f"{head}[[grid]]\n{GRID}\n")
        assert p2p("study", file, *options, tmp_path / name).exit_code == 0
        return list((tmp_path / name).glob("*/config.json"))

    assert share("curves", TINY) == []
    assert "eps_te" not in (saved / "curves.csv").read_text()
    assert (saved / "curves-curves.csv").read_text() == (saved / "tiny-curves.csv").read_text()
    assert share("same", TESTED) == []
    assert (saved / "same.csv").read_text() == (saved / "tiny.csv").read_text()
    assert len(share("more", TESTED.replace("0.5", "[0.5, 1]"))) == 4


def test_runs_that_diverged_have_a_table_which_outlives_their_folders(tmp_path):
    """Such a run has no result, and no other machine need train it again to know that."""
    file = study_file(tmp_path, 'task = "hopper"\nmethod = "ppo"\nlearning_rate = [3e-4, 1e30]')
    command = ["study", file, "--out", tmp_path / "out", "--save", tmp_path / "saved", "--plain"]
    assert p2p(*command).exit_code == 3
    table = tmp_path / "saved" / "tiny-diverged.csv"
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert (row["run"], row["task"], row["seed"]) == ("hopper-ppo-lr=1e+30-seed=0", "hopper", "0")
    assert (row["learning_rate"], row["version"]) == (
        "1e+30",
        rows(tmp_path / "saved")[0]["version"],
    )
    assert int(row["steps"]) < 1024
    before = table.read_text()
    shutil.rmtree(tmp_path / "out")
    again = p2p(*command)
    assert (again.exit_code, list((tmp_path / "out").glob("*/config.json"))) == (3, [])
    assert f"diverged after {row['steps']} steps, says {table}; to train it" in again.output
    assert table.read_text() == before
    assert p2p(*command, "--only", "learning_rate=3e-4").exit_code == 0
    assert table.read_text() == before
    table.write_text(before.replace(f",{row['version']}\n", ",0.1.0\n"))
    assert p2p(*command, "--only", "learning_rate=3e-4").exit_code == 0
    assert "1e+30" not in table.read_text(), "another version may not diverge"


def test_a_study_of_which_every_run_diverged_saves_that(tmp_path):
    file = study_file(tmp_path, 'task = "hopper"\nmethod = "ppo"\nlearning_rate = 1e30')
    command = ["study", file, "--out", tmp_path / "out", "--save", tmp_path / "saved", "--plain"]
    assert p2p(*command).exit_code == 3
    assert [file.name for file in (tmp_path / "saved").iterdir()] == ["tiny-diverged.csv"]
