"""What a long run costs: no memory that grows with it, and each row of run.h5 a bounded effort."""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

import p2p
from p2p.cohort import recorder
from p2p.cohort.events import Iterated
from p2p.cohort.recorder import Recorder
from p2p.core.config import TrainConfig
from p2p.peer.reports import Checkpoint, Iteration
from p2p.runs import RunFolder, journal, run_h5

TINY = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 128, "num_epochs": 1,
    "num_minibatches": 1, "hidden_sizes": (8, 8), "final_episodes": 0, "milestones": 0,
}  # fmt: skip
CONFIG = TrainConfig(**TINY, total_steps=128 * 100_000)


def metrics_at(iteration: int, rank: int) -> dict:
    """Return a peer's part of a record, of numbers that differ."""
    numbers = {f"metric_{n}": iteration + rank + n / 16 for n in range(20)}
    domain = f"wind={iteration / 7},mass={iteration / 11}"
    return {"domain": domain, "episodes": [[iteration / 3, iteration]], **numbers}


def play(found: Recorder, begin: int, end: int) -> None:
    """Let two peers report iterations, and a checkpoint after each tenth."""
    for n in range(begin, end):
        for rank in range(2):
            found.add(rank, Iteration(n, metrics_at(n, rank)))
        if (n + 1) % 10 == 0:
            for rank in range(2):
                found.add(rank, Checkpoint(n + 1, {"x": np.zeros(8, np.float32)}, b"policy"))


@pytest.fixture
def counted(monkeypatch):
    """Count lines of journals that are parsed, and bytes of run.h5 that are written."""
    counts = {"parsed": 0, "written": 0}
    parse, write = journal._parse, run_h5.write_atomically

    def counting_parse(line):
        counts["parsed"] += 1
        return parse(line)

    def counting_write(path, data, what="file"):
        counts["written"] += len(data)
        write(path, data, what)

    monkeypatch.setattr(journal, "_parse", counting_parse)
    monkeypatch.setattr(run_h5, "write_atomically", counting_write)
    monkeypatch.setattr(recorder, "H5_PAUSE", 0)  # so that nothing depends on time
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    return counts


def test_a_record_is_read_once_for_run_h5_and_its_row_written_a_bounded_number_of_times(
    tmp_path, counted
):
    """Rebuilt from the journal at each checkpoint, 600 iterations cost 18,300 records, not 600."""
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        play(found := Recorder(run, CONFIG, 0), 0, 600)
        row = (run.path / "run.h5").stat().st_size / found.run.h5.rows
    assert 540 < counted["parsed"] <= 600
    assert counted["written"] / 600 < 12 * row


def test_run_h5_in_pieces_is_run_h5_at_once(tmp_path, monkeypatch):
    """Whatever it was continued from, also from a file that somebody has damaged."""
    monkeypatch.setattr(recorder, "H5_PAUSE", 0)
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        found = Recorder(run, CONFIG, 0)
        play(found, 0, 30)
        run.append({"iteration": 30, "late": 1.0, "peers": [{"new": {"of": 2.0}}]})
        run.write_h5()
        assert run.h5.rows == 31
        pieces = (run.path / "run.h5").read_bytes()
        run.h5.forget()
        run.write_h5()
        assert (run.path / "run.h5").read_bytes() == pieces
        (run.path / "run.h5").write_bytes(pieces[:-5000])
        run.append({"iteration": 31, "peers": []})
        run.write_h5()
        with h5py.File(run.path / "run.h5") as file:
            assert file["iteration"][:].tolist() == list(range(32))
            assert file["peers/new/of"][30, 0] == 2.0
        run.truncate_journal(10)
        run.write_h5()
        with h5py.File(run.path / "run.h5") as file:
            assert file["peers/metric_3"].shape == (10, 2)


