"""The cohort as its parent sees it: spawn the peers, watch them, stop them, resume.

`train` and `resume` are generators of events, so that whoever shows or stores them
stays out of the loop. The parent takes no part in learning.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p import launch, process, reports
from p2p.config import TrainConfig, build_config, override
from p2p.errors import BadArtefact, Diverged, Interrupted, P2PError, PeerLost, UsageError
from p2p.exchange import Arena, Phase
from p2p.peer import slot_bytes
from p2p.signals import StopSignals as StopSignals
from p2p.store import RunFolder
from p2p.store.files import write_atomically

CLOSED = object()  # in the inbox: a peer's pipe has closed
POLL = 0.5  # s, between looks at the peers' signs of life
GRACE = 5.0  # s, for peers to leave after they were called off
H5_REST = 100  # times what writing run.h5 took, to pass before the next time
MAX_PEERS_PER_CORE = 16  # beyond this peers only wait for one another


@dataclass(frozen=True)
class Started:
    """The run folder stands and the peers are starting."""

    run: RunFolder
    config: TrainConfig
    resumed_from: int  # iterations already completed
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Iterated:
    """All peers completed an iteration; `record` is its line in the journal."""

    record: dict[str, Any]


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint was written."""

    path: Path
    iteration: int  # iterations completed


@dataclass(frozen=True)
class Finished:
    """Training reached its last iteration."""

    run: RunFolder
    scores: list[dict[str, float]]  # by rank; empty if final_episodes is 0
    seconds: float
    steps: int


Event = Started | Iterated | Checkpointed | Finished


def train(config: TrainConfig, *, out: Path | None = None) -> Iterator[Event]:
    """Train a cohort from scratch in a new run folder.

    Args:
        out: the run folder to make; default a new one under `runs/`.

    Yields:
        Started, then an Iterated an iteration, Checkpointed in between, Finished.

    Raises:
        UsageError: settings or folder that cannot be.
        PeerLost: a peer died or hangs.
        Diverged: a peer's gradients became non-finite twice.
        Interrupted: SIGINT or SIGTERM, after a checkpoint.
        NoRoom: disk or shared memory full.
    """
    check_peers(config)
    run = RunFolder.create(config, out)
    yield from _run(run, config, None, 0, [])


def resume(
    path: Path, *, total_steps: int | None = None, total_steps_per_peer: int | None = None
) -> Iterator[Event]:
    """Continue the run at `path` from its newest checkpoint that verifies.

    Args:
        total_steps: a new goal; default the run's own.
        total_steps_per_peer: the same, counted for each peer.

    Raises:
        BadArtefact: `path` is no run folder, or holds no sound checkpoint.
        UsageError: the run has already reached its goal.
    """
    run = RunFolder.open(path)
    config = run.config
    goal = {"total_steps": total_steps, "total_steps_per_peer": total_steps_per_peer}
    goal = {name: steps for name, steps in goal.items() if steps is not None}
    config = build_config(**override(config.model_dump(), goal))
    check_peers(config)
    with run:
        checkpoint = run.load_checkpoint()
        done = checkpoint.iteration if checkpoint else 0
        if done >= config.num_iterations and run.result() is not None:
            raise UsageError(
                f"{path} is complete ({done} iterations); give --total-steps to train on"
            )
        run.replace_config(config)
        run.truncate_journal(done)
        notes = [*checkpoint.skipped] if checkpoint else ["no checkpoint yet: starting afresh"]
        notes += run.changed_versions()
        states = split_by_peer(checkpoint.tensors, config.num_peers) if checkpoint else None
        yield from _run(run, config, states, done, notes)


def check_peers(config: TrainConfig) -> None:
    """Refuse more peers than this machine can sensibly run."""
    cores = len(os.sched_getaffinity(0))
    if config.num_peers > cores * MAX_PEERS_PER_CORE:
        raise UsageError(
            f"{config.num_peers} peers on {cores} cores would only wait for one another; "
            f"use at most {cores * MAX_PEERS_PER_CORE}"
        )


def join_peers(parts: Sequence[reports.Checkpoint | reports.Milestone]) -> dict[str, NDArray[Any]]:
    """Put the peers' states together, by rank, as a checkpoint names them."""
    return {
        f"peer{rank}.{name}": np.asarray(value)
        for rank, part in enumerate(parts)
        for name, value in part.state.items()
    }


