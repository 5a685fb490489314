"""The cohort as its parent sees it: spawn the peers, watch them, stop them, resume.

`train` and `resume` are generators of events, so that whoever shows them stays out of the
loop. The parent takes no part in learning.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from p2p.cohort import launch, process
from p2p.cohort.events import Event, Started
from p2p.cohort.recorder import Recorder
from p2p.core.config import TrainConfig, build_config, override
from p2p.core.errors import Diverged, Interrupted, P2PError, PeerLost, UsageError
from p2p.core.returns import MAX_EPISODE_STEPS
from p2p.core.signals import StopSignals
from p2p.exchange.shared_memory import Arena, Phase
from p2p.peer import reports
from p2p.peer.peer import slot_bytes
from p2p.runs import RunFolder

CLOSED = object()  # in the inbox: a peer's pipe has closed
POLL = 0.5  # s, between looks at the peers' signs of life
STANDSTILL = 4 * POLL  # s, between two looks, after which they tell nothing
GRACE = 5.0  # s, for peers to leave after they were called off
MAX_PEERS_PER_CORE = 16  # beyond this peers only wait for one another


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
        Interrupted: SIGINT, SIGTERM or SIGHUP, after a checkpoint.
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
    if run.config.why_its_end_counts and config != run.config:
        raise UsageError(
            f"{path} cannot have another goal: {run.config.why_its_end_counts}; start a new run"
        )
    check_peers(config)
    with run:
        checkpoint = run.load_checkpoint()
        done = checkpoint.iteration if checkpoint else 0
        result = run.result()  # perhaps of a lower goal that the run had before
        if done >= config.num_iterations and result and result["steps"] >= config.whole_steps:
            why = config.why_its_end_counts
            then = f"{why}; start a new run" if why else "give --total-steps to train on"
            raise UsageError(f"{path} is complete ({done} iterations); {then}")
        run.replace_config(config)
        run.truncate_journal(done)
        notes = [*checkpoint.skipped] if checkpoint else ["no checkpoint yet: starting afresh"]
        notes += run.changed_versions()
        states = reports.split_by_peer(checkpoint.tensors, config.num_peers) if checkpoint else None
        yield from _run(run, config, states, done, notes)


def check_peers(config: TrainConfig) -> None:
    """Refuse more peers than this machine can sensibly run."""
    cores = len(os.sched_getaffinity(0))
    if config.num_peers > cores * MAX_PEERS_PER_CORE:
        raise UsageError(
            f"{config.num_peers} peers on {cores} cores would only wait for one another; "
            f"use at most {cores * MAX_PEERS_PER_CORE}"
        )


def _run(
    run: RunFolder, config: TrainConfig, states: list[reports.State] | None, done: int,
    notes: list[str],
) -> Iterator[Event]:  # fmt: skip
    with run, StopSignals() as signals, Cohort(config, states) as cohort:
        yield Started(run, config, done, [*notes, *_on_returns(config)])
        recorder = Recorder(run, config, done)
        for rank, message in cohort.messages():
            if signals.received is not None:
                cohort.arena.ask_stop()
            if isinstance(message, process.Failed):
                _fail(rank, message, run)
            if message is not None and (event := recorder.take_in(rank, message)) is not None:
                yield event
        if recorder.stopped:
            raise Interrupted(
                f"stopped after iteration {recorder.completed} of {config.num_iterations}; "
                f"continue with: p2p train --resume {run.path}",
                signals.received or signal.SIGINT,
            )


def _on_returns(config: TrainConfig) -> list[str]:
    """Say so where returns are estimates, and how to see whole episodes."""
    if not config.cuts_episodes:
        return []
    fitting = config.steps_per_peer // MAX_EPISODE_STEPS
    then = f"; --envs-per-peer {fitting} sees whole episodes" if fitting else ""
    return [
        f"envs are reset after {config.horizon:,} steps, before the time limit of "
        f"{MAX_EPISODE_STEPS:,}: returns are estimated from the reward a step and the rate of "
        f"terminations{then}"
    ]


def _fail(rank: int, failed: process.Failed, run: RunFolder) -> NoReturn:
    """Raise what a peer raised."""
    if isinstance(failed.error, Diverged):
        where = f"the last sound checkpoint is in {run.path}/checkpoints"
        raise Diverged(f"{failed.text}; {where}")
    if isinstance(failed.error, P2PError):
        raise failed.error
    raise RuntimeError(f"peer {rank} failed:\n{failed.text}")


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
        self.since = self.looked = time.monotonic_ns()
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
        """Raise PeerLost if a peer has shown no life for `peer_timeout` seconds.

        Where this process stood still itself, as when all of them were suspended, they begin anew.
        """
        now, timeout = time.monotonic_ns(), self.config.peer_timeout
        if now - self.looked > STANDSTILL * 1e9:
            self.since = now
        self.looked = now
        for rank in set(range(len(self.processes))) - ended:
            silent = (now - max(int(self.arena.life[rank, 0]), self.since)) / 1e9
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
