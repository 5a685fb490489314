"""`p2p train` with real peers, on a disk that fails at one call of the parent's: one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from faulty_disk import NOTHING, FaultyDisk
from storm_runs import BASE, assert_undisturbed, flags, is_complete
from test_full_disk import FAULTS, no_power_cut  # noqa: F401

from p2p.cli import main
from p2p.cohort import cohort
from p2p.cohort.events import Iterated
from p2p.core.config import TrainConfig
from p2p.core.errors import NoRoom

RUN = {**BASE, "total_steps": 512 * 2, "checkpoint_every": 1, "milestones": 1, "test_every": 512}
# What is there already, is given back at the end, or is removed some other time; and a file without
# a name that is tried in a new folder, in another way if the first fails, and that folder's removal
HARMLESS = ("mkdir", "ftruncate", "unlink", "file", "rmdir")


def train(*args: object) -> Result:
    return CliRunner().invoke(main.p2p, ["train", "--plain", *map(str, args)])


def start(folder: Path) -> Result:
    return train(*flags(RUN), "--out", folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder).exit_code == 0
    return folder


def attack(
    tmp_path: Path, whole: Path, code: int | None, lasting: bool, numbers: Iterable[int]
) -> int:
    """Train with a call that fails, then to the end; return the number of calls."""
    for at in numbers:
        folder = tmp_path / f"run-{at}"
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(patch, folder, at, code, lasting=lasting)
            done = start(folder)
        check(disk, done, folder)
        if not is_complete(folder):
            exists = (folder / "config.json").exists()
            done = train("--resume", folder) if exists else start(folder)
            assert done.exit_code == 0, done.output
        assert_undisturbed(folder, whole)
        if not disk.reached:
            return len(disk.calls)
        shutil.rmtree(folder)
    raise AssertionError("no end")


def check(disk: FaultyDisk, done: Result, folder: Path) -> None:
    """Check what a run says that has met a failure, or none."""
    assert "Traceback" not in done.output
    if done.exit_code == 0:
        assert not disk.reached or disk.code is None or disk.calls[disk.at] in HARMLESS
        return
    assert disk.code is not None
    assert done.exit_code == NoRoom.exit_code, done.output
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: cannot write "), done.stderr
    assert f" {folder}" in last
    assert f": {os.strerror(disk.code).lower()}; " in last
    assert done.stderr.count("error: ") == 1


def test_a_run_with_peers_goes_on_after_a_failed_write(tmp_path, whole):
    """At every 40th call; `tox -e chaos` takes each."""
    attack(tmp_path, whole, errno.ENOSPC, False, range(7, NOTHING, 40))


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("code", "lasting"), FAULTS)
def test_a_run_with_peers_goes_on_after_any_failed_write(tmp_path, whole, code, lasting):
    """P2P_EVERY: every how many calls one fails, 1 by default."""
    every = int(os.environ.get("P2P_EVERY", "1"))
    calls = attack(tmp_path, whole, code, lasting, range(0, NOTHING, every))
    print(f"{calls} calls, of which each {every}. failed once")


def test_a_run_whose_folder_is_removed_says_so_and_makes_nothing_anew(tmp_path):
    run = tmp_path / "run"
    events = cohort.train(TrainConfig(**{**RUN, "total_steps": 512 * 50}), out=run)
    assert any(isinstance(event, Iterated) for event in events)
    shutil.rmtree(run)
    with pytest.raises(NoRoom, match=f"cannot write .* {run}/.*; was the folder moved"):
        list(events)
    assert list(tmp_path.iterdir()) == []