def split_by_peer(tensors: dict[str, Any], num_peers: int) -> list[reports.State]:
    """Undo the `peer<rank>.` prefixes of a checkpoint's names."""
    states: list[reports.State] = [{} for _ in range(num_peers)]
    try:
        for name, value in tensors.items():
            rank, _, rest = name.removeprefix("peer").partition(".")
            states[int(rank)][rest] = value
    except (ValueError, IndexError):
        raise BadArtefact(f"checkpoint holds {name!r}, which no peer of this run owns") from None
    return states


def _run(
    run: RunFolder, config: TrainConfig, states: list[reports.State] | None, done: int,
    notes: list[str],
) -> Iterator[Event]:  # fmt: skip
    with run, StopSignals() as signals, Cohort(config, states) as cohort:
        yield Started(run, config, done, notes)
        yield from Ledger(run, config, done).follow(cohort, signals)


class Cohort:
    """K peer processes, their pipes and their shared memory."""

    def __init__(self, config: TrainConfig, states: list[reports.State] | None) -> None:
        self.config, self.states = config, states
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        self.inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def __enter__(self) -> Cohort:
        context = launch.prepare(self.config.engine)
        self.arena = Arena(self.config.num_peers, slot_bytes(self.config))
        with launch.without_main():
            for rank in range(self.config.num_peers):
                ours, theirs = context.Pipe(duplex=False)
                state = self.states[rank] if self.states else None
                args = (rank, self.config, self.arena, theirs, state)
                child = context.Process(
                    target=process.peer_main, args=args, name=f"peer {rank}", daemon=True
                )
                child.start()
                theirs.close()
                self.processes.append(child)
                self.pipes.append(ours)
                threading.Thread(target=self._listen, args=(rank,), daemon=True).start()
        self.started = time.monotonic_ns()
        return self

    def messages(self) -> Iterator[tuple[int, Any]]:
        """Yield (rank, what it reported), and (-1, None) at least every `POLL` seconds.

        Ends when every peer has closed its pipe.

        Raises:
            PeerLost: a peer died or hangs.
        """
        ended: set[int] = set()
        listening = len(self.pipes)
        while listening:
            try:
                rank, message = self.inbox.get(timeout=POLL)
            except queue.Empty:
                rank, message = -1, None
            if message is CLOSED:
                listening -= 1
                if rank not in ended:
                    self._mourn(rank)
                continue
            if isinstance(message, reports.Ended | reports.Stopped | process.Failed):
                ended.add(rank)
            yield rank, message
            self._check_life(ended)

    def _listen(self, rank: int) -> None:
        """Move what peer `rank` reports to the inbox until its pipe closes.

        In a thread of its own: a peer that hangs within a message must not block the parent.
        """
        try:
            while True:
                self.inbox.put((rank, self.pipes[rank].recv()))
        except (EOFError, OSError):
            self.inbox.put((rank, CLOSED))

    def _mourn(self, rank: int) -> None:
        """Raise PeerLost for a peer whose pipe closed before it had ended."""
        child = self.processes[rank]
        child.join(GRACE)
        code = child.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}"
        raise PeerLost(f"peer {rank} (pid {child.pid}) died while {self._phase(rank)}: {how}")

    def _check_life(self, ended: set[int]) -> None:
        """Raise PeerLost if a peer has shown no life for `peer_timeout` seconds."""
        now, timeout = time.monotonic_ns(), self.config.peer_timeout
        for rank in set(range(len(self.processes))) - ended:
            silent = (now - max(int(self.arena.life[rank, 0]), self.started)) / 1e9
            if silent > timeout:
                pid = self.processes[rank].pid
                raise PeerLost(
                    f"peer {rank} (pid {pid}) hangs while {self._phase(rank)}: no sign of life "
                    f"for {silent:.0f} s (--peer-timeout {timeout:g})"
                )

    def _phase(self, rank: int) -> str:
        return Phase(int(self.arena.life[rank, 1])).name.lower()

    def __exit__(self, *exc: object) -> None:
        """Leave no process behind."""
        self.arena.abort()
        deadline = time.monotonic() + (GRACE if exc[0] is None else 0.2)
        for child in self.processes:
            child.join(max(0.0, deadline - time.monotonic()))
            if child.is_alive():
                child.kill()
                child.join()


