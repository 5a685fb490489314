"""Make the golden files of the version that is installed, in a folder named after it.

    python tests/golden/make.py

One of each kind of file that p2p reads, by the commands that users type, and what this version
makes of them (`expected.json`). `tests/test_golden.py` opens those of every version. Never change
files that are there: users have such files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import p2p
from p2p.core.version import p2p_version
from p2p.runs import RunFolder

HERE = Path(__file__).parent
PROGRAM = "from p2p.cli.main import main; main()"
STUDY = """
name = "golden"

[settings]
task = "hopper"
steps_per_iteration = 256
total_steps = 256
num_minibatches = 4
hidden_sizes = [4, 4]
final_episodes = 1

[[grid]]
method = ["ppo"]
seed = [0]

[evaluate]
eps_te = 0.5
domains = 2
"""
TRAIN = (
    "train --task hopper --method p2pdrl --total-steps 2048 --steps-per-iteration 512 "
    "--num-minibatches 4 --num-epochs 2 --hidden-sizes 4 4 --final-episodes 1 "
    "--checkpoint-every 2 --milestones 1 --test-every 1024 --test-domains 2 --seed 5 --out run"
)
COMMANDS = (
    TRAIN,
    "eval run --eps-te 0.5 --domains 2 --workers 1",
    "grad-variance run --steps 256 --minibatches 4 --workers 1",
    "export run --peer 0 --out bundle --domains 2 --workers 1",
    "study study.toml --out study --save tables --jobs 1",
)
DROPPED = ("*.png", "*.svg", "*.lock")  # made anew from the others


def p2p_command(words: str, cwd: Path) -> None:
    """Run `p2p` with these words."""
    command = [sys.executable, "-P", "-c", PROGRAM, *words.split(), "--plain"]
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def observations(policy: p2p.Policy) -> np.ndarray[Any, Any]:
    """Return what expected actions are for, [5, n]."""
    return np.random.default_rng(0).standard_normal((5, policy.obs_dim))


def digest(run: Path) -> str:
    """Return a hash of the newest checkpoint's tensors."""
    checkpoint = RunFolder.open(run).load_checkpoint()
    assert checkpoint is not None
    hashed = hashlib.sha256()
    for name, value in sorted(checkpoint.tensors.items()):
        hashed.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return hashed.hexdigest()


def expected(folder: Path) -> dict[str, Any]:
    """Return what this version makes of the files."""
    policy = p2p.load_policy(folder / "run", 0)
    found = p2p.evaluate(folder / "run", 0.5, domains=2, workers=1)
    return {
        "versions": RunFolder.open(folder / "run").versions(),
        "digest": digest(folder / "run"),
        "actions": policy.act(observations(policy)).tolist(),
        "score": found.score.mean,
        "records": len(RunFolder.open(folder / "run").records()),
    }


def keep(made: Path, out: Path) -> None:
    """Copy what belongs to the golden files, and what this version makes of them."""
    told = expected(made)
    left = shutil.ignore_patterns(*DROPPED)
    for name in ("run", "bundle", "tables"):
        shutil.copytree(made / name, out / name, ignore=left)
    shutil.copy(made / "study.toml", out)
    (out / "expected.json").write_text(json.dumps(told, indent=1) + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1000:.0f} kB")


def main() -> None:
    """Make the folder, unless it is there."""
    out = HERE / p2p_version()
    if out.exists():
        sys.exit(f"{out} is there: golden files are never changed")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        (made / "study.toml").write_text(STUDY.lstrip())
        for words in COMMANDS:
            p2p_command(words, made)
        keep(made, out)


if __name__ == "__main__":
    main()