def test_the_parent_keeps_nothing_of_an_iteration(tmp_path):
    """Live objects are counted: lists that grow would show, whatever their size."""
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        found = Recorder(run, CONFIG, 0)
        play(found, 0, 100)
        gc.collect()
        before = sys.getallocatedblocks()
        play(found, 100, 400)
        gc.collect()
        assert sys.getallocatedblocks() - before < 150


def test_run_h5_is_built_in_twice_its_size(tmp_path):
    """Records as objects take five times as much: the parent grew by 15 KiB an iteration."""
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        run.write_h5()  # imports
        for n in range(1000):
            run.append({"iteration": n, "peers": [metrics_at(n, rank) for rank in range(2)]})
        tracemalloc.start()
        try:
            run.write_h5()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * (run.path / "run.h5").stat().st_size


def test_a_long_journal_is_cut_followed_and_summed_in_pieces(tmp_path, monkeypatch):
    """Readers hold some records of it, never all."""
    monkeypatch.setattr(journal, "PART", 3000)
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        for n in range(50):
            run.append({"iteration": n, "peers": [metrics_at(n, 0)]})
        parts = [records for records, _ in run.journal.parts(0)]
        assert max(map(len, parts)) < 8
        assert [r["iteration"] for part in parts for r in part] == list(range(50))
        assert [r["iteration"] for r in run.journal.last(3)] == [47, 48, 49]
        assert len(run.journal.last(60)) == 50
        lines = run.journal.path.read_bytes().splitlines(keepends=True)
        run.truncate_journal(20)
        assert run.journal.path.read_bytes() == b"".join(lines[:20])


def of_process(pid: int) -> tuple[int, int] | None:
    """Return the private memory of a process, KiB, and its number of open descriptors.

    None if it has ended.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    resident = status.partition("RssAnon:")[2].split()
    return (int(resident[0]), len(list(Path(f"/proc/{pid}/fd").iterdir()))) if resident else None


def children(pid: int) -> list[int]:
    """Return the processes below one."""
    found = [
        int(child)
        for tasks in Path(f"/proc/{pid}/task").glob("*/children")
        for child in tasks.read_text().split()
    ]
    return found + [below for child in found for below in children(child)]


def soak(folder: Path, iterations: int, peers: int) -> dict[str, list[tuple[int, int, int]]]:
    """Train, and return iteration, memory and descriptors of each process over time."""
    seen: dict[str, list[tuple[int, int, int]]] = {}

    def look(event: object) -> None:
        if not isinstance(event, Iterated) or (n := event.record["iteration"] + 1) % 50:
            return
        for pid in [os.getpid(), *children(os.getpid())]:
            name = "parent" if pid == os.getpid() else f"process {pid}"
            if (found := of_process(pid)) is not None:
                seen.setdefault(name, []).append((n, *found))

    settings = TINY | {"num_peers": peers, "steps_per_iteration": 64 * peers}
    total = settings["steps_per_iteration"] * iterations
    p2p.train(TrainConfig(**settings, total_steps=total), folder, report=look)
    return {name: rows for name, rows in seen.items() if len(rows) > iterations // 100}


SOAK = {"SOAK": 4000, "PEERS": 2}


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_soak(tmp_path):
    """P2P_SOAK=iterations of P2P_PEERS: none grows in the second half, or opens more files.

    What a peer writes to it copies from the fork server's pages, until it has its own: not at
    once, but within the first thousand iterations or two.
    """
    iterations, peers = (int(os.environ.get(f"P2P_{k}", n)) for k, n in SOAK.items())
    seen = soak(tmp_path / "run", iterations, peers)
    assert len(seen) == 2 + peers  # the parent, the fork server
    for name, rows in seen.items():
        (begin, before, _), (end, after, _) = rows[len(rows) // 2], rows[-2]
        growth = (after - before) / (end - begin)
        print(f"{name}: {before} KiB, {after} KiB; {growth:.3f} KiB an iteration")
        assert growth < (0.5 if name == "parent" else 0.1), name
        assert len({files for _, _, files in rows[:-1]}) == 1, name
