"""Any life of a run (hypothesis): what is completed at last equals a run that was left alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from storm_runs import assert_undisturbed, in_full
from test_cohort import drain
from test_restarts import kill_peer, kill_server

import p2p
from p2p.cohort import cohort
from p2p.cohort.events import Checkpointed, Event, Iterated
from p2p.core.config import TrainConfig
from p2p.core.errors import Interrupted
from p2p.core.signals import request_stop
from p2p.runs import RunFolder

GOALS = (6, 9)  # iterations
SETTINGS = {**in_full("carried, by epoch"), "milestones": 0}  # which depend on the goal
STEPS = SETTINGS["steps_per_iteration"]


class Life(RuleBasedStateMachine):
    """A run that is started, stopped, killed, damaged, read and given another goal.

    A rule that does not apply does nothing. It is no `precondition`: how far a run that is killed
    has come depends on time, and hypothesis wants the same draws from the same beginning.
    """

    calm: Path  # where undisturbed runs of each goal are

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.out, self.goal, self.damaged = self.folder / "run", GOALS[0], False

    @property
    def complete(self) -> bool:
        if not self.out.exists():
            return False
        result = RunFolder.open(self.out).result()
        return result is not None and result["steps"] >= self.goal * STEPS

    def session(self):
        """Return the events of a start or of a continuation."""
        if self.out.exists():
            return cohort.resume(self.out, total_steps=self.goal * STEPS)
        return cohort.train(
            TrainConfig(**SETTINGS | {"total_steps": GOALS[0] * STEPS}), out=self.out
        )

    def see(self, event: Event) -> bool:
        """Take note of a checkpoint; say whether an iteration has ended."""
        self.damaged &= not isinstance(event, Checkpointed)
        return isinstance(event, Iterated)

    @rule(after=st.integers(1, 4), how=st.sampled_from(["abandon", "stop", "peer", "server"]))
    def train(self, after: int, how: str) -> None:
        """Train for some iterations, then let something happen, and leave the run some later."""
        if self.complete:
            return
        events, left = self.session(), after
        with suppress(Interrupted):
            for event in events:
                ended = self.see(event)
                left -= ended
                now = ended and left == 0  # not again at what follows, such as news of a restart
                if now and how == "stop":
                    request_stop()
                elif now and how == "peer":
                    kill_peer()
                elif now and how == "server":
                    kill_server()
                elif (now and how == "abandon") or left <= -3:
                    events.close()
                    break

    @rule()
    def train_to_the_end(self) -> None:
        if not self.complete:
            for event in self.session():
                self.see(event)
        self.compare()

    @rule()
    def want_more(self) -> None:
        self.goal = GOALS[1] if self.out.exists() else self.goal

    @rule(at=st.floats(0, 0.999))
    def damage_the_newest_checkpoint(self, at: float) -> None:
        files = sorted((self.out / "checkpoints").glob("iteration-*.safetensors"))
        if len(files) < 2 or self.damaged or self.complete:
            return
        data = bytearray(files[-1].read_bytes())
        data[int(at * len(data))] ^= 1
        files[-1].write_bytes(data)
        self.damaged = True

    @rule()
    def act(self) -> None:
        if not (self.out / "policies" / "peer-1.safetensors").exists():
            return
        assert np.isfinite(p2p.load_policy(self.out, 1).act(np.zeros(11))).all()
        numbers = [record["iteration"] for record in RunFolder.open(self.out).records()]
        assert numbers == list(range(len(numbers)))

    def compare(self) -> None:
        whole = self.calm / str(self.goal)
        if not whole.exists():
            drain(
                cohort.train(
                    TrainConfig(**SETTINGS | {"total_steps": self.goal * STEPS}), out=whole
                )
            )
        assert_undisturbed(self.out, whole, stops=True)

    def teardown(self) -> None:
        if self.out.exists():
            self.train_to_the_end()
        shutil.rmtree(self.folder)


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_any_life_of_a_run_ends_with_the_same_bits(tmp_path: Path):
    """P2P_EXAMPLES lives of up to eight steps."""
    Life.calm = tmp_path
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=int(os.environ.get("P2P_EXAMPLES", "20")), stateful_step_count=8,
            deadline=None, suppress_health_check=list(HealthCheck), database=None,
            derandomize=True, print_blob=False,
        ),
    )  # fmt: skip
