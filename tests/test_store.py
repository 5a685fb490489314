"""The run folder: what it accepts, what it refuses, and what it says then."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.core.config import GOALS, RECORDS, TrainConfig
from p2p.core.errors import BadArtefact, NoRoom, UsageError
from p2p.runs import RunFolder, checkpoint, lock, replacing

CONFIG = TrainConfig(task="hopper", method="p2pdrl", num_peers=2)


def tensors_at(iteration):
    return {
        "actor": np.linspace(0, iteration, 50, dtype=np.float32),
        "count": np.array(iteration, np.int64),
        "terminated": np.array([True, False]),
    }


def record_at(iteration, **metrics):
    return {"iteration": iteration, "steps": 4096 * (iteration + 1), **metrics}


@pytest.fixture
def run(tmp_path):
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        yield run


def checkpoints(run):
    return sorted(p.name for p in (run.path / "checkpoints").iterdir())


# --- the folder -------------------------------------------------------------------------


def test_what_create_made_opens_with_the_same_settings(tmp_path):
    """A folder outlives the process: nothing but the disk links the two."""
    config = CONFIG.model_copy(update={"hidden_sizes": (32, 16), "learning_rate": 0.1 + 0.2})
    RunFolder.create(config, tmp_path / "a" / "b").unlock()
    assert RunFolder.open(tmp_path / "a" / "b").config == config


def test_versions_name_what_the_bits_depend_on(run):
    """A number that cannot be reproduced is first asked which versions it came from."""
    versions = run.versions()
    assert versions["python"] == sys.version.split()[0]
    assert versions["numpy"] == np.__version__
    assert {"p2p", "torch", "mujoco", "platform", "cpu"} <= versions.keys()


def test_a_changed_version_is_named(run):
    """Resumed equals uninterrupted bit for bit, but not across versions of torch."""
    assert run.changed_versions() == []
    versions = {**run.versions(), "torch": "1.0"}
    (run.path / "versions.json").write_text(json.dumps(versions))
    (change,) = run.changed_versions()
    assert change.startswith("torch was 1.0 when the run began, and is ")
    (run.path / "versions.json").unlink()
    assert RunFolder.open(run.path).changed_versions() == []


def test_the_store_does_without_torch():
    """Reading a run must not cost seconds of importing what it never calls."""
    code = "import sys, p2p.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_runs_made_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    """Seeds are often started together by a shell loop."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "260101-120000")
    paths = [RunFolder.create(CONFIG).path for _ in range(3)]
    stem = "hopper-p2pdrl-260101-120000"
    assert paths == [Path("runs", name) for name in (stem, f"{stem}-2", f"{stem}-3")]


def test_a_folder_with_a_run_is_refused_with_the_way_to_continue(run):
    """The commonest slip is the same command twice; the first run must survive it."""
    before = sorted(run.path.rglob("*"))
    with pytest.raises(UsageError, match=f"--resume {run.path}.*--out"):
        RunFolder.create(CONFIG, run.path)
    assert sorted(run.path.rglob("*")) == before


@pytest.mark.parametrize("name", ["thesis.tex", "checkpoints/iteration-00000001.safetensors"])
def test_a_folder_with_other_files_is_refused_and_left_as_it_was(tmp_path, name):
    """Not even a lock file may appear among somebody's other work."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="not empty; choose another folder with --out"):
        RunFolder.create(CONFIG, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    """`--out result.h5` is a misunderstanding, not a path to overwrite."""
    (tmp_path / "result.h5").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        RunFolder.create(CONFIG, tmp_path / "result.h5")
    with pytest.raises(NoRoom, match="not a directory; choose another"):
        RunFolder.create(CONFIG, tmp_path / "result.h5" / "run")


@pytest.fixture
def unprivileged():
    """Root may write anywhere; become nobody for a while."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_an_unwritable_folder_ends_as_no_room_and_is_left_as_it_was(tmp_path, request):
    """The message names the folder, the reason and the way out."""
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    request.addfinalizer(lambda: tmp_path.chmod(0o700))
    request.getfixturevalue("unprivileged")
    with pytest.raises(NoRoom, match=r"cannot write run folder .*permission denied; make it writ"):
        RunFolder.create(CONFIG, tmp_path / "deep" / "run")
    if os.getuid() == 0:
        os.seteuid(0)
    assert not list(tmp_path.iterdir())


