"""A kill between any two system calls, a full disk: what is lost is never more than one write."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from p2p.core.config import TrainConfig
from p2p.core.errors import NoRoom
from p2p.runs import RunFolder, write_atomically

CONFIG = TrainConfig(task="hopper", method="p2pdrl", num_peers=2)
EFFECTS = ("open", "write", "fsync", "replace", "rename", "unlink", "ftruncate", "mkdir", "rmdir")


class Killed(BaseException):
    """The simulated process is dead."""


class FaultyOs:
    """The calls of `os` that touch the disk, one of which fails.

    Args:
        monkeypatch: pytest's.
        fatal: number of the call that fails, from 0. A failing write writes half first.
        error: the errno that this one call fails with. None means that the process dies:
            that call and every later one raise and do nothing, so that no clean-up code
            can tidy up what a SIGKILL would leave.
    """

    def __init__(self, monkeypatch, fatal, error=None):
        self.calls = []
        self.fatal = fatal
        self.error = error
        for name in EFFECTS:
            monkeypatch.setattr(os, name, self.wrap(name, getattr(os, name)))

    def wrap(self, name, real):
        def call(*args, **kwargs):
            if name == "open" and args[1] & os.O_ACCMODE == os.O_RDONLY and args[1] & os.O_NONBLOCK:
                return real(*args, **kwargs)  # a file that is read (p2p.core.reading)
            self.calls.append(name)
            number = len(self.calls) - 1
            if number == self.fatal and name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            if number == self.fatal and self.error:
                raise OSError(self.error, os.strerror(self.error))
            if number >= self.fatal and not self.error:
                raise Killed(name)
            return real(*args, **kwargs)

        return call

    @property
    def reached(self):
        return len(self.calls) > self.fatal


def tensors_at(iteration):
    return {"actor": np.full(1000, iteration, np.float32)}


def record_at(iteration):
    peers = [{"domain": "", "entropy": 1.5, "episodes": [[2.5, 7]]}] * 2
    return {"iteration": iteration, "steps": 4096 * (iteration + 1), "peers": peers}


@pytest.fixture
def fresh(tmp_path):
    """Return a maker of run folders: 20 records, checkpoints 10 and 20, run.h5."""
    numbers = itertools.count()

    def make():
        run = RunFolder.create(CONFIG, tmp_path / f"run{next(numbers)}")
        for n in range(20):
            run.append(record_at(n))
        for n in (10, 20):
            run.save_checkpoint(n, tensors_at(n), {"at": n})
        run.write_h5()
        return run

    return make


WRITES = {
    "append": lambda run: run.append(record_at(20)),
    "save_checkpoint": lambda run: run.save_checkpoint(30, tensors_at(30), {"at": 30}),
    "write_h5": lambda run: run.write_h5(),
    "truncate_journal": lambda run: run.truncate_journal(10),
    "replace_config": lambda run: run.replace_config(
        CONFIG.model_copy(update={"total_steps": 99_999})
    ),
}


CHANGED = {
    "append": "records",
    "save_checkpoint": "checkpoint",
    "truncate_journal": "records",
    "replace_config": "total_steps",
}


def told(run):
    """Return what a reader finds."""
    reader = RunFolder.open(run.path)
    found = reader.load_checkpoint()
    assert found.skipped == []
    assert (found.tensors["actor"] == found.iteration).all()
    assert found.meta == {"at": found.iteration}
    with h5py.File(run.path / "run.h5") as file:
        assert len(file["iteration"]) in (20, 21)
    numbers = [r["iteration"] for r in reader.records()]
    assert numbers == list(range(len(numbers)))
    return {
        "checkpoint": found.iteration,
        "records": len(numbers),
        "total_steps": reader.config.total_steps,
    }


@pytest.mark.parametrize("name", WRITES)
def test_a_kill_before_any_system_call_leaves_the_old_or_the_new_state(fresh, name):
    """And nothing else: no half file by a name that readers look for; the next write tidies up."""
    write = WRITES[name]
    for fatal in itertools.count():
        run = fresh()
        before = told(run)
        with pytest.MonkeyPatch.context() as patch:
            faulty = FaultyOs(patch, fatal)
            try:
                write(run)
            except Killed:
                assert faulty.reached
        after = told(run)
        assert all(after[k] == before[k] for k in after if k != CHANGED.get(name))
        for path in (run.path / "checkpoints").glob("iteration-*"):
            assert path.suffix == ".safetensors"
        run.unlock()

        successor = RunFolder.open(run.path)
        successor.truncate_journal(20)
        write(successor)
        assert not list(run.path.rglob(".*.tmp"))
        if name in CHANGED:
            assert told(run)[CHANGED[name]] != before[CHANGED[name]]
        if not faulty.reached:
            break
    assert {"open", "write"} <= set(faulty.calls)
    assert fatal >= (2 if name == "append" else 6)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("name", WRITES)
def test_a_disk_error_in_any_system_call_is_no_room_and_changes_nothing(fresh, name, code):
    """The message has what, where, why and what to do; not even a temporary file is left."""
    for fatal in itertools.count():
        run = fresh()
        before = told(run)
        with pytest.MonkeyPatch.context() as patch:
            faulty = FaultyOs(patch, fatal, code)
            message = message_of(WRITES[name], run)
        run.unlock()
        if message is None:
            break
        assert message.startswith("cannot write ")
        assert f" {run.path}" in message
        assert f": {os.strerror(code).lower()}; " in message
        # Past the rename the new state is there, only not known to be on the disk.
        if "replace" not in faulty.calls[:fatal]:
            assert told(run) == before
            assert not list(run.path.rglob(".*.tmp"))
    assert not faulty.reached


def message_of(write, *args):
    """Return what `write` complains about, or None."""
    try:
        write(*args)
    except NoRoom as error:
        return str(error)
    return None


def test_a_kill_while_a_folder_is_created_leaves_it_usable(tmp_path):
    """Before config.json lies there it counts as empty; after, it opens."""
    for fatal in itertools.count():
        path = tmp_path / f"run{fatal}"
        with pytest.MonkeyPatch.context() as patch:
            faulty = FaultyOs(patch, fatal)
            try:
                RunFolder.create(CONFIG, path).unlock()
            except Killed:
                assert faulty.reached
        if (path / "config.json").exists():
            assert RunFolder.open(path).config == CONFIG
        else:
            RunFolder.create(CONFIG, path).unlock()
            assert not list(path.rglob(".*.tmp"))
        if not faulty.reached:
            break
    assert fatal > 10


def test_a_disk_error_while_a_folder_is_created_leaves_no_trace(tmp_path):
    """Parents that had to be made are gone again as well."""
    for fatal in itertools.count():
        with pytest.MonkeyPatch.context() as patch:
            FaultyOs(patch, fatal, errno.ENOSPC)
            message = message_of(RunFolder.create, CONFIG, tmp_path / "deep" / "run")
        if message is None:
            break
        assert "no space left on device; make room there" in message
        assert not list(tmp_path.iterdir())
    assert fatal > 10


@contextmanager
def file_size_limit(size):
    """Let the kernel refuse to grow a file past `size` bytes, after a part of the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_kernel_cuts_short_leaves_the_previous_state(fresh):
    """Not simulated: a full disk takes a part of the bytes first, then refuses."""
    run = fresh()
    before = told(run)
    journal = (run.path / "journal.jsonl").read_bytes()
    with file_size_limit(len(journal) + 10), pytest.raises(NoRoom, match="cannot write journal"):
        run.append(record_at(20))
    with file_size_limit(2000):
        for write in (WRITES["save_checkpoint"], WRITES["write_h5"]):
            with pytest.raises(NoRoom, match="file too large; make room"):
                write(run)
    assert (run.path / "journal.jsonl").read_bytes() == journal
    assert told(run) == before
    assert not list(run.path.rglob(".*.tmp"))


