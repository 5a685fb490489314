"""A wrong argument is answered before torch is imported, and before a fork server imports it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made import make_finished

from p2p.core.config import TrainConfig
from p2p.runs import RunFolder

# Each command with its exit code and words of its message; RUN, DONE and BROKEN are run folders.
WRONG = {
    "train --resume nothere": (5, "nothere is not a run folder"),
    "train --resume DONE": (2, "is complete (10 iterations)"),
    "train --resume DONE --total-steps 100": (2, "is complete"),
    "train --resume DONE --seed 4": (2, "not --seed"),
    "train --resume BROKEN": (5, "no checkpoint in"),
    "train --resume DAMAGED": (5, "is damaged"),
    "train --env hoper": (2, "did you mean 'hopper'"),
    "train --env Nothing-v5": (2, "unknown task"),
    "train --env nofile.py:Thing": (2, "cannot read task"),
    "train --method pppo": (2, "did you mean 'ppo'"),
    "train --peers 3": (2, "does not split over"),
    "train --total-steps -4": (2, "greater than or equal to 1"),
    "train --peers 1024 --steps-per-iteration 1048576": (2, "would only wait for one another"),
    "train --out DONE": (2, "already holds a run"),
    "train --out FILE": (2, "is a file"),
    "train --out /proc/nothing/run": (6, "cannot write run folder"),
    "train --randomise nofile.toml": (2, "cannot read domains file"),
    "train --init-from nothere": (5, "cannot be read as a policy"),
    "train --config nofile.toml": (2, "cannot read --config"),
    "eval nothere": (5, "nothere is not a run folder"),
    "eval DONE --eps-te 3": (2, "--eps-te=3"),
    "eval DONE --eps-te abc": (2, "--eps-te abc"),
    "eval DONE --grid wind": (2, "name two factors"),
    "eval DONE --domains 0": (2, "--domains=0"),
    "eval DONE --randomise nofile.toml": (2, "cannot read domains file"),
    "surface nothere": (5, "nothere is not a run folder"),
    "surface DONE --peer 7": (2, "has peers 0..1, not 7"),
    "grad-variance nothere": (5, "nothere is not a run folder"),
    "compare nothere other": (5, "nothere is not a run folder"),
    "study nostudy": (2, "no study 'nostudy'"),
    "study fig4 --budget zzz": (2, "no budget 'zzz'"),
    "figures nofig": (2, "no study 'nofig'"),
    "bench --only nopart": (2, "unknown part"),
    "bench --save /nowhere/x.json": (6, "there is no folder /nowhere"),
    "bench --run nothere": (5, "nothere is not a run folder"),
    "domains nofile.toml": (2, "cannot read domains file"),
}
PROGRAM = """
import contextlib, io, json, sys
from p2p.cohort import launch
from p2p.cli.main import p2p
for args in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            p2p.main(args)
        except SystemExit as end:
            code = end.code
    heavy = [name for name in ("torch", "numba") if name in sys.modules]
    server = "p2p.cohort.launch" in sys.modules and bool(launch._servers)
    print(json.dumps([code, said.getvalue(), heavy, server]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, list]:
    """Return exit code, stderr, heavy modules and whether a server was started, by command.

    All in one process: what one of them imports is still there after the next.
    """
    here = tmp_path_factory.mktemp("here")
    done = RunFolder.open(make_finished(here / "done", num_peers=2))
    scores = [{"peer": rank, "mean": 1.0} for rank in (0, 1)]
    with done:
        done.save_checkpoint(10, {}, {})
        done.save_result({"steps": done.config.whole_steps, "seconds": 1.0, "scores": scores})
    broken = make_finished(here / "broken", num_peers=2)
    (broken / "checkpoints" / "iteration-00000010.safetensors").write_bytes(b"nonsense")
    damaged = here / "damaged"
    with RunFolder.create(TrainConfig(), damaged):
        (damaged / "config.json").write_text("{")
    (here / "file").write_text("")
    places = {"DONE": "done", "BROKEN": "broken", "DAMAGED": "damaged", "FILE": "file"}
    commands = [[places.get(word, word) for word in line.split()] for line in WRONG]
    ran = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, json.dumps(commands)],
        cwd=here, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = map(json.loads, ran.stdout.splitlines())
    assert sorted(path.name for path in here.iterdir()) == sorted([*places.values()])
    return dict(zip(WRONG, lines, strict=True))


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_argument_is_answered_before_torch_is_imported(command: str, answers):
    code, said, heavy, server = answers[command]
    assert (code, heavy, server) == (WRONG[command][0], [], False), said
    *_, last = said.strip().splitlines()
    assert last.startswith("error: ")
    assert WRONG[command][1] in last


def test_a_claim_that_fails_leaves_no_folder(tmp_path: Path, monkeypatch):
    from p2p.runs.claim import check_claimable

    monkeypatch.chdir(tmp_path)
    check_claimable(TrainConfig(), None)
    check_claimable(TrainConfig(), tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []
