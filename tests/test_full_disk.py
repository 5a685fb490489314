"""A disk that fails at any one call, of everything that writes: one line, nothing lost, go on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from faulty_disk import NOTHING, FaultyDisk
from made import make_finished, make_run
from PIL import Image

import p2p
from p2p.analysis.evaluation.file import EvalFile, Key, Outcome
from p2p.cohort.events import Checkpointed
from p2p.cohort.recorder import Recorder
from p2p.core.config import TrainConfig
from p2p.core.errors import NoRoom
from p2p.envs.domain import Domain
from p2p.film import files
from p2p.peer import reports
from p2p.runs import RunFolder
from p2p.study.processes import RunProcess

CONFIG = TrainConfig(
    task="hopper", num_peers=1, hidden_sizes=(8, 8), steps_per_iteration=64, num_minibatches=1,
    total_steps=128, checkpoint_every=1,
)  # fmt: skip
CODES = [errno.ENOSPC, errno.EIO, None]
WHAT_TO_DO = {errno.ENOSPC: "make room there", errno.EIO: "check that disk"}


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch):
    """Leave out what waits for the disk; that it may fail is tried all the same."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> bytes:
    made = make_run(tmp_path_factory.mktemp("made") / "run", num_peers=1)
    return (made / "policies" / "peer-0.safetensors").read_bytes()


def session(folder: Path, policy: bytes, saved: list[int]) -> None:
    """Do what the parent of a run does with its folder, from the last checkpoint to the end.

    Args:
        saved: is told of each checkpoint.
    """
    exists = (folder / "config.json").exists()
    with RunFolder.open(folder) if exists else RunFolder.create(CONFIG, folder) as run:
        found = run.load_checkpoint()
        done = found.iteration if found else 0
        run.replace_config(CONFIG)
        run.truncate_journal(done)
        recorder = Recorder(run, CONFIG, done)
        state = {"x": np.arange(100.0)}
        if not done:
            recorder.add(0, reports.Milestone(0, state, policy))
        for n in range(done, 2):
            peer = {"domain": "", "episodes": [], "entropy": n / 2, "test": {"return": float(n)}}
            recorder.add(0, reports.Tested(n + 1, {"return": float(n)}, policy))
            recorder.add(0, reports.Iteration(n, peer))
            event = recorder.add(0, reports.Checkpoint(n + 1, state, policy))
            assert isinstance(event, Checkpointed)
            saved.append(event.iteration)
        recorder.add(0, reports.Ended(2, {"peer": 0, "mean": 1.0}))


def kept(folder: Path) -> dict[str, bytes]:
    """Return what a run must leave, whatever happened on the way; times vary."""
    vary = {"journal.jsonl", "run.h5", "result.json", ".lock"}
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in vary
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, policy) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    session(folder, policy, [])
    return kept(folder)


FAULTS = [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (None, False)]


@pytest.mark.parametrize(("code", "lasting"), FAULTS)
def test_a_run_goes_on_after_a_failed_write(tmp_path, policy, whole, code, lasting):
    """At every sixth call, from another one on each time; `tox -e chaos` takes every call."""
    first = FAULTS.index((code, lasting)) + 1
    attack(tmp_path, policy, whole, code, lasting, range(first, NOTHING, 6))


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("code", "lasting"), FAULTS)
def test_a_run_goes_on_after_any_failed_write(tmp_path, policy, whole, code, lasting):
    calls = attack(tmp_path, policy, whole, code, lasting, range(NOTHING))
    print(f"{calls} calls, each failed once")


def attack(tmp_path, policy, whole, code, lasting, numbers) -> int:
    """From creation to result: no checkpoint is lost, and the end is that of a run undisturbed.

    A short write is no error, and costs nothing.
    """
    for at in numbers:
        folder, saved = tmp_path / f"run{at}", []
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(patch, folder, at, code, lasting=lasting)
            failed = failure(session, folder, policy, saved)
        assert_seen(disk, failed)
        if failed is not None:
            assert failed.startswith("cannot write ")
            assert "\n" not in failed
            assert f" {folder}" in failed
            assert f": {os.strerror(code).lower()}; {WHAT_TO_DO[code]}" in failed
            if (folder / "config.json").exists():
                found = RunFolder.open(folder).load_checkpoint()
                assert saved == [] or (found.iteration >= saved[-1] and not found.skipped)
            session(folder, policy, saved)
        assert kept(folder) == whole
        run = RunFolder.open(folder)
        assert [record["iteration"] for record in run.records()] == [0, 1]
        assert run.result()["steps"] == 128
        if not disk.reached:
            break
        shutil.rmtree(folder)
    assert at > 40
    return len(disk.calls)


def failure(call, *args, **kwargs) -> str | None:
    """Return the line that a call fails with, or None."""
    try:
        call(*args, **kwargs)
    except NoRoom as error:
        return str(error)
    return None


def assert_seen(disk: FaultyDisk, failed: str | None, *harmless: str) -> None:
    """No failure is swallowed, but of a folder that is there, and of a lock that is given back."""
    if failed is None and disk.reached and disk.code is not None:
        assert disk.calls[disk.at] in ("mkdir", "ftruncate", *harmless)
    assert failed is None or (disk.reached and disk.code is not None)


@pytest.mark.parametrize("code", CODES)
def test_episodes_that_were_kept_are_not_lost_by_a_failed_write(tmp_path, code):
    """`eval.h5` is the old one or the new one, and takes the episodes once there is room."""
    known = {Key("p", "{}", str(Domain()), 0, 0): Outcome(1.5, 10, True, False)}
    new = {Key("p", "{}", str(Domain()), 0, 1): Outcome(2.5, 10, True, False)}
    EvalFile(tmp_path).keep(known)
    old = (tmp_path / "eval.h5").read_bytes()
    for at in range(NOTHING):
        (tmp_path / "eval.h5").write_bytes(old)
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(patch, tmp_path, at, code)
            failed = failure(EvalFile(tmp_path).keep, new)
        assert_seen(disk, failed)
        assert not list(tmp_path.glob(".*.tmp"))
        read = EvalFile(tmp_path)
        read.load()
        assert read.rows.items() >= known.items()
        read.keep(new)
        assert read.rows == known | new
        if not disk.reached:
            break
    assert at >= 5


def test_a_failed_write_leaves_no_half_bundle(tmp_path):
    """At every fourth call, the last of which forces the renames to the disk."""
    attack_export(tmp_path, errno.ENOSPC, range(0, NOTHING, 4))


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("older", [True, False], ids=["older", "first"])
def test_no_failed_write_leaves_half_a_bundle(tmp_path, code, older):
    calls = attack_export(tmp_path, code, range(NOTHING), older=older)
    print(f"{calls} calls, each failed once")


def attack_export(tmp_path, code, numbers, *, older: bool = True) -> int:
    """Over an older bundle, or where there is none; the new one has the same bytes."""
    run, bundle = make_finished(tmp_path / "run", num_peers=1), tmp_path / "run" / "bundle"
    given = {"domains": 1, "workers": 1, "formats": ("onnx",), "peer": "0"}
    p2p.export_policy(run, **given)
    whole = {file.name: file.read_bytes() for file in bundle.iterdir()}
    for at in numbers:
        if not older:
            shutil.rmtree(bundle)
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(patch, run, at, code)
            failed = failure(p2p.export_policy, run, **given)
        assert_seen(disk, failed, "unlink", "rmdir")  # of the old one, which the next clears up
        if failed is not None and not older:
            assert not bundle.exists()
            bundle.mkdir()
        else:
            assert {file.name: file.read_bytes() for file in bundle.iterdir()} == whole
        left = list(run.glob(".bundle.*"))
        assert left == [] or (failed is None and disk.calls[at] in ("unlink", "rmdir"))
        for folder in left:
            shutil.rmtree(folder)
        if not disk.reached:
            break
        assert failed is None or failed.startswith("cannot write ")
    assert at > 8
    return len(disk.calls)


def test_a_study_whose_folder_was_removed_says_how_its_run_ended(tmp_path):
    """It ended with a traceback: the log that tells more is gone, too."""
    process = RunProcess.__new__(RunProcess)
    process.log = tmp_path / "gone" / "run.log"
    assert process._exit_reason(6) == (f"exit code 6 (see {process.log})", 6)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_a_film_that_meets_a_full_disk_says_so(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    with pytest.raises(OSError, match="No space left on device"):
        files.write(Path("/dev/full"), suffix, map(Image.fromarray, noise), 100)