@pytest.fixture
def small_disk(tmp_path):
    """Return a file system of 512 kB, if this process may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("may not mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_keeps_the_last_checkpoint_and_takes_the_next_when_there_is_room(small_disk):
    """Two checkpoints of 160 kB fit and a third does not, until something is deleted."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    with RunFolder.create(CONFIG, small_disk / "run") as run:
        run.append(record_at(0))
        for n in (1, 2):
            run.save_checkpoint(n, {"x": np.full(20_000, n, np.float64)}, {})
        with pytest.raises(NoRoom, match="no space left on device"):
            run.save_checkpoint(3, {"x": np.full(20_000, 3, np.float64)}, {})
        assert run.load_checkpoint().iteration == 2
        ballast.unlink()
        run.save_checkpoint(3, {"x": np.full(20_000, 3, np.float64)}, {})
        assert run.load_checkpoint().iteration == 3


def test_a_checkpoint_is_on_the_disk_before_its_name_is_and_the_journal_before_both(fresh):
    """A power cut keeps what was synced, in any order of the rest."""
    run = fresh()
    order = []
    with pytest.MonkeyPatch.context() as patch:
        fsync, replace = os.fsync, os.replace

        def traced_fsync(fd):
            order.append(Path(f"/proc/self/fd/{fd}").readlink().name)
            return fsync(fd)

        def traced_replace(source, target):
            order.append("rename")
            return replace(source, target)

        patch.setattr(os, "fsync", traced_fsync)
        patch.setattr(os, "replace", traced_replace)
        run.save_checkpoint(30, tensors_at(30), {})
    tmp = f".iteration-00000030.safetensors.{os.getpid()}.tmp"
    assert order == ["journal.jsonl", tmp, "rename", "checkpoints"]


WRITER = """
import sys
from pathlib import Path
import numpy as np
import p2p.envs.units, p2p.runs.hdf5  # which the first run.h5 would import
from p2p.runs import RunFolder
with RunFolder.open(Path(sys.argv[1])) as run:
    found = run.load_checkpoint()
    start = found.iteration if found else 0
    run.truncate_journal(start)
    run.write_h5()
    print("ready", flush=True)
    for n in range(start, 10**6):
        run.append({"iteration": n, "steps": n, "peers": [{"entropy": 1.0}]})
        run.save_checkpoint(n + 1, {"x": np.full(50_000, n + 1.0)}, {})
        run.write_h5()
"""


def test_a_storm_of_real_kills_never_costs_more_than_the_write_at_hand(tmp_path):
    """Each successor goes on from the newest checkpoint, with the journal that led to it."""
    run = RunFolder.create(CONFIG, tmp_path / "run")
    run.unlock()
    reached = 0
    delays = random.Random(0)
    for _ in range(4):
        command = [sys.executable, "-P", "-c", WRITER, str(run.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(delays.uniform(0.1, 0.3))
            writer.send_signal(signal.SIGKILL)
        found = run.load_checkpoint()
        assert found.skipped == []
        assert (found.tensors["x"] == found.iteration).all()
        records = run.records()
        assert [r["iteration"] for r in records] == list(range(len(records)))
        assert found.iteration <= len(records) <= found.iteration + 1
        assert found.iteration >= reached
        reached = found.iteration
        with h5py.File(run.path / "run.h5") as file:
            assert len(file["iteration"]) >= found.iteration - 1
    assert reached > 4


def test_an_exception_while_replacing_leaves_the_old_file(tmp_path):
    """Also Ctrl-C, which is no Exception."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
