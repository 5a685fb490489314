"""`p2p runs`: what is listed, which run is meant where none is named, what may be removed."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from made import make_run

from p2p.cli import main
from p2p.core.errors import BadArtefact, P2PError
from p2p.runs import RunFolder
from p2p.runs.listing import State, find_folders, latest_run, list_runs, remove_run

SETTINGS = {"method": "ppo", "total_steps": 4 * 4096}


def p2p(*args: str | Path, **extra: Any) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args], **extra)


def begun(path: Path, iterations: int = 0, saved: int = 0, **settings: Any) -> Path:
    """Make a run of so many iterations, the first `saved` of them in a checkpoint."""
    make_run(path, **{**SETTINGS, **settings})
    with RunFolder.open(path) as run:
        for n in range(iterations):
            run.append({"iteration": n, "seconds": 1.0, "peers": [{"note": "x" * 9000}]})
        if saved:
            run.save_checkpoint(saved, {"x": np.zeros(1)}, {})
    return path


def finished(path: Path, score: float = 100.0, **settings: Any) -> Path:
    begun(path, 4, 4, **settings)
    scores = [{"peer": 0, "mean": score}, {"peer": 1, "mean": score + 10}]
    RunFolder.open(path).save_result({"steps": 4 * 4096, "seconds": 1.0, "scores": scores})
    return path


def aged(path: Path, seconds: float) -> Path:
    when = time.time() - seconds
    for name in ("journal.jsonl", "config.json"):
        if (path / name).exists():
            os.utime(path / name, (when, when))
    return path


def killed(path: Path) -> Path:
    """Leave the lock as a process does that is killed: with its id, and held by nobody."""
    (begun(path, 2, 2) / ".lock").write_text("999999\n")
    return path


def damaged(path: Path) -> Path:
    (begun(path, 2) / "config.json").write_text("{")
    return path


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda path: finished(path), State.FINISHED),
        (lambda path: begun(path, 2, 2), State.INTERRUPTED),
        (lambda path: begun(path, 3, 2), State.CRASHED),  # an error, after the last checkpoint
        (lambda path: begun(path, 1), State.CRASHED),
        (killed, State.CRASHED),
        (damaged, State.DAMAGED),
    ],
    ids=["finished", "stopped", "an-error", "before-a-checkpoint", "killed", "damaged"],
)
def test_a_runs_state_is_read_from_what_it_left(
    tmp_path: Path, make: Callable[[Path], Path], state: State
) -> None:
    (run,) = list_runs(make(tmp_path / "a").parent)
    assert run.state is state


def test_a_run_whose_lock_is_held_is_running_and_is_not_disturbed(tmp_path: Path) -> None:
    with RunFolder.open(begun(tmp_path / "a", 2, 2)) as run:
        assert [one.state for one in list_runs(tmp_path)] == [State.RUNNING]
        run.append({"iteration": 2, "seconds": 1.0, "peers": []})
    assert [one.state for one in list_runs(tmp_path)] == [State.CRASHED]


def test_a_finished_run_with_a_new_goal_is_not_finished(tmp_path: Path) -> None:
    path = finished(tmp_path / "a")
    run = RunFolder.open(path)
    run.replace_config(run.config.model_copy(update={"total_steps": 9 * 4096}))
    run.unlock()
    (listed,) = list_runs(tmp_path)
    assert (listed.state, listed.score) == (State.INTERRUPTED, None)


def test_the_newest_comes_first_with_what_identifies_it(tmp_path: Path) -> None:
    """A journal of long lines is read from its end alone."""
    aged(finished(tmp_path / "old", seed=3), 3 * 86400)
    aged(begun(tmp_path / "new", 3, 3, task="ant"), 120)
    new, old = list_runs(tmp_path)
    assert (new.task, new.method, new.steps, new.total_steps) == ("ant", "ppo", 3 * 4096, 4 * 4096)
    assert (old.seed, old.steps, old.score) == (3, 4 * 4096, 105.0)
    first, *lines = p2p("runs", tmp_path).stdout.splitlines()
    assert first.split() == ["run", "task", "method", "steps", "score", "state", "age"]
    assert lines[0].split()[1:] == ["ant", "ppo", "12,288", "-", "interrupted", "2", "min"]
    assert lines[1].split()[1:] == ["hopper", "ppo", "16,384", "105", "finished", "3", "d"]


def test_a_studys_runs_are_one_line_and_listed_if_it_is_named(tmp_path: Path) -> None:
    for seed in range(3):
        (finished if seed else begun)(tmp_path / "studies" / "s" / f"r{seed}", seed=seed)
    finished(tmp_path / "a")
    lines = p2p("runs", tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in lines if line] == [
        "run", str(tmp_path / "a"), "folder", str(tmp_path / "studies" / "s"),
    ]  # fmt: skip
    assert "2 finished, 1 crashed" in lines[-1]
    assert len(p2p("runs", tmp_path / "studies" / "s").stdout.splitlines()) == 4
    rows = [json.loads(line) for line in p2p("runs", tmp_path, "--json").stdout.splitlines()]
    assert {row["run"] for row in rows} == {str(path) for path in find_folders(tmp_path)}
    assert {row["score"] for row in rows} == {105.0, None}


def test_latest_is_a_path_for_scripts_and_finished(tmp_path: Path) -> None:
    aged(finished(tmp_path / "done"), 100)
    begun(tmp_path / "half", 2, 2)
    assert p2p("runs", tmp_path, "--latest").stdout == f"{tmp_path / 'done'}\n"
    none = p2p("runs", tmp_path / "half", "--latest")
    assert (none.exit_code, none.stdout) == (5, "")


def test_eval_without_a_run_says_which_it_takes_and_prefers_a_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has just begun is not what one wants to know about."""
    monkeypatch.chdir(tmp_path)
    aged(finished(Path("runs/done")), 100)
    begun(Path("runs/half"), 2, 2)
    said = "note: no RUN is named: runs/done, the latest finished run\n"
    assert all(p2p(command).stderr.startswith(said) for command in ("plot", "report"))
    result = p2p("eval", "--domains", "1", "--json")
    assert result.stderr == said
    assert json.loads(result.stdout)["runs"][0]["path"] == "runs/done"
    remove_run(Path("runs/done"))
    result = p2p("eval", "--domains", "1", "--json")
    assert result.stderr == (
        "note: no RUN is named: runs/half, the latest run, which is interrupted\n"
    )


