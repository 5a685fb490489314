"""Whether a cohort that has lost a peer is started again, from where, and what is said of it."""

from __future__ import annotations

from p2p.cohort.recorder import Recorder
from p2p.cohort.states import Beginning, newest_states
from p2p.core.config import TrainConfig
from p2p.core.errors import PeerLost
from p2p.core.signals import StopSignals
from p2p.runs import RunFolder
from p2p.runs.checkpoints import Checkpoints
from p2p.runs.restarts import note_restart


class Restarts:
    """The restarts of one session of a run.

    Args:
        resume: what to say of the command that continues the run.

    Attributes:
        count: how many there were.
    """

    def __init__(self, run: RunFolder, config: TrainConfig, resume: str) -> None:
        self.run, self.config, self.resume = run, config, resume
        self.limit = config.max_restarts
        self.count = 0
        self._reached: set[int] = set()  # iterations that were complete when a peer was lost

    def go_back(
        self, lost: PeerLost, recorder: Recorder | None, signals: StopSignals
    ) -> tuple[Beginning, str]:
        """Return where the peers begin again, and the line that says so; cut the journal there.

        Raises:
            PeerLost: there were as many restarts as there may be, or the run is to stop anyway.
            BadArtefact: no checkpoint can be read.
            NoRoom: the disk is full or cannot be written.
        """
        reached = recorder.completed if recorder else 0
        self._reached.add(reached)
        if self.count >= self.limit or signals.received is not None:
            raise PeerLost(f"{lost}{self._said_at_the_end()}") from lost
        self.count += 1
        begin = newest_states(self.run, self.config)
        note_restart(self.run.path, reached, begin.done, str(lost))
        self.run.truncate_journal(begin.done)
        if recorder is not None:
            recorder.go_back(begin.done)
        where = f"from iteration {begin.done:,}" if begin.done else "from the start"
        return begin, f"{lost}; restarting {where} (restart {self.count} of {self.limit})"

    def _said_at_the_end(self) -> str:
        """Return what to add to the error that ends the run."""
        told = ""
        if self.count:
            times = "once" if self.count == 1 else f"{self.count} times"
            told = f"; it was restarted {times} (--max-restarts {self.limit})"
            if len(self._reached) == 1:
                told += f", and each time lost a peer after iteration {min(self._reached):,}"
        saved = Checkpoints(self.run.path).newest() is not None
        return f"{told}; {self.resume}" if saved else told