class Ledger:
    """Puts the peers' reports together and writes them down."""

    def __init__(self, run: RunFolder, config: TrainConfig, done: int) -> None:
        self.run, self.config, self.completed = run, config, done
        self.first = done
        self.start = self.last = time.perf_counter()
        self.h5_due = 0.0  # when run.h5 may be written next
        self.h5_stale = False
        self.parts: dict[tuple[type, int], dict[int, Any]] = {}

    def follow(self, cohort: Cohort, signals: StopSignals) -> Iterator[Event]:
        """Yield the run's events until it ends."""
        stopped = False
        for rank, message in cohort.messages():
            if signals.received is not None:
                cohort.arena.ask_stop()
            if isinstance(message, process.Failed):
                self._fail(rank, message)
            if message is None or isinstance(message, process.Failed):
                continue
            key = (type(message), message[0])
            parts = self.parts.setdefault(key, {})
            parts[rank] = message
            if len(parts) == self.config.num_peers:
                del self.parts[key]
                if isinstance(message, reports.Stopped):
                    stopped = True
                    self._write_h5(last=True)
                else:
                    event = self._complete([parts[k] for k in range(self.config.num_peers)])
                    if event is not None:
                        yield event
        if stopped:
            raise Interrupted(
                f"stopped after iteration {self.completed} of {self.config.num_iterations}; "
                f"continue with: p2p train --resume {self.run.path}",
                signals.received or signal.SIGINT,
            )

    def _complete(self, parts: list[Any]) -> Event | None:
        """Write down what all peers have now reported, by rank."""
        first = parts[0]
        if isinstance(first, reports.Iteration):
            record = self._record(first.iteration, [part.metrics for part in parts])
            self.run.append(record)
            self.completed = first.iteration + 1
            return Iterated(record)
        if isinstance(first, reports.Milestone):
            self.run.save_milestone(first.iteration, join_peers(parts))
            return None
        if isinstance(first, reports.Checkpoint):
            path = self.run.save_checkpoint(first.iteration, join_peers(parts), {})
            for rank, part in enumerate(parts):
                write_atomically(self.run.policy_path(rank), part.policy, "policy")
            self.h5_stale = True
            self._write_h5(last=False)
            return Checkpointed(path, first.iteration)
        scores = [part.score for part in parts if part.score is not None]
        seconds = time.perf_counter() - self.start
        steps = self.completed * self.config.steps_per_iteration
        self._write_h5(last=True)
        self.run.save_result({"steps": steps, "seconds": seconds, "scores": scores})
        return Finished(self.run, scores, seconds, steps)

    def _write_h5(self, *, last: bool) -> None:
        """Write run.h5, unless it holds all; if not the last time, only now and then.

        It is rebuilt whole, so what it costs grows with the run, and the peers feel what this
        process takes of their cores: of a thousand HalfCheetah iterations 2 %.
        """
        begun = time.perf_counter()
        if not self.h5_stale or (begun < self.h5_due and not last):
            return
        self.run.write_h5()
        self.h5_stale = False
        ended = time.perf_counter()
        self.h5_due = ended + H5_REST * (ended - begun)

    def _record(self, iteration: int, peers: list[dict[str, Any]]) -> dict[str, Any]:
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        size = self.config.steps_per_iteration
        return {
            "iteration": iteration,
            "steps": (iteration + 1) * size,
            "seconds": seconds,
            "elapsed": now - self.start,
            "steps_per_second": (iteration + 1 - self.first) * size / (now - self.start),
            "peers": peers,
        }

    def _fail(self, rank: int, failed: process.Failed) -> None:
        """Raise what a peer raised."""
        if isinstance(failed.error, Diverged):
            where = f"the last sound checkpoint is in {self.run.path}/checkpoints"
            raise Diverged(f"{failed.text}; {where}")
        if isinstance(failed.error, P2PError):
            raise failed.error
        raise RuntimeError(f"peer {rank} failed:\n{failed.text}")
