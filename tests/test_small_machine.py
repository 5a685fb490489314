"""A machine with little room: /dev/shm, a disk that fills up, memory. Needs Linux and root."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from storm_runs import assert_undisturbed, flags, gone
from test_interrupt import members

PROGRAM = "from p2p.cli.start import main; main()"
P2P = shlex.join([sys.executable, "-P", "-c", PROGRAM])
RUN = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 256, "num_minibatches": 4,
    "num_epochs": 1, "total_steps": 256 * 4, "final_episodes": 1, "milestones": 0,
    "checkpoint_every": 1,
}  # fmt: skip
MEMORY = Path("/sys/fs/cgroup/memory")


@cache
def may_mount() -> bool:
    """Say whether this process may mount a file system that nobody else sees."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/dev/shm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def mounting(test):
    return pytest.mark.skipif(not may_mount(), reason="needs root, `unshare` and mounts")(test)


def run(here: Path, script: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell in a session of its own, of which nobody may be left."""
    with subprocess.Popen(
        ["sh", "-c", script], cwd=here, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        out, err = child.communicate(timeout=timeout)
    assert gone(child.pid), members(child.pid)
    return subprocess.CompletedProcess(script, child.returncode, out, err)


def train(settings: dict[str, object], out: str) -> str:
    return f"{P2P} train --plain {shlex.join(flags(settings))} --out {out}"


def mounted(script: str) -> str:
    """Return what runs a script where nobody else sees what it mounts."""
    return f"exec unshare -m sh -c {shlex.quote(script)}"


@mounting
@pytest.mark.parametrize("size", ["4k", "64k"])
def test_a_small_dev_shm_is_one_line(tmp_path: Path, size: str):
    """Two peers with networks of 64 x 64 units need more."""
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    done = run(tmp_path, mounted(f"{mount} && {train(RUN, 'run')}"))
    assert done.returncode == 6, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "/dev/shm" in line
    assert not (tmp_path / "run").exists()


@mounting
@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_a_dev_shm_of_a_megabyte_does(tmp_path: Path):
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    done = run(tmp_path, mounted(f"{mount} && {train(RUN, 'run')}"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()


@mounting
@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_a_disk_that_fills_up_while_a_run_trains_costs_nothing(tmp_path: Path):
    """400 kB are full within the run; once there is room it goes on, and has the same bits."""
    (tmp_path / "disk").mkdir()
    settings = {**RUN, "total_steps": 256 * 100, "final_episodes": 0}
    script = (
        "mount -t tmpfs -o size=400k tmpfs disk\n"
        f"{train(settings, 'disk/run')}; echo first $? >> codes\n"
        "mount -o remount,size=20m disk\n"
        f"{P2P} train --plain --resume disk/run; echo second $? >> codes\n"
        "cp -a disk/run run"
    )
    done = run(tmp_path, mounted(script), 600)
    assert (tmp_path / "codes").read_text() == "first 6\nsecond 0\n", done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "no space left on device; make room there" in line
    assert "Traceback" not in done.stderr
    assert run(tmp_path, train(settings, "whole")).returncode == 0
    assert_undisturbed(tmp_path / "run", tmp_path / "whole")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group for this test alone."""
    folder = MEMORY / f"p2p-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(1 << 30))
    except OSError:
        pytest.skip("needs root and control groups, version 1")
    yield folder
    folder.rmdir()


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize("megabytes", [60, 120, 200, 300])
def test_a_memory_limit_ends_a_run_and_says_so(tmp_path: Path, group: Path, megabytes: int):
    """Unless the kernel kills the parent itself; with more memory it goes on in any case."""
    done = run(tmp_path, limited(group, megabytes), 600)
    print(f"{megabytes} MB: exit code {done.returncode}, {done.stderr.splitlines()[-1:]}")
    assert "Traceback" not in done.stderr
    assert done.returncode != -9 or megabytes < 200
    if done.returncode != -9:
        assert done.returncode in (4, 6), done.stderr
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert f"limited to {megabytes} MiB by control group" in line
    command = train(RUN, "run")
    if (tmp_path / "run" / "config.json").exists():
        command = f"{P2P} train --plain --resume run"
    again = run(tmp_path, command)
    assert again.returncode == 0, again.stderr
    assert run(tmp_path, train(RUN, "whole")).returncode == 0
    assert_undisturbed(tmp_path / "run", tmp_path / "whole")


def limited(group: Path, megabytes: int) -> str:
    """Limit a control group; return a script that trains in it."""
    (group / "memory.limit_in_bytes").write_text(str(megabytes << 20))
    return f"echo $$ > {group}/tasks; exec {train(RUN, 'run')}"


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_two_peers_train_in_400_megabytes(tmp_path: Path, group: Path):
    done = run(tmp_path, limited(group, 400), 600)
    assert done.returncode == 0, done.stderr