def test_every_command_that_takes_the_latest_takes_the_same(tmp_path: Path) -> None:
    aged(finished(tmp_path / "done"), 100)
    begun(tmp_path / "half", 2, 2)
    assert RunFolder.latest(tmp_path).path == latest_run(tmp_path).path == tmp_path / "done"


def test_rm_removes_what_was_named_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        finished(tmp_path / name)
    assert p2p("runs", "rm", "--yes", tmp_path / "a", tmp_path / "b").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_rm_asks_on_a_terminal_and_refuses_where_nobody_can_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished(tmp_path / "a")
    refused = p2p("runs", "rm", path)
    assert (refused.exit_code, path.exists()) == (2, True)
    assert "give --yes" in refused.stderr
    monkeypatch.setattr("p2p.cli.runs._can_ask", lambda: True)
    said = p2p("runs", "rm", path, input="n\n")
    assert (said.exit_code, path.exists()) == (0, True)
    assert said.stdout.endswith("nothing was removed\n")
    assert "hopper, ppo, 16,384 steps, finished" in said.stdout
    assert p2p("runs", "rm", path, input="y\n").exit_code == 0
    assert not path.exists()


def test_rm_never_removes_a_run_that_is_running(tmp_path: Path) -> None:
    with RunFolder.open(begun(tmp_path / "a", 1)):
        result = p2p("runs", "rm", "--yes", tmp_path / "a")
    assert (result.exit_code, (tmp_path / "a" / "journal.jsonl").exists()) == (2, True)
    assert result.stderr == f"error: {tmp_path / 'a'} is running; stop it first\n"


def test_without_locks_a_run_that_names_its_process_counts_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster's file system that process may live on another machine."""

    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    path = killed(tmp_path / "a")
    monkeypatch.setattr("p2p.runs.lock.fcntl.flock", no_locks)
    assert "is running" in p2p("runs", "rm", "--yes", path).stderr
    assert path.exists()


def a_folder(top: Path) -> Path:
    (top / "notes").mkdir()
    return top / "notes"


def of_another_program(top: Path) -> Path:
    """An empty object would do as settings: every one has a default."""
    (top / "app").mkdir()
    (top / "app" / "config.json").write_text("{}")
    (top / "app" / "versions.json").write_text('{"node": "20"}')
    return top / "app"


def a_link(top: Path) -> Path:
    (top / "link").symlink_to(finished(top / "a"))
    return top / "link"


def with_runs_inside(top: Path) -> Path:
    finished(top / "a")
    finished(top / "a" / "inner" / "b")
    return top / "a"


@pytest.mark.parametrize("make", [a_folder, of_another_program, a_link, with_runs_inside])
def test_rm_removes_only_what_is_a_run_of_ours(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = p2p("runs", "rm", "--yes", path)
    assert result.exit_code in (2, 5)
    assert len(result.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_rm_stays_out_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished(tmp_path / "a"))
    assert "holds the working directory" in p2p("runs", "rm", "--yes", tmp_path / "a").stderr


def test_one_that_may_not_be_removed_keeps_all_that_were_named(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    assert p2p("runs", "rm", "--yes", tmp_path / "a", tmp_path / "b").exit_code == 5
    assert (tmp_path / "a").exists()


def test_a_removal_that_is_cut_short_leaves_no_half_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is renamed before anything in it goes, so nothing lists or resumes the rest."""

    def cut(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("p2p.runs.listing.shutil.rmtree", cut)
    with pytest.raises(KeyboardInterrupt):
        remove_run(finished(tmp_path / "a"))
    assert list_runs(tmp_path) == []
    with pytest.raises(BadArtefact, match="no run under"):
        latest_run(tmp_path)
    assert finished(tmp_path / "a").exists()  # the name is free


def test_a_folder_of_runs_in_place_of_a_run_says_what_to_name(tmp_path: Path) -> None:
    """`p2p eval runs` for `p2p eval runs/*`."""
    finished(tmp_path / "a")
    result = p2p("eval", tmp_path)
    assert result.exit_code == 5
    assert f"holds runs: name one, such as {tmp_path / 'a'}, or all: {tmp_path}/*" in result.stderr


def test_no_run_at_all_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for args in (["runs"], ["runs", "nowhere"], ["runs", "rm", "--yes", "nowhere"]):
        result = p2p(*args)
        assert (result.exit_code, len(result.stderr.splitlines())) == (5, 1)
    with pytest.raises(P2PError):
        remove_run(tmp_path)
