"""Storms of kills: whatever dies, and when, a run that ends has the bits of one left alone."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from made import make_finished
from storm_runs import CASES, Storm, assert_undisturbed, calm, gone, in_full
from storms import PHASES, VICTIMS, Kill, Plan, install_in_parent
from test_cohort import drain
from test_interrupt import Command

from p2p.cohort import cohort
from p2p.cohort.events import Noted
from p2p.core.config import TrainConfig
from p2p.core.errors import Interrupted, P2PError


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Let signals reach what is started, also from a job in the background or under `nohup`."""
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGHUP, hangup)
    signal.signal(signal.SIGINT, interrupt)


# What is quick enough for each change: in this process, but where the parent dies.
QUICK = {
    "two threads": ("peer", ["start-up", "begin", "domain", "collect", "exchange"]),
    "tested, by iteration": (
        "peer", ["publish", "update", "state", "message", "score", "end"],
    ),
    "dnc": ("server", ["spawn", "collect"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what trains a case undisturbed, once."""
    here = tmp_path_factory.mktemp("calm")
    return lambda case: calm(here, case)


@pytest.mark.parametrize("case", QUICK)
def test_whatever_dies_but_the_parent_a_run_ends_by_itself_with_the_same_bits(
    tmp_path, undisturbed, case
):
    """At each phase of a peer's life; then the process that starts them."""
    victim, phases = QUICK[case]
    kills = [Kill(p, victim, min(1, PHASES[p].calls - 1), n % 2) for n, p in enumerate(phases)]
    storm = Storm(tmp_path, "storm", in_full(case), kills, restarts=len(kills))
    storm.blow_here()
    assert storm.plan.fired == kills
    assert_undisturbed(storm.out, undisturbed(case))


def test_a_run_whose_parent_dies_goes_on_with_the_same_bits(tmp_path, undisturbed):
    """In the midst of a line of the journal, and before a checkpoint has its name."""
    kills = [Kill("journal", "parent", 2), Kill("rename", "parent", 3)]
    storm = Storm(tmp_path, "storm", in_full("two threads"), kills)
    storm.blow()
    assert storm.plan.fired == kills
    assert_undisturbed(storm.out, undisturbed("two threads"))


STUDY = """
name = "mine"
[settings]
total_steps = 1_000_000
[[grid]]
task = "hopper"
seed = [0]
"""
COMMANDS = (
    "eval {run} --domains 1000 --episodes 50 --plain",
    "surface {run}",
    "study mine.toml --out {out}",
    "bench --only physics,train --tasks hopper",
    "export {run} --out {out}",
    "grad-variance {run}",
)
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.mark.parametrize(
    ("name", "phase"), [*zip(SIGNALS, ["collect", "journal", "update"], strict=True)]
)
def test_a_signal_in_any_phase_leaves_a_run_that_goes_on_with_the_same_bits(
    tmp_path, undisturbed, monkeypatch, name, phase
):
    """The parent gets it, whoever has reached that phase."""
    Plan.make(tmp_path / "plan", [Kill(phase, "parent", 1, signal=name)])
    plan = install_in_parent(tmp_path / "plan", monkeypatch.setattr)
    with pytest.raises(Interrupted) as stopped:
        drain(cohort.train(TrainConfig(**in_full("two threads")), out=tmp_path / "run"))
    assert stopped.value.signum == signal.Signals[name]
    assert len(plan.fired) == 1
    drain(cohort.resume(tmp_path / "run"))
    assert_undisturbed(tmp_path / "run", undisturbed("two threads"), stops=True)


def test_a_peer_that_is_suspended_for_a_while_changes_nothing(tmp_path, undisturbed, monkeypatch):
    """For less than `--peer-timeout`; the others wait, and its parent goes on."""
    kills = [
        Kill(phase, "peer", 1, rank, signal="SIGSTOP", then="SIGCONT", after=0.5)
        for rank, phase in enumerate(["collect", "publish"])
    ]
    Plan.make(tmp_path / "plan", kills)
    plan = install_in_parent(tmp_path / "plan", monkeypatch.setattr)
    seen = drain(cohort.train(TrainConfig(**in_full("two threads")), out=tmp_path / "run"))
    assert plan.fired == kills
    assert not [event for event in seen if isinstance(event, Noted)]
    assert_undisturbed(tmp_path / "run", undisturbed("two threads"))


def numbers(**defaults: int) -> Iterator[int]:
    """Yield the counts of the long version: P2P_KILLS and so on."""
    for name, number in defaults.items():
        yield int(os.environ.get(f"P2P_{name.upper()}", number))


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_a_storm_leaves_the_bits_of_a_calm(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """P2P_KILLS kills, one to three a run, in each of `CASES` in turn; the seed draws what dies.

    P2P_PARENTS of a hundred runs are of the command line, and there the parent may die.
    """
    goal, parents, seed = numbers(kills=60, parents=30, seed=1)
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for trial, case in enumerate(itertools.cycle(CASES)):
        settings, by_command = in_full(case), rng.randrange(100) < parents
        victims = VICTIMS if by_command else ("server", "peer", "peer", "peer")
        many = rng.randint(1, 3)
        kills = [Kill.drawn(rng, victims, settings["num_peers"], 6.0) for _ in range(many)]
        storm = Storm(tmp_path, str(trial), settings, kills, rng.choice([None, 0]))
        try:
            storm.blow() if by_command else storm.blow_here()
            assert_undisturbed(storm.out, calm(tmp_path, case))
        except (AssertionError, P2PError, subprocess.TimeoutExpired) as failed:
            failures.append(f"{storm.out}, {case}: {kills}: {failed!s:.2000}")
        counts.update(f"{kill.phase} {kill.victim}" for kill in storm.plan.fired)
        how = f"by command {storm.codes}" if by_command else "here"
        done = [f"{kill.phase} {kill.victim}" for kill in storm.plan.fired]
        told = f"{trial + 1} runs, {counts.total()} kills, {len(failures)} failures"
        with capsys.disabled():
            print(f"{told}; {case} {how}: {', '.join(done)}", flush=True)
        shutil.rmtree(storm.plan.folder.parent)
        if counts.total() >= goal:
            break
    with capsys.disabled():
        print(dict(counts), *failures, sep="\n")
    assert not failures


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_signals_in_any_phase_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """P2P_SIGNALS runs: SIGINT, SIGTERM or SIGHUP, once or twice, to the parent or to all; SIGSTOP.

    Twice ends a run at once, and SIGCONT lets one go on that stood still.
    """
    goal, seed = numbers(signals=20, seed=1)
    rng = random.Random(seed)
    failures, ends = [], Counter[str]()
    for trial in range(goal):
        name = rng.choice([*SIGNALS, "SIGSTOP"])
        then = "SIGCONT" if name == "SIGSTOP" else rng.choice(["", name])
        victims = ("peer", "group", "parent") if then == "SIGCONT" else ("parent", "group")
        drawn = Kill.drawn(rng, victims, 2, 6.0)
        sent = replace(drawn, signal=name, then=then, after=1.5)
        storm = Storm(tmp_path, str(trial), in_full("two threads"), [sent])
        storm.ends = {0} if then == "SIGCONT" else {0, 128 + signal.Signals[name]}
        try:
            storm.blow()
            assert "restarting" not in storm.said
            assert_undisturbed(storm.out, calm(tmp_path, "two threads"), stops=True)
        except (AssertionError, subprocess.TimeoutExpired) as failed:
            failures.append(f"{storm.out}: {sent}: {failed!s:.2000}")
        ends[f"{name} {then} {sent.victim} {storm.codes}"] += len(storm.plan.fired)
        shutil.rmtree(storm.plan.folder.parent)
        with capsys.disabled():
            print(f"{trial + 1} runs, {ends.total()} signals, {len(failures)} failures", flush=True)
    with capsys.disabled():
        print(*sorted(ends.items()), *failures, sep="\n")
    assert not failures


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_signals_at_any_time_of_other_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """P2P_SIGNALS times SIGINT, SIGTERM or SIGHUP, once or twice, to a command or to all of its."""
    goal, seed = numbers(signals=20, seed=1)
    rng = random.Random(seed)
    run = make_finished(tmp_path / "run", num_peers=2)
    (tmp_path / "mine.toml").write_text(STUDY)
    failures, ends = [], Counter[str]()
    for trial in range(goal):
        name, command = rng.choice(SIGNALS), COMMANDS[trial % len(COMMANDS)]
        number, twice, group = signal.Signals[name], rng.random() < 0.3, rng.random() < 0.5
        out = tmp_path / str(trial)
        args = [part.format(run=run, out=out) for part in command.split()]
        started = Command(tmp_path, *args)
        time.sleep(rng.uniform(0.0, 8.0))
        for _ in range(1 + twice):
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(started.process.pid, number)
            time.sleep(1.2 * twice)
        said = ""
        with started.process:
            try:
                _, said = started.process.communicate(timeout=120)
                code = started.process.returncode
                assert code in (0, 128 + number), code
                assert "Traceback" not in said
                assert gone(started.process.pid), "processes outlive it"
            except (AssertionError, subprocess.TimeoutExpired) as failed:
                failures.append(f"{args} {name} {twice=} {group=}: {failed!s} {said[-2000:]}")
                started.process.kill()
        ends[f"{args[0]} {name} {started.process.returncode}"] += 1
        with capsys.disabled():
            print(f"{trial + 1} signals, {len(failures)} failures", flush=True)
    with capsys.disabled():
        print(*sorted(ends.items()), *failures, sep="\n")
    assert not failures
