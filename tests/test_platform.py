"""Where the system lacks what only Linux has: import, train with both engines, evaluate.

It is taken away from Python on Linux, in the parent, the fork server and the peers, by a
`sitecustomize.py`; on macOS itself nothing was run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2p.analysis.session import check_workers
from p2p.bench.settings import cores as bench_cores
from p2p.core import machine
from p2p.core import platform as system
from p2p.core.config import TrainConfig
from p2p.exchange.shared_memory import Arena, SharedExchange
from p2p.peer.sampler import threads_of
from p2p.study.schedule import find_capacity

ROOT = Path(__file__).parents[1]
LACKING = """
import builtins, ctypes, io, os
for name in ("sched_getaffinity", "sched_setaffinity", "sched_yield", "getloadavg",
             "posix_fallocate", "fdatasync", "memfd_create", "pidfd_open"):
    if hasattr(os, name):
        delattr(os, name)
GONE = ("/proc", "/sys", "/dev/shm")

def refusing(real):
    def call(path, *args, **kwargs):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(GONE):
            raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
        return real(path, *args, **kwargs)
    return call

for module, name in ((os, "statvfs"), (os, "open"), (os, "listdir"), (os, "stat"), (io, "open"),
                     (builtins, "open")):
    setattr(module, name, refusing(getattr(module, name)))
of_library = ctypes.CDLL.__getattr__

def without_prctl(library, name):
    if name == "prctl":
        raise AttributeError(name)
    return of_library(library, name)

ctypes.CDLL.__getattr__ = without_prctl
os.P2P_TEST_LACKS = True
"""
REFUSING = """
import fcntl, os

def refuse(*_):
    raise PermissionError(1, "Operation not permitted")

for name in ("sched_getaffinity", "sched_setaffinity", "sched_yield", "fsync"):
    setattr(os, name, refuse)
fcntl.flock = refuse
"""
SCRIPT = """
import os, sys
assert hasattr(os, "sched_getaffinity") == (sys.argv[1] == "has"), "no simulation"
import p2p
runs = []
for engine in ("fused", "autograd"):
    config = p2p.TrainConfig(
        task="hopper", num_peers=2, steps_per_iteration=512, num_epochs=2, num_minibatches=4,
        total_steps=1024, final_episodes=1, engine=engine,
    )
    runs.append(p2p.train(config, engine))
found = p2p.evaluate(runs[0], 0.5, domains=2)
print(found.runs[0].measured[0].score.mean)
"""


def trained(here: Path, *, lacking: bool) -> tuple[str, dict[str, bytes]]:
    """Return what the script prints, and the policies that it leaves in `here`."""
    here.mkdir()
    env = dict(os.environ)
    if lacking:
        (here / "sitecustomize.py").write_text(LACKING)
        env["PYTHONPATH"] = str(here)
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, "lacks" if lacking else "has"],
        cwd=here, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = sorted(here.glob("*/policies/*"))
    return done.stdout, {str(file.relative_to(here)): file.read_bytes() for file in files}


def test_without_what_only_linux_has_training_and_evaluation_give_the_same_bits(tmp_path):
    said, policies = trained(tmp_path / "lacks", lacking=True)
    assert (said, policies) == trained(tmp_path / "has", lacking=False)
    assert len(policies) == 4


def test_what_a_sandbox_refuses_ends_no_run(tmp_path):
    """A filter of system calls that refuses cores ended every run: numba asks at its import."""
    (tmp_path / "sitecustomize.py").write_text(REFUSING)
    code = (
        "import os, p2p; assert os.sched_yield.__name__ == 'refuse', 'no simulation'\n"
        "config = p2p.TrainConfig(task='hopper', num_peers=2, steps_per_iteration=512,"
        " num_epochs=1, num_minibatches=4, total_steps=512, final_episodes=0)\n"
        "print(len(p2p.train(config, 'run').records()))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(("quota", "processes", "threads"), [(None, 64, 32), (2.5, 3, 1)])
def test_every_count_of_cores_keeps_to_the_quota(monkeypatch, quota, processes, threads):
    """64 cores in sight and the time of two: 64 processes and 12 runs at once were started."""
    monkeypatch.setattr(system, "usable_cores", lambda: set(range(64)))
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert check_workers(None) == find_capacity().size == bench_cores() == processes
    assert threads_of(TrainConfig(num_peers=2)) == threads


def test_only_one_module_asks_for_what_systems_differ_in():
    """So a new call that macOS lacks is seen here, not there."""
    words = re.compile(
        r"sched_\w+|prctl|/proc/self|/proc/cpuinfo|\"/dev/shm\"|getloadavg|/sys/|memfd|pidfd|fallocate|"
        r"fdatasync|SIGRTMIN|O_TMPFILE|MADV_|madvise"
    )
    allowed = {
        "p2p/core/platform.py", "p2p/core/machine.py",  # with a fallback each
        "cli/doctor_checks.py",  # says so
    }  # fmt: skip
    found = {
        f"{path.relative_to(ROOT)}: {hit}"
        for folder in ("p2p", "cli")
        for path in (ROOT / folder).rglob("*.py")
        if str(path.relative_to(ROOT)) not in allowed
        for hit in words.findall(path.read_text())
    }
    assert found == set()


def test_fallbacks(monkeypatch):
    for name in ("sched_getaffinity", "sched_setaffinity", "getloadavg", "statvfs"):
        monkeypatch.delattr(os, name)
    assert system.num_cores() == os.cpu_count()
    system.run_on({0})
    assert (system.load_average(), system.free_shared_memory()) == (0.0, None)


def test_without_dev_shm_a_file_without_a_name_serves(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "SHARED_MEMORY", tmp_path / "nowhere")
    arena = Arena(1, 64)
    assert SharedExchange(arena, 0)(arena.slots[0, 0]).shape == (1, 64)
    assert arena.slots.ctypes.data % 64 == 0


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel must send it")


@LINUX
def test_the_kernel_ends_a_process_whose_parent_ends():
    """What the others see by a pipe."""
    code = (
        "import os, signal, sys, time; from p2p.core.platform import signal_at_parents_death\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    signal_at_parents_death(signal.SIGKILL); os.write(write, b'1'); time.sleep(60)\n"
        "os.read(read, 1)"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True)
    assert time.monotonic() - began < 30  # its stdout is closed: nobody holds it any more


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        ({"proc": "0::/app/run\n", "app/cpu.max": "150000 100000", "app/run/cpu.max": "max 100000",
          "app/memory.max": "1073741824", "app/run/memory.max": "max"}, 1.5, 2**30),
        ({"proc": "4:cpu,cpuacct:/app\n3:memory:/app\n", "cpu/app/cpu.cfs_quota_us": "50000",
          "cpu/app/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1",
          "cpu/cpu.cfs_period_us": "100000", "memory/app/memory.limit_in_bytes": "536870912",
          "memory/memory.limit_in_bytes": "9223372036854771712"}, 0.5, 2**29),
        ({"proc": "0::/\n"}, None, None),
        ({}, None, None),
    ],
    ids=["version 2", "version 1", "no limit", "no control groups"],
)  # fmt: skip
def test_limits_of_control_groups(tmp_path, monkeypatch, files, quota, limit):
    """The tightest of a group and those that it lies in."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "proc")
    assert (machine.cpu_quota(), machine.memory_limit()) == (quota, limit)
