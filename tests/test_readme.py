"""The README's two commands are the ones that are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def command(name: str) -> str:
    """Return the command that stands below a marker in the README."""
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_ci_runs_the_readmes_test_command():
    """What the README tells a newcomer to type is what CI proves to pass."""
    assert command("tests") in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_first_policys_options_are_real():
    """The command is too slow for a test; its options can be parsed."""
    from p2p.cli.train import train

    words = command("first-policy").split("p2p train ")[1].split()
    train.make_context("train", words)


def test_the_gymnasium_example_runs_as_printed():
    """In a process of its own, where nobody else has imported p2p."""
    (example,) = re.findall(r"```python\n(import gymnasium\n.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-P", "-c", example], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "wind=3" in done.stdout


def test_no_placeholder_is_left():
    assert "@@" not in README
