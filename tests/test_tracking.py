"""Tracking: what trackers are told, also after a kill and a resume, and what cannot harm a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played import record

import p2p
from p2p.cohort import cohort, tracking
from p2p.cohort.events import Noted
from p2p.cohort.tracking import follower, parent
from p2p.cohort.tracking.quantities import Quantities, flat
from p2p.cohort.tracking.tracker import Job, Tracker
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import UsageError
from p2p.runs import RunFolder
from p2p.runs.journal import Journal
from p2p.study.names import config_hash

SMALL = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 512, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 2, "checkpoint_every": 2, "total_steps": 512 * 6,
}  # fmt: skip
ALL = ("tensorboard", "wandb", "mlflow", "trackio")
INSTALLED = [name for name in ALL if tracking.find_spec(tracking.MODULES[name])]


def small(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, **settings})


def policies(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "policies").glob("peer-*")}


# What is told


def test_numbers_have_the_tags_that_the_docs_list():
    """Of both peers and their mean; a number that is not known is left out."""
    config = TrainConfig(num_peers=2)
    one = record(config, 0) | {"seconds": 2.0}
    for rank, peer in enumerate(one["peers"]):
        peer |= {"reward_terms": {"forward": 1.0 + rank}, "test": {"return": 10.0 * rank}}
        peer["unstable"] = 1
    one["peers"][0]["value_loss"] = None
    found = Quantities(2, cut=False, limit=1000).of(one)
    assert found["train/return"] == 5.0  # of 0 and 10
    assert (found["peer0/return"], found["peer1/return"]) == (0.0, 10.0)
    assert found["train/kl"] == found["peer1/kl"] == 0.0012
    assert found["train/unstable"] == 2  # a number of episodes: a sum
    assert (found["train/reward/forward"], found["peer1/reward/forward"]) == (1.5, 2.0)
    assert (found["test/return"], found["peer1/test/return"]) == (5.0, 10.0)
    assert found["speed/steps_per_second"] == 2048
    assert found["speed/waiting"] == pytest.approx(0.2)
    assert found["peer0/domain/mass"] == 1.10
    assert "peer0/value_loss" not in found
    assert found["train/value_loss"] == found["peer1/value_loss"] == 0.25
    listed = (Path(__file__).parents[1] / "docs" / "track.md").read_text()
    for tag in found:
        name = tag.split("/")[1]
        assert any(f"{before}{name}{after}" in listed for before in "`/" for after in "`/"), tag


def test_the_best_test_of_each_peer_is_a_final_score():
    config, told = TrainConfig(num_peers=2), Quantities(2, cut=False, limit=1000)
    for n, returns in enumerate([(1.0, 5.0), (3.0, 4.0)]):
        one = record(config, n)
        for peer, value in zip(one["peers"], returns, strict=True):
            peer["test"] = {"return": value}
        told.of(one)
    scores = [{"peer": k, "mean": 100.0 + k, "length": 10.0} for k in range(2)]
    found = told.final(scores)
    assert (found["best/return"], found["peer0/best/return"]) == (4.0, 3.0)
    assert (found["final/return"], found["peer1/final/return"]) == (100.5, 101.0)


def test_settings_are_pairs_for_any_tracker():
    settings = small(randomise={"mass": {"scale": 0.2}}).settings
    found = flat(settings)
    assert found["randomise/mass/scale/high"] == 0.2
    assert found["hidden_sizes"] == "[64, 64]"
    assert found["distill_coef"] == 1.0  # a setting of the method's own
    assert {type(value) for value in found.values()} <= {bool, int, float, str}


def test_tracking_is_no_part_of_what_tells_runs_apart():
    plain, tracked = small(), small(track=["tensorboard"], test_every=1024)
    assert plain.identity() == tracked.identity()
    assert config_hash(plain) == config_hash(tracked)
    assert build_config(track="none").track == ()
    assert build_config(track=["wandb", "wandb"]).track == ("wandb",)
    with pytest.raises(UsageError, match="track=none stands alone"):
        build_config(track=["none", "wandb"])


def test_a_missing_package_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    words = r"tracking with wandb needs wandb; install it with: pip install 'p2pdrl\[wandb\]'"
    with pytest.raises(UsageError, match=words) as refused:
        p2p.train(small(), tmp_path / "run", track=["wandb"])
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


# What trackers have in the end


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A run with all trackers that are installed, killed between two checkpoints, and resumed."""
    folder = tmp_path_factory.mktemp("killed")
    run = folder / "run"
    environment = {
        "WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio"),
        "MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    code = (
        "import json, sys, p2p; from p2p.cohort.tracking import parent; parent.LOWEST_PRIORITY = 0;"
        "p2p.train(p2p.TrainConfig(**json.loads(sys.argv[1])), sys.argv[2])"
    )
    # Slow iterations, so that trackers are there before many have passed.
    settings = {
        **SMALL, "num_peers": 1, "steps_per_iteration": 4096, "num_epochs": 30,
        "total_steps": 4096 * 5000, "checkpoint_every": 10, "track": INSTALLED,
        "test_every": 4096, "test_domains": 2,
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", code, json.dumps(settings), str(run)],
            env={**os.environ, **environment}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        done = wait_for_trackers(run)
    finally:
        child.kill()
        child.wait()
    assert done > 12, (folder / "log").read_text()
    goal = 4096 * (done + 2)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(parent, "LOWEST_PRIORITY", 0)  # a busy machine would let them wait
        for _ in cohort.resume(run, total_steps=goal):
            pass
    return run


def wait_for_trackers(run: Path) -> int:
    """Wait until all have logged something, and a kill lets iterations be repeated."""
    done = 0
    for _ in range(1200):
        time.sleep(0.1)
        if (run / "journal.jsonl").exists():
            done = len((run / "journal.jsonl").read_text().splitlines())
        logged = [_logged(state) for state in (run / "tracking").glob("*.json")]
        if len(logged) == len(INSTALLED) and min(logged) > 0 and done > 12 and done % 10 > 3:
            break
    return done


def _logged(state: Path) -> int:
    return int(json.loads(state.read_text())["iterations"])


def steps_of(run: Path) -> list[int]:
    return [one["steps"] for one in RunFolder.open(run).records()]


@pytest.mark.skipif("tensorboard" not in INSTALLED, reason="needs tensorboardX")
def test_tensorboard_shows_every_iteration_once_after_a_kill_and_a_resume(killed):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(killed / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    records = RunFolder.open(killed).records()
    for tag, name in {"peer0/approx_kl": "approx_kl", "peer0/entropy": "entropy"}.items():
        events = found.Scalars(tag)
        assert [event.step for event in events] == [one["steps"] for one in records]
        expected = [one["peers"][0][name] for one in records]
        np.testing.assert_array_equal([e.value for e in events], np.float32(expected))
    tests = [one["peers"][0]["test"]["return"] for one in records]
    np.testing.assert_allclose([e.value for e in found.Scalars("peer0/test/return")], tests)
    result = RunFolder.open(killed).result()
    final = np.mean([score["mean"] for score in result["scores"]])
    assert found.Scalars("final/return")[-1].value == pytest.approx(final)
    assert any("session_start_info" in tag for tag in found.summary_metadata)
    assert any("session_end_info" in tag for tag in found.summary_metadata)


@pytest.mark.skipif("wandb" not in INSTALLED, reason="needs wandb")
def test_wandb_offline_has_every_iteration_once_under_one_id(killed):
    files = sorted((killed / "tracking" / "wandb").glob("offline-run-*/*.wandb"))
    kept = [one for file in files for one in wandb_records(file)]
    assert len(files) == 2
    assert {r.run.run_id for r in kept if r.HasField("run")} == {identity(killed, "wandb")["id"]}
    rows = [
        {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in r.history.item
        }
        for r in kept
        if r.HasField("history")
    ]
    records = RunFolder.open(killed).records()
    assert [row["_step"] for row in rows] == steps_of(killed)
    assert [row["peer0/kl"] for row in rows] == [one["peers"][0]["penalty_kl"] for one in records]
    keys = {(u.key or "/".join(u.nested_key)) for r in kept for u in r.run.config.update}
    assert {"task", "learning_rate", "distill_coef"} <= keys
    summary = {u.key or "/".join(u.nested_key) for r in kept for u in r.summary.update}
    assert "final/return" in summary
    assert [r.exit.exit_code for r in kept if r.HasField("exit")][-1] == 0


@pytest.mark.skipif("mlflow" not in INSTALLED, reason="needs mlflow-skinny")
def test_mlflow_files_have_every_iteration_once(killed):
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    own = identity(killed, "mlflow")
    client = MlflowClient(own["tracking_uri"])
    history = client.get_metric_history(own["run_id"], "peer0/kl")
    assert [metric.step for metric in history] == steps_of(killed)
    run = client.get_run(own["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["task"] == "hopper"
    scores = RunFolder.open(killed).result()["scores"]
    assert run.data.metrics["peer0/final/return"] == pytest.approx(scores[0]["mean"])


@pytest.mark.skipif("trackio" not in INSTALLED, reason="needs trackio")
def test_trackio_has_every_iteration_once(killed):
    own = identity(killed, "trackio")
    with sqlite3.connect(killed.parent / "trackio" / "p2p.db") as database:
        query = "select step, metrics from metrics where run_name = ? order by id"
        rows = [(step, json.loads(m)) for step, m in database.execute(query, (own["name"],))]
    steps = [step for step, metrics in rows if "peer0/kl" in metrics]
    assert steps == steps_of(killed)
    assert "final/return" in rows[-1][1]


def identity(run: Path, tracker: str) -> dict[str, Any]:
    return json.loads((run / "tracking" / f"{tracker}.json").read_text())["identity"]


def wandb_records(file: Path) -> Iterator[Any]:
    """Yield the records of W&B's own file: a header of 7 bytes, then LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, part = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := -at % 32768) and room < 7:
            at += room
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(part)
            part = b""


# What trackers cannot do

FAKES = {
    "init": "def init(**kwargs):\n    raise OSError('no network')\n",
    "log": (
        "class Run:\n    def log(self, *a, **k):\n        raise OSError('no network')\n"
        "def init(**kwargs):\n    return Run()\n"
    ),
    "hang": "import time\ndef init(**kwargs):\n    time.sleep(600)\n",
    "noise": "import os, sys\nprint('noise')\nos.kill(os.getpid(), 9)\n",
}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory) -> Path:
    return p2p.train(small(), tmp_path_factory.mktemp("untracked") / "run").path


@pytest.mark.parametrize("fault", FAKES)
def test_a_tracker_that_fails_or_hangs_costs_one_line(
    tmp_path, monkeypatch, capfd, untracked, fault
):
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes" / "trackio.py").write_text(FAKES[fault])
    monkeypatch.syspath_prepend(tmp_path / "fakes")
    monkeypatch.setattr(parent, "PATIENCE", 5.0 if fault != "hang" else 0.5)
    events = list(cohort.train(small(track=["trackio"]), out=tmp_path / "run"))
    warnings = [e.text for e in events if isinstance(e, Noted) and e.is_warning]
    assert len(warnings) == 1
    assert "trackio" in warnings[0]
    assert ("no network" in warnings[0]) == (fault in ("init", "log"))
    assert policies(tmp_path / "run") == policies(untracked)
    assert RunFolder.open(tmp_path / "run").result() is not None
    assert capfd.readouterr() == ("", "")  # what it prints goes to its log
    assert not processes_of(tmp_path)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes whose output goes to a file below `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            out = (process / "fd" / "1").readlink()
        except OSError:
            continue
        if out.is_relative_to(folder):
            found.append((process / "cmdline").read_text())
    return found


def test_a_resumed_run_remembers_its_trackers_unless_told_otherwise(tmp_path, untracked):
    """`--track none` is for a machine where they are not installed."""
    shutil.copytree(untracked, tmp_path / "run")
    for track, expected in (
        (["tensorboard"], ("tensorboard",)),
        (None, ("tensorboard",)),
        ((), ()),
    ):
        config = RunFolder.open(tmp_path / "run").config
        goal = config.total_steps + 512
        for _ in cohort.resume(tmp_path / "run", total_steps=goal, track=track):
            pass
        assert RunFolder.open(tmp_path / "run").config.track == expected
    logged = _logged(tmp_path / "run" / "tracking" / "tensorboard.json")
    assert logged == 8  # also the six iterations from before it was tracked


def test_a_stop_request_ends_the_trackers_too(tmp_path):
    events = cohort.train(small(track=["tensorboard"], total_steps=10**7), out=tmp_path / "run")
    next(e for e in events if isinstance(e, Noted))  # the tracker is there
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(p2p.P2PError, match="stopped after iteration"):
        list(events)
    logged = _logged(tmp_path / "run" / "tracking" / "tensorboard.json")
    assert logged == len(RunFolder.open(tmp_path / "run").records())
    assert not processes_of(tmp_path)


def test_the_option_may_be_given_several_times_and_answers_before_anything_starts(monkeypatch):
    from click.testing import CliRunner

    from p2p.cli.options import configure, given_on_command_line
    from p2p.cli.train import train

    with train.make_context("train", ["--track", "wandb", "--track", "mlflow"]) as context:
        assert configure(given_on_command_line(context)).track == ("wandb", "mlflow")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    monkeypatch.setattr("p2p.cohort.launch.prepare", lambda engine: pytest.fail("started"))
    refused = CliRunner().invoke(train, ["--track", "mlflow"]).exception
    assert isinstance(refused, UsageError)
    assert "pip install 'p2pdrl[mlflow]'" in str(refused)


def test_a_tracker_that_fails_for_a_while_gets_what_it_missed(tmp_path, monkeypatch):
    """It is opened again, and told everything from where it was; one warning for both failures."""
    (tmp_path / "tracking").mkdir()
    journal, had, failures, said = Journal(tmp_path / "journal.jsonl"), [], [0, 3], []

    class Moody(Tracker):
        identity, where = {"id": 1}, "here"

        def __init__(self, job: Job, identity: Any, logged: int) -> None:
            assert identity in ({}, {"id": 1})

        def log(self, points: Any) -> None:
            for point in points:
                if point.iteration in failures:
                    failures.remove(point.iteration)
                    raise OSError("no network\nmore words")
                had.append((point.iteration, point.steps))

        def finish(self, status: Any, summary: Any) -> None:
            had.append((status, summary["final/return"]))

    monkeypatch.setattr(follower, "find_tracker", lambda name: Moody)
    monkeypatch.setattr(follower, "RETRY", 0.0)
    monkeypatch.setattr(follower, "BATCH", 1)
    config = small()
    job = Job("moody", str(tmp_path), flat(config.settings), 0, 0.0, 2, False, 1000)
    follows = follower.Follower(job, said.append)
    for n in range(5):
        journal.append(record(config, n))
        follows.follow()
    follows.finish("finished", [{"peer": 0, "mean": 7.0, "length": 1.0}])
    assert had == [*((n, 512 * (n + 1)) for n in range(5)), ("finished", 7.0)]
    (warning,) = [one["warning"] for one in said if "warning" in one]
    assert warning.startswith("moody: no network; trained on without it")
    assert json.loads((tmp_path / "tracking" / "moody.json").read_text()) == {
        "identity": {"id": 1}, "iterations": 5
    }  # fmt: skip


def test_a_tail_gives_whole_lines_once(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.tail(0) == ([], 0)
    journal.append({"iteration": 0})
    with journal.path.open("a") as file:
        file.write('{"iteration": 1')  # a line that is being written
    found, offset = journal.tail(0)
    assert [one["iteration"] for one in found] == [0]
    with journal.path.open("a") as file:
        file.write("}\n")
    found, offset = journal.tail(offset)
    assert [one["iteration"] for one in found] == [1]
    assert journal.tail(offset) == ([], offset)
