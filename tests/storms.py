"""Kills within a run, at the call of a named function or after a time: for `test_storms`.

    python -c "import storms; storms.main()" PLAN ARGS...

runs `p2p ARGS` with the kills that the folder PLAN says. Nothing in p2p knows of them: functions
are wrapped, in the parent and in the peers, which are told so by the process that they run.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Phase(NamedTuple):
    """When a kill happens: as the parent or a peer calls a function.

    Attributes:
        who: "parent" or "peer".
        function: module:qualified name.
        calls: in a run of a few iterations, about.
        half: whether it writes, and a kill within it leaves half of that.
    """

    who: str
    function: str
    calls: int
    half: bool = False


PHASES = {
    "made": Phase("parent", "p2p.runs.folder:write_json", 2),
    "spawn": Phase("parent", "p2p.cohort.forkserver:Process.start", 2),
    "spawned": Phase("parent", "p2p.cohort.forkserver:read_number", 1),
    "journal": Phase("parent", "p2p.runs.journal:write_all", 6, half=True),
    "checkpoint": Phase("parent", "p2p.runs.checkpoint:write", 4),
    "file": Phase("parent", "p2p.runs.files:write_all", 12, half=True),
    "sync": Phase("parent", "os:fsync", 40),
    "rename": Phase("parent", "os:replace", 20),
    "hdf5": Phase("parent", "p2p.runs.folder:RunFolder.write_h5", 2),
    "result": Phase("parent", "p2p.runs.folder:RunFolder.save_result", 1),
    "restart": Phase("parent", "p2p.cohort.restarts:Restarts.go_back", 1),
    "truncate": Phase("parent", "p2p.runs.journal:Journal.truncate", 1),
    "shutdown": Phase("parent", "p2p.cohort.supervisor:Supervisor.__exit__", 1),
    "start-up": Phase("peer", "p2p.peer.peer:Peer.__init__", 1),
    "begin": Phase("peer", "p2p.peer.peer:Peer.begin", 1),
    "domain": Phase("peer", "p2p.peer.peer:Peer.enter_domain", 6),
    "collect": Phase("peer", "p2p.peer.sampler:Sampler.collect", 6),
    "exchange": Phase("peer", "p2p.exchange.shared_memory:SharedExchange.__call__", 30),
    "publish": Phase("peer", "p2p.exchange.shared_memory:Lane.raise_counter", 30),
    "update": Phase("peer", "p2p.peer.peer:Peer.update", 40),
    "state": Phase("peer", "p2p.peer.peer:Peer.state", 4),
    "message": Phase("peer", "multiprocessing.connection:Connection._send", 12, half=True),
    "score": Phase("peer", "p2p.peer.peer:Peer._final_score", 1),
    "end": Phase("peer", "p2p.peer.peer:Peer.end", 1),
}
TIME = "time"  # no function: so many seconds after the parent has begun
VICTIMS = ("parent", "server", "peer")  # and "group": all that the parent has started


@dataclass(frozen=True)
class Kill:
    """One of a plan.

    Attributes:
        phase: of `PHASES`, or `TIME`.
        victim: of `VICTIMS`.
        nth: call of the phase's function at which it happens, from 0, in a process.
        rank: of the peer whose call it is, and of the one that dies.
        delay: s, if the phase is `TIME`.
        signal: that it is done with; SIGKILL kills.
        then: another one, `after` s later; empty: none.
    """

    phase: str
    victim: str
    nth: int = 0
    rank: int = 0
    delay: float = 0.0
    signal: str = "SIGKILL"
    then: str = ""
    after: float = 0.0

    @classmethod
    def drawn(
        cls, rng: random.Random, victims: Sequence[str], num_peers: int, longest: float
    ) -> Kill:
        """Return a kill at random; within a write the writer dies, if it may."""
        victim, rank = rng.choice(victims), rng.randrange(num_peers)
        phases = [n for n, p in PHASES.items() if not p.half or p.who in victims] + [TIME, TIME]
        phase = rng.choice(phases)
        if phase == TIME:
            return cls(phase, victim, 0, rank, rng.uniform(0.0, longest))
        if PHASES[phase].half:
            victim = PHASES[phase].who
        return cls(phase, victim, rng.randrange(PHASES[phase].calls), rank)


class Plan:
    """The kills of a run, one after another, over all of its sessions and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kills = [Kill(**one) for one in json.loads((folder / "kills.json").read_text())]
        self._calls: dict[tuple[int, str], int] = {}

    @classmethod
    def make(cls, folder: Path, kills: list[Kill]) -> Plan:
        folder.mkdir(parents=True)
        (folder / "kills.json").write_text(json.dumps([asdict(kill) for kill in kills]))
        return cls(folder)

    @property
    def fired(self) -> list[Kill]:
        """The kills that have happened."""
        return self.kills[: len(list(self.folder.glob("fired-*")))]

    def reached(self, phase: str, rank: int | None) -> Kill | None:
        """Return the next kill if this call is its time, for one process alone."""
        number = len(self.fired)
        if number >= len(self.kills) or self.kills[number].phase != phase:
            return None
        kill, key = self.kills[number], (number, phase)
        if rank not in (None, kill.rank):
            return None
        count = self._calls[key] = self._calls.get(key, -1) + 1
        return kill if count == kill.nth and self.claim(number) else None

    def claim(self, number: int) -> bool:
        """Say whether nobody else has done this kill, and the run is not over."""
        with suppress(FileExistsError, FileNotFoundError):
            os.close(os.open(self.folder / f"fired-{number}", os.O_CREAT | os.O_EXCL))
            return True
        return False

    def note_parent(self) -> None:
        (self.folder / "parent").write_text(str(os.getpid()))

    @property
    def parent(self) -> int:
        return int((self.folder / "parent").read_text())


def strike(plan: Plan, kill: Kill) -> None:
    """Kill the victim, which may be this process: it is the parent or a peer."""
    here = os.getpid()
    if here == plan.parent:
        from p2p.cohort import launch
        from p2p.cohort.forkserver import Process

        peers = [p.pid for p in Process.live if p.name == f"peer {kill.rank}" and p.is_alive()]
        found = {"parent": [here], "server": [s.pid for s in launch._servers], "peer": peers}
    else:
        found = {"parent": [plan.parent], "server": [os.getppid()], "peer": [here]}
    found["group"] = [-plan.parent]  # which leads it
    pids = [str(pid) for pid in found[kill.victim] if pid is not None and pid not in (-1, 0, 1)]
    if kill.then and pids:
        later = f"(sleep {kill.after}; kill -s {kill.then[3:]} -- {' '.join(pids)}) 2>/dev/null &"
        subprocess.run(["sh", "-c", later], start_new_session=True, check=True)
    for pid in map(int, pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[kill.signal])


Set = Callable[[Any, str, Any], object]


def install(plan: Plan, who: str, rank: int | None, set_attribute: Set = setattr) -> None:
    """Wrap the functions at whose calls a process of a kind is to kill."""
    for name in {kill.phase for kill in plan.kills} - {TIME}:
        if PHASES[name].who == who:
            module, _, path = PHASES[name].function.partition(":")
            owner: Any = import_module(module)
            *outer, last = path.split(".")
            owner = functools.reduce(getattr, outer, owner)
            set_attribute(owner, last, _wrapped(plan, name, rank, getattr(owner, last)))


def _wrapped(plan: Plan, name: str, rank: int | None, real: Any) -> Any:
    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        if (kill := plan.reached(name, rank)) is not None:
            if PHASES[name].half and kill.signal == "SIGKILL":
                first, data, *_ = args  # (file descriptor or connection, bytes)
                real(first, bytes(data)[: len(data) // 2])
            strike(plan, kill)
        return real(*args, **kwargs)

    return call


def peer_main(folder: Path, rank: int, *args: Any) -> None:
    """Be a peer that kills."""
    from p2p.cohort import peer_process

    install(Plan(folder), "peer", rank)
    peer_process.peer_main(rank, *args)


def install_in_parent(folder: Path, set_attribute: Set = setattr) -> Plan:
    """Let this process and the peers that it will start do the kills of a plan."""
    from p2p.cohort import peer_process

    plan = Plan(folder)
    plan.note_parent()
    install(plan, "parent", None, set_attribute)
    set_attribute(peer_process, "peer_main", functools.partial(peer_main, folder))
    if any(kill.phase == TIME for kill in plan.kills):
        threading.Thread(target=_strike_in_time, args=(plan,), daemon=True).start()
    return plan


def _strike_in_time(plan: Plan) -> None:
    """Wait for the kills that have a time."""
    while plan.folder.exists() and (number := len(plan.fired)) < len(plan.kills):
        kill = plan.kills[number]
        time.sleep(kill.delay if kill.phase == TIME else 0.05)
        if kill.phase == TIME and plan.claim(number):
            strike(plan, kill)


def main() -> None:
    """Run the command line with the kills of a plan."""
    from p2p.cli.interrupt import interrupts

    interrupts.install()
    folder = Path(sys.argv.pop(1))
    sys.argv[0] = "p2p"
    install_in_parent(folder)
    from p2p.cli.start import main

    main()


def outlive_server(mark: Path) -> None:
    """Be a process whose fork server is killed before it asks to be ended with it."""
    from p2p.cohort import launch
    from p2p.cohort.server import Inherited

    os.kill(os.getppid(), signal.SIGKILL)
    while os.getppid() == Inherited.server:
        time.sleep(0.01)
    launch.die_with_parent()
    mark.touch()