def test_no_run_folder_is_told_apart_from_a_damaged_one(tmp_path):
    """What to do differs: name another folder, or restore a file."""
    with pytest.raises(BadArtefact, match="is not a run folder"):
        RunFolder.open(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"task": "hop')
    with pytest.raises(BadArtefact, match=r"config.json is damaged.*restore"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["{}", '{"steps": 4096}', '{"steps": 4096, "scores": [{}]}', '{"scores": []}']
)
def test_a_result_that_lacks_what_is_read_of_it_is_damaged(run, text):
    (run.path / "result.json").write_text(text)
    with pytest.raises(BadArtefact, match=r"result.json is damaged: .*; restore it from a copy"):
        run.result()


def test_settings_of_another_version_are_named(run):
    """A config that this version cannot honour is never half-honoured."""
    (run.path / "config.json").write_text('{"task": "hopper", "curiosity": 1}')
    with pytest.raises(BadArtefact, match=r"unknown setting 'curiosity'.*made by p2p"):
        RunFolder.open(run.path)


def test_a_folder_of_a_later_format_is_refused(run):
    """A later layout may mean something else by the same names."""
    (run.path / "versions.json").write_text('{"format": 2, "p2p": "9.0"}')
    with pytest.raises(BadArtefact, match=r"format 2, this version reads 1; it was made by p2p 9"):
        RunFolder.open(run.path)


def test_latest_is_the_run_written_last(tmp_path):
    """Not the one created last: an older run that was resumed is what its user means."""
    for name in ("a", "b"):
        with RunFolder.create(CONFIG, tmp_path / name) as run:
            run.append(record_at(0))
    os.utime(tmp_path / "b" / "journal.jsonl", (1, 1))
    assert RunFolder.latest(tmp_path).path == tmp_path / "a"
    with pytest.raises(BadArtefact, match="no run under"):
        RunFolder.latest(tmp_path / "a")


def test_only_settings_that_change_no_number_can_be_replaced(run):
    """`--total-steps` prolongs a run; another discount would make it two runs in one."""
    run.replace_config(CONFIG.model_copy(update={"total_steps": 5_000_000}))
    assert RunFolder.open(run.path).config.total_steps == 5_000_000
    with pytest.raises(UsageError, match="discount"):
        run.replace_config(CONFIG.model_copy(update={"discount": 0.5}))
    assert RunFolder.open(run.path).config.discount == CONFIG.discount


# --- the lock ---------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from p2p.runs import RunFolder
with RunFolder.open(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_with_the_id_of_the_first_until_that_dies(tmp_path):
    """Two writers would interleave two histories; SIGKILL must leave no stale lock."""
    RunFolder.create(CONFIG, tmp_path / "run").unlock()
    run = RunFolder.open(tmp_path / "run")
    command = [sys.executable, "-P", "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"locked\n"
            for write in (
                lambda: run.append(record_at(0)),
                lambda: run.save_checkpoint(1, tensors_at(1), {}),
                lambda: run.truncate_journal(0),
                run.write_h5,
                run.lock,
            ):
                with pytest.raises(UsageError, match=f"written by process {holder.pid};"):
                    write()
            assert run.records() == []
        finally:
            holder.send_signal(signal.SIGKILL)
    run.append(record_at(0))
    assert run.records() == [record_at(0)]


def test_a_forgotten_run_folder_lets_go_of_its_lock(tmp_path):
    """In a notebook a training that raised must not block the next until the kernel restarts."""
    run = RunFolder.create(CONFIG, tmp_path / "run")
    del run
    RunFolder.open(tmp_path / "run").lock()


def test_reading_needs_no_lock_and_writes_nothing(run):
    """Evaluation and plots look at a run while it trains, also on a read-only disk."""
    run.append(record_at(0))
    run.save_checkpoint(1, tensors_at(1), {})
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    reader = RunFolder.open(run.path)
    assert reader.records() == [record_at(0)]
    assert reader.load_checkpoint().iteration == 1
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_of_two_creations_at_once_the_later_is_refused_and_harms_nothing(tmp_path, monkeypatch):
    """Both saw the folder empty; the first was done before the second took the lock."""
    path = tmp_path / "run"
    acquire = lock.FolderLock.acquire

    def overtaken(self):
        monkeypatch.undo()
        RunFolder.create(CONFIG, path).unlock()
        acquire(self)

    monkeypatch.setattr(lock.FolderLock, "acquire", overtaken)
    with pytest.raises(UsageError, match="already holds a run"):
        RunFolder.create(CONFIG.model_copy(update={"seed": 9}), path)
    assert RunFolder.open(path).config == CONFIG
    RunFolder.open(path).save_checkpoint(1, tensors_at(1), {})


def test_a_lock_is_on_the_file_that_others_will_open(tmp_path, monkeypatch):
    """A creation that failed unlinks its lock file, maybe just before we lock it."""
    RunFolder.create(CONFIG, tmp_path / "run").unlock()
    flock = fcntl.flock

    def late(fd, operation):
        monkeypatch.undo()
        (tmp_path / "run" / ".lock").unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        RunFolder.open(tmp_path / "run"),
        pytest.raises(UsageError, match=f"written by process {os.getpid()};"),
    ):
        RunFolder.open(tmp_path / "run").lock()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_can_be_trained_on(tmp_path, monkeypatch, code):
    """Some cluster mounts have none; the guard is lost there, the run is not."""

    def refuse(fd, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        run.append(record_at(0))
    assert run.records() == [record_at(0)]


# --- the journal ------------------------------------------------------------------------


def test_records_come_back_as_they_went_in(run):
    """Floats too: the journal is what run.h5 and every table are made from."""
    records = [record_at(n, peers=[{"entropy": 1 / 3, "episodes": [[n / 7, 5]]}]) for n in range(3)]
    for record in records:
        run.append(record)
    assert RunFolder.open(run.path).records() == records


def test_a_number_that_is_none_becomes_null_so_that_the_line_stays_json(run):
    """`NaN` is no JSON: jq, pandas and JavaScript would stop at that line."""
    run.append(record_at(0, loss=np.float32("nan"), kl=[float("inf"), np.float64(2.0)]))

    def refuse(token):
        raise AssertionError(token)

    line = json.loads((run.path / "journal.jsonl").read_text(), parse_constant=refuse)
    assert line == record_at(0, loss=None, kl=[None, 2.0])


@pytest.mark.parametrize("torn", ['{"iteration": 1, "st', "\x00\x00\x00", '{"iteration": 1}'])
def test_a_torn_last_line_is_ignored_and_then_cut_off(run, torn):
    """SIGKILL tears a write, a power cut leaves zeros; the next record must not be glued on."""
    run.append(record_at(0))
    with (run.path / "journal.jsonl").open("a") as file:
        file.write(torn)
    assert run.records() == [record_at(0)]
    run.append(record_at(1))
    assert run.records() == [record_at(0), record_at(1)]


def test_a_damaged_line_among_good_ones_is_named(run):
    """A hole in the record is for the user to judge; it is never closed silently."""
    for n in range(3):
        run.append(record_at(n))
    lines = (run.path / "journal.jsonl").read_text().splitlines(keepends=True)
    (run.path / "journal.jsonl").write_text(lines[0] + "#" + lines[1] + lines[2])
    with pytest.raises(BadArtefact, match=r"journal.jsonl line 2 .*delete that line"):
        run.records()
    with pytest.raises(BadArtefact, match="line 2"):
        run.truncate_journal(3)


def test_truncation_keeps_the_bytes_of_what_it_keeps(run):
    """After a fall-back to iteration 2, iterations 2 and later are told again."""
    for n in range(4):
        run.append(record_at(n, loss=n / 3))
    whole = (run.path / "journal.jsonl").read_bytes()
    run.truncate_journal(2)
    assert whole.startswith((run.path / "journal.jsonl").read_bytes())
    assert [r["iteration"] for r in run.records()] == [0, 1]


def test_truncation_drops_damage_that_lies_after_the_last_record_kept(run):
    """A power cut can spoil what was written since the checkpoint; that is run again anyway."""
    run.append(record_at(0))
    with (run.path / "journal.jsonl").open("a") as file:
        file.write('\x00\x00\n{"iteration": 2}\n')
    run.truncate_journal(1)
    assert run.records() == [record_at(0)]


# --- checkpoints ------------------------------------------------------------------------


def test_a_run_without_checkpoint_has_none(run):
    """None, not an error: the run was stopped before its first."""
    assert run.load_checkpoint() is None


@settings(max_examples=60, deadline=None)
@given(
    array=hnp.arrays(
        dtype=st.sampled_from(["f2", "f4", "f8", ">f8", "i1", "i8", "u8", "?", "c8"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    transpose=st.booleans(),
)
def test_tensors_come_back_bit_for_bit(tmp_path_factory, array, transpose):
    """Every dtype and shape, NaN payloads and signed zeros, whatever the memory layout."""
    given_array = array.T if transpose else array
    path = tmp_path_factory.mktemp("ckpt") / checkpoint.checkpoint_name(3)
    checkpoint.write(path, 3, {"x": given_array}, {}, CONFIG)
    found = checkpoint.read(path, CONFIG).tensors["x"]
    assert found.shape == given_array.shape
    assert found.dtype == given_array.dtype.newbyteorder("=")
    assert found.tobytes() == given_array.astype(found.dtype).tobytes()
    assert found.flags.writeable


def test_meta_comes_back_exactly(run):
    """Also what strict JSON has no word for: the best score so far may be minus infinity."""
    meta = {"steps": np.int64(2**60), "seconds": 0.1 + 0.2, "best": float("-inf"), "name": "é"}
    run.save_checkpoint(1, tensors_at(1), meta)
    assert run.load_checkpoint().meta == {**meta, "steps": 2**60}


def test_equal_content_gives_equal_bytes(run, tmp_path):
    """So that `cmp` can tell whether a resumed run equals an uninterrupted one."""
    with RunFolder.create(CONFIG, tmp_path / "other") as other:
        tensors = tensors_at(5)
        one = run.save_checkpoint(5, tensors, {"a": 1, "b": 2})
        two = other.save_checkpoint(5, dict(reversed(tensors.items())), {"a": 1, "b": 2})
    assert one.read_bytes() == two.read_bytes()


def test_the_last_two_are_kept(run):
    """One to go on from, one to fall back to."""
    for n in (1, 2, 9, 10, 99_999_999, 100_000_000):
        run.save_checkpoint(n, tensors_at(n), {})
    assert checkpoints(run) == ["iteration-100000000.safetensors", "iteration-99999999.safetensors"]
    assert run.load_checkpoint().iteration == 100_000_000


def test_what_a_killed_writer_left_half_written_goes_at_the_next_save(run):
    """Else each kill would cost the disk another checkpoint's size."""
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        killed.wait()
    earlier_version = ".run.h5.tmp"
    for name in (earlier_version, f"checkpoints/.iteration-00000005.safetensors.{killed.pid}.tmp"):
        (run.path / name).write_bytes(b"half")
    assert run.load_checkpoint() is None
    run.unlock()
    RunFolder.open(run.path).save_checkpoint(6, tensors_at(6), {})
    assert not list(run.path.rglob("*.tmp"))


def test_what_a_live_writer_has_half_written_is_left_to_it(run):
    """Whoever evaluates a run does not hold its lock; training goes on beside it."""
    run.unlock()
    with replacing(run.path / "eval.h5") as tmp:
        tmp.write_bytes(b"whole")
        RunFolder.open(run.path).save_checkpoint(6, tensors_at(6), {})
    assert (run.path / "eval.h5").read_bytes() == b"whole"


def test_of_two_processes_that_write_one_file_both_succeed(tmp_path):
    """The one that ends last has the last word."""
    path = tmp_path / "results.csv"
    other = "import sys; from p2p.runs import *; from pathlib import Path\n"
    other += "write_atomically(Path(sys.argv[1]), b'theirs')"
    with replacing(path) as tmp:
        tmp.write_bytes(b"ours")
        subprocess.run([sys.executable, "-P", "-c", other, str(path)], check=True)
        assert path.read_bytes() == b"theirs"
    assert path.read_bytes() == b"ours"
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_saving_the_same_iteration_again_does_not_cost_the_one_before(run):
    """A signal right after a checkpoint saves that iteration once more."""
    for n in (1, 2, 2):
        run.save_checkpoint(n, tensors_at(n), {})
    assert checkpoints(run) == ["iteration-00000001.safetensors", "iteration-00000002.safetensors"]


def test_a_run_whose_checkpoints_were_deleted_is_not_started_afresh(run):
    """Its journal tells of iterations that only those checkpoints could continue."""
    run.policy_path(0).write_bytes(b"policy")
    with pytest.raises(BadArtefact, match=r"checkpoints of .* were deleted.*--out"):
        run.load_checkpoint()


def damage(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning_that_names_both(run):
    """25 iterations again are cheaper than all of them."""
    for n in (25, 50):
        last = run.save_checkpoint(n, tensors_at(n), {})
    damage(last)
    found = RunFolder.open(run.path).load_checkpoint()
    assert found.iteration == 25
    np.testing.assert_array_equal(found.tensors["actor"], tensors_at(25)["actor"])
    (warning,) = found.skipped
    assert f"{last} is damaged" in warning
    assert "resuming from iteration-00000025.safetensors" in warning


def test_when_no_checkpoint_verifies_the_run_is_never_restarted_silently(run):
    """One line: which, why, and what to do."""
    for n in (25, 50):
        damage(run.save_checkpoint(n, tensors_at(n), {}))
    with pytest.raises(BadArtefact) as error:
        RunFolder.open(run.path).load_checkpoint()
    message = str(error.value)
    assert "\n" not in message
    assert "iteration-00000050.safetensors is damaged" in message
    assert "iteration-00000025.safetensors is damaged" in message
    assert "--out" in message


def test_a_rejected_checkpoint_counts_as_none_of_the_last_two_and_is_not_deleted(run):
    """Else the next prune would keep the bad one and delete the good one."""
    for n in (25, 50):
        last = run.save_checkpoint(n, tensors_at(n), {})
    damage(last)
    resumed = RunFolder.open(run.path)
    run.unlock()
    assert resumed.load_checkpoint().iteration == 25
    resumed.save_checkpoint(30, tensors_at(30), {})
    assert checkpoints(run) == [
        "iteration-00000025.safetensors",
        "iteration-00000030.safetensors",
        "iteration-00000050.rejected",
    ]


def test_a_resumed_run_that_reaches_the_rejected_iteration_again_replaces_it(run):
    """What was rejected is a file's old content; the new content is as good as any."""
    for n in (25, 50):
        last = run.save_checkpoint(n, tensors_at(n), {})
    damage(last)
    assert run.load_checkpoint().iteration == 25
    run.save_checkpoint(50, tensors_at(50), {})
    assert run.load_checkpoint().iteration == 50


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a small checkpoint's path and bytes."""
    path = tmp_path_factory.mktemp("small") / checkpoint.checkpoint_name(7)
    checkpoint.write(path, 7, {"x": np.arange(6.0), "n": np.array(3)}, {"steps": 7}, CONFIG)
    return path, path.read_bytes()


def test_no_flipped_bit_is_believed(small):
    """In every byte of the file: it is rejected, or what it says is the same."""
    path, data = small
    believed = 0
    for n in range(len(data)):
        spoilt = bytearray(data)
        spoilt[n] ^= 1 << (n * 5 % 8)
        path.write_bytes(spoilt)
        try:
            found = checkpoint.read(path, CONFIG)
        except checkpoint.Rejected:
            continue
        believed += 1
        np.testing.assert_array_equal(found.tensors["x"], np.arange(6.0))
        assert (found.iteration, found.meta, found.tensors["n"]) == (7, {"steps": 7}, 3)
    assert believed < 0.02 * len(data)  # blanks and escapes that mean the same


def test_no_truncated_file_is_believed(small):
    """At any length, the empty file and one byte short included."""
    path, data = small
    for length in (*range(0, len(data) - 1, 13), len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(checkpoint.Rejected, match="truncated or damaged"):
            checkpoint.read(path, CONFIG)


@pytest.mark.parametrize(
    ("setting", "value"), [("task", "ant"), ("seed", 1), ("hidden_sizes", (32, 32))]
)
def test_a_checkpoint_of_another_run_is_foreign_and_the_message_says_in_what(run, setting, value):
    """Its numbers would load, and be wrong."""
    foreign = CONFIG.model_copy(update={setting: value})
    checkpoint.write(
        run.path / "checkpoints" / checkpoint.checkpoint_name(9), 9, tensors_at(9), {}, foreign
    )
    with pytest.raises(BadArtefact, match=f"is of another run: {setting}=.*, here "):
        run.load_checkpoint()


def test_settings_that_change_numbers_belong_to_a_checkpoints_identity():
    """The engine too: its sums are in another order."""
    assert not {"seed", "task", "discount", "engine"} & (GOALS | RECORDS)
    assert {"total_steps", "checkpoint_every", "peer_timeout"} <= GOALS | RECORDS


def test_settings_that_change_no_number_make_no_checkpoint_foreign(run):
    """A run may be prolonged, or checkpointed more often, after it began."""
    run.save_checkpoint(9, tensors_at(9), {})
    run.replace_config(CONFIG.model_copy(update={"total_steps": 10**9, "checkpoint_every": 1}))
    assert run.load_checkpoint().iteration == 9


def test_files_that_are_no_checkpoint_are_rejected_by_reason(run, monkeypatch):
    """A policy, a renamed checkpoint and one of a later format each say what they are."""
    import safetensors.numpy

    folder = run.path / "checkpoints"
    safetensors.numpy.save_file(tensors_at(1), folder / checkpoint.checkpoint_name(1))
    with pytest.raises(BadArtefact, match="truncated or damaged, or not a checkpoint"):
        run.load_checkpoint()
    run.save_checkpoint(1, tensors_at(1), {}).rename(folder / checkpoint.checkpoint_name(2))
    with pytest.raises(BadArtefact, match="was renamed: it holds iteration 1"):
        run.load_checkpoint()
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    run.save_checkpoint(2, tensors_at(2), {})
    monkeypatch.undo()
    with pytest.raises(BadArtefact, match="has format 2, this version reads 1"):
        run.load_checkpoint()


def test_policies_lie_where_they_are_looked_for(run):
    """The folder exists from the start, so whoever writes a policy need not make it."""
    path = run.policy_path(3)
    assert path == run.path / "policies" / "peer-3.safetensors"
    assert path.parent.is_dir()
