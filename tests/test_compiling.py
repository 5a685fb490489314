"""Kills while kernels are compiled: nobody is left, and the next start has the bits of any."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from storm_runs import BASE, Storm, assert_undisturbed
from test_storms import numbers

from p2p.core import jit

RUN = {**BASE, "total_steps": 512 * 2, "checkpoint_every": 1}
PATIENCE = 1800.0  # s: compiling takes 20 s of a core, of which there may be little
LAST, LAST_BUT_ONE = "*discounted_sums*", "*advantages*"  # that are compiled, in a second or so


def kernels(cache: Path) -> list[Path]:
    """Return the files that list what is compiled."""
    return list(cache.rglob("*.nbi"))


def fork_server(parent: int) -> int | None:
    """Return the process that compiles for a run."""
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in task.read_text().split():
            if b"p2p.cohort.server" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


class Killer(threading.Thread):
    """Kills the parent of a run, or the process that compiles for it, once, from outside.

    Args:
        due: says whether it is time; it is told how many seconds ago the parent has begun.

    Attributes:
        kernels: how many were compiled at the kill, before which there was none: None.
    """

    def __init__(
        self, storm: Storm, victim: str, cache: Path, due: Callable[[float], bool]
    ) -> None:
        super().__init__(daemon=True)
        self.storm, self.victim, self.cache, self.due = storm, victim, cache, due
        self.kernels: int | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        while not (self.storm.plan.folder / "parent").exists():
            time.sleep(0.01)
        began = time.monotonic()
        while not self.due(time.monotonic() - began):
            if self.ended.wait(0.01):
                return
        with suppress(OSError):
            parent = self.storm.plan.parent
            pid = parent if self.victim == "parent" else fork_server(parent)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                self.kernels = len(kernels(self.cache))


def survive(storm: Storm, killer: Killer) -> None:
    """Let a run be killed once, and end; check what is said and left."""
    killer.start()
    try:
        storm.blow()
    finally:
        killer.ended.set()
        killer.join()
    if killer.kernels is None:
        assert storm.codes == [0]
    elif killer.victim == "parent":
        assert storm.codes == [-signal.SIGKILL, 0]
    else:
        assert storm.codes == ([4, 0] if storm.restarts == 0 else [0])
        assert "the process that starts others (pid " in storm.said
        assert ") died: signal SIGKILL" in storm.said
        assert storm.restarts == 0 or "restarting from the start (restart 1 of 3)" in storm.said


@pytest.mark.chaos  # compiling takes 8 s
def test_a_fork_server_killed_while_it_compiles_is_named_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Over a cache that has all kernels but two, as one of them is there."""
    assert jit._FOLDER is not None
    calm = Storm(tmp_path, "calm", RUN, [])
    calm.blow_here()  # fills the cache, if nobody has
    cache = tmp_path / "cache"
    shutil.copytree(jit._FOLDER, cache / jit._FOLDER.name)
    for pattern in (LAST, LAST_BUT_ONE):
        for file in cache.rglob(pattern):
            file.unlink()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    storm = Storm(tmp_path, "storm", RUN, [])
    killer = Killer(storm, "server", cache, lambda _: any(cache.rglob(LAST_BUT_ONE)))
    many = len(kernels(cache))
    survive(storm, killer)
    assert killer.kernels == many + 1
    assert len(kernels(cache)) == many + 2
    assert_undisturbed(storm.out, calm.out)


def waiting(cache: Path, many: int, delay: float) -> Callable[[float], bool]:
    """Return what says whether so many kernels have been there for so many seconds."""
    since: list[float] = []

    def due(seconds: float) -> bool:
        if not since and len(kernels(cache)) >= many:
            since.append(seconds)
        return bool(since) and seconds - since[0] > delay

    return due


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_kills_while_kernels_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """P2P_KILLS kills of the parent and the fork server in turn, over a cache empty or half there.

    Of half a cache, lists lack their code, or code its list, or both are gone. A kill is after a
    number of kernels that is drawn, and up to 3 s more, in which numba compiles another.
    """
    goal, seed = numbers(kills=12, seed=1)
    rng = random.Random(seed)
    failures, ends = [], Counter[str]()
    calm = Storm(tmp_path, "calm", RUN, [])
    full = tmp_path / "full"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(full))
    calm.patience = PATIENCE
    calm.blow()
    many = len(kernels(full))
    for trial in range(goal):
        half, victim = trial % 4 < 2, ("server", "parent")[trial % 2]
        cache = tmp_path / f"cache-{trial}"
        shutil.copytree(full, cache)
        for file in cache.rglob("*.nb[ic]"):
            if not half or rng.random() < 0.5:
                file.unlink()
        had = len(kernels(cache))
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
        storm = Storm(tmp_path, str(trial), RUN, [], rng.choice([None, 0]))
        storm.patience = PATIENCE
        due = waiting(cache, rng.randint(had, many - 1), rng.uniform(0.0, 3.0))
        killer = Killer(storm, victim, cache, due)
        try:
            survive(storm, killer)
            assert_undisturbed(storm.out, calm.out)
        except (AssertionError, subprocess.TimeoutExpired) as failed:
            said = storm.log.read_text() if storm.log.exists() else ""
            failures.append(f"{trial}: {victim}, {had} kernels: {failed!s:.2000}\n{said}")
        told = f"{victim} with {killer.kernels} of {many} kernels, {had} at the start"
        ends[victim if killer.kernels is not None else "nobody"] += 1
        shutil.rmtree(cache)
        shutil.rmtree(storm.plan.folder.parent)
        with capsys.disabled():
            print(f"{trial + 1} runs, {len(failures)} failures; {told}", flush=True)
    with capsys.disabled():
        print(*sorted(ends.items()), *failures, sep="\n")
    assert not failures
