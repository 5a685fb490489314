"""p2p as a library: what a newcomer finds, types, and sees."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from made import make_finished, make_policy, make_run
from stable_baselines3.common.evaluation import evaluate_policy

import p2p
from p2p.cohort.events import Checkpointed, Finished, Iterated, Started
from p2p.core.config import TrainConfig
from p2p.core.errors import UsageError
from p2p.runs import RunFolder

ROOT = Path(__file__).parents[1]
TINY = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 512, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 1, "checkpoint_every": 100, "total_steps": 512 * 16,
    "milestones": 0,
}  # fmt: skip


def in_process(code: str, *args: str) -> str:
    """Return what a fresh Python prints; it must say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def test_completion_offers_the_public_names_and_no_others():
    names = [name for name in dir(p2p) if not name.startswith("__")]
    assert names == sorted(p2p.__all__)
    assert {"train", "resume", "evaluate", "load_policy"} <= set(names)


def test_editors_and_type_checkers_are_told_each_name():
    """They read the imports under TYPE_CHECKING; `__getattr__` says nothing to them."""
    tree = ast.parse((ROOT / "p2p" / "__init__.py").read_text())
    block, *_ = [node for node in tree.body if isinstance(node, ast.If)]
    found = [
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    ]
    assert sorted(found) == sorted(p2p.__all__) == sorted(p2p._HOME)


@pytest.mark.parametrize("name", p2p.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str):
    thing = getattr(p2p, name)
    assert len((thing.__doc__ or "").split()) >= 4, name
    assert name in (p2p.__doc__ or ""), "the module's own text leaves it out"


def test_importing_p2p_imports_nothing_else():
    """Not even the standard library's slower modules; a version is looked up when asked for."""
    code = (
        "import sys; before = set(sys.modules); import p2p\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - {'__future__', 'p2p'})); assert p2p.__version__"
    )
    assert in_process(code) == "[]"


SCRIPT = """
import sys, p2p
config = p2p.TrainConfig.model_validate_json(sys.argv[1])
def report(event):
    print(event, flush=True)
    return not isinstance(event, p2p.Iterated) or event.record["iteration"] < 1
run = p2p.train(config, sys.argv[2], report=report)
print(run)
print(p2p.resume(run))
assert "torch" not in sys.modules, "the parent trains nothing: only peers need torch"
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[list[str], Path]:
    """Return what a script prints whose report stops the run, which it then resumes."""
    folder = tmp_path_factory.mktemp("library") / "run"
    said = in_process(SCRIPT, TrainConfig(**TINY).model_dump_json(), str(folder))
    return said.splitlines(), folder


def test_a_report_that_returns_false_stops_the_run_with_a_checkpoint(stopped):
    lines, folder = stopped
    assert lines[0].startswith(f"started {folder}: hopper, p2pdrl, 2 peers, 8,192 steps")
    assert lines[1].startswith("iteration 1: 512 steps, return ")
    (saved,) = [line for line in lines if line.startswith("checkpoint")]
    done = int(saved.split()[-1])
    assert 2 <= done < 16, "it was to stop soon after the second of sixteen iterations"
    assert f"<run {folder}: hopper, p2pdrl, 2 peers, seed 0, saved at" in lines[-2]
    assert "seed 0, finished: 8,192 steps, score" in lines[-1]
    assert len(RunFolder.open(folder).records()) == 16


def test_a_run_stopped_and_resumed_has_the_bits_of_one_that_was_not(stopped, tmp_path):
    """And a report changes no number: this run has none."""
    whole = p2p.train(TrainConfig(**TINY), tmp_path / "whole")
    for rank in (0, 1):
        ours = p2p.load_policy(stopped[1], rank)
        np.testing.assert_array_equal(ours.actor, p2p.load_policy(whole, rank).actor)


def test_what_a_report_raises_ends_the_run_and_keeps_its_checkpoint(tmp_path):
    def report(event: object) -> None:
        if isinstance(event, Checkpointed):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        p2p.train(TrainConfig(**{**TINY, "checkpoint_every": 1}), tmp_path / "run", report=report)
    run = RunFolder.open(tmp_path / "run")
    with run:  # nobody holds its lock
        assert run.load_checkpoint() is not None


def test_events_are_lines(tmp_path):
    run = RunFolder.open(make_run(tmp_path / "run", num_peers=2))
    assert "resumed" in str(Started(run, run.config, 3, ["a note"]))
    record = {"iteration": 0, "steps": 4096, "steps_per_second": 1234.5, "peers": []}
    assert str(Iterated(record)) == "iteration 1: 4,096 steps, no episode ended, 1,234 steps/s"
    score = {"peer": 0, "mean": 12.0}
    assert str(Finished(run, [score], 61.0, 4096)).endswith("4,096 steps in 61 s, score 12")


def test_a_run_and_a_policy_say_what_they_are(tmp_path):
    run = RunFolder.open(make_finished(tmp_path / "run", num_peers=2, seed=7))
    assert repr(run) == (
        f"<run {run.path}: hopper, p2pdrl, 2 peers, seed 7, saved at 0 of 40,960 steps>"
    )
    (run.path / "result.json").write_text("{")
    assert repr(run).endswith("damaged>"), "repr must not raise"
    assert repr(make_policy(method="ppo", seed=3, peer=1, iterations=2000)) == (
        "<policy for hopper: 11 observations to 3 actions, hidden 8x8, ppo, seed 3, peer 1, "
        "2,000 iterations>"
    )


def test_predict_is_act_as_stable_baselines3_has_it():
    policy, obs = make_policy(), np.linspace(-1, 1, 22).reshape(2, 11)
    for given in (obs, obs[0]):
        action, state = policy.predict(given, None, np.array([True]), deterministic=True)
        np.testing.assert_array_equal(action, policy.act(given))
        assert state is None
    assert not np.array_equal(policy.predict(obs, deterministic=False)[0], policy.act(obs))


def test_stable_baselines3_evaluates_a_policy_as_it_is():
    with gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("p2p/Hopper-v5")) as env:
        mean, _ = evaluate_policy(make_policy(), env, n_eval_episodes=2, warn=False)
    assert np.isfinite(mean)


def test_a_dict_of_observations_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"one array \[11\], got a dict of camera, joints"):
        make_policy().predict({"camera": 1, "joints": 2})


def test_the_notebook_runs(tmp_path):
    """In a kernel, as people run it; its lines of progress reach the notebook."""
    code = (
        "import sys, nbformat\n"
        "from nbclient import NotebookClient\n"
        "book = nbformat.read(sys.argv[1], 4)\n"
        "assert not any(c.get('outputs') for c in book.cells), 'commit it without outputs'\n"
        "where = {'metadata': {'path': sys.argv[2]}}\n"
        "NotebookClient(book, timeout=250, resources=where).execute()\n"
        "print(nbformat.writes(book))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(ROOT / "docs" / "notebook.ipynb"), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for shown in ("iteration 4: 16,384 steps", "<run runs/", "strength 1.0: ", "image/png"):
        assert shown in done.stdout, shown
