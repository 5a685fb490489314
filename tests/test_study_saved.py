"""A saved row counts as done: a study goes on where no run folder is left."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from test_study import TINY, p2p, played, study_file  # noqa: F401

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
        ("seed=77", "study tiny has no run with seed=77"),
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
