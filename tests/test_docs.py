"""Each command and each piece of code in the docs is run, or the page says why it is not.

`<!-- not run: why -->` above a block says so. A TOML or Python block below a paragraph that ends
with the name of a file becomes that file; other Python blocks are scripts. Training is cut short.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from test_own_code import run

ROOT = Path(__file__).parents[1]
FOLLOWED = {  # by tests of their own, which also check what is printed
    "own-robot.md": "test_own_robot.py",
    "add-a-method.md": "test_own_code.py",
    "add-a-task.md": "test_own_code.py",
    "add-a-term.md": "test_own_code.py",
    "deploy.md": "test_export.py",
}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if page.name not in FOLLOWED]
BLOCK = re.compile(
    r"^(?:<!-- (?P<marker>(?:(?!-->).)*) -->\n)?"
    r"(?P<fence>```+)(?P<kind>[^\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
KINDS = {"sh", "console", "python", "toml", "text", "json", "c", "", "{include}"}
SHORT = [  # what takes long, and what takes its place
    (r"(p2p train --resume .*)--total-steps \S+", r"\1--total-steps 12_288"),
    (r"(p2p train --env .*)--total-steps \S+", r"\1--total-steps 8192 --final-episodes 1"),
    (r"--(by-factor|grid \S+)(?! --points)", r"--\1 --points 2"),
    (r"p2p surface (\S+)", r"p2p surface \1 --grid 3 --domains 1"),
    (r"total_steps=[\d_]+", "total_steps=8192"),
    (r"p2p grad-variance (\S+)", r"p2p grad-variance \1 --minibatches 4"),
]


class Block(NamedTuple):
    """A fenced block of a page."""

    marker: str  # the comment above it
    kind: str
    text: str
    file: str  # the file that the page puts it into, or ""


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = []
    for match in BLOCK.finditer(text):
        last = text[: match.start()].rstrip().rpartition("\n\n")[2]
        file = re.search(r"`([^`\s]+\.(?:toml|py))`[^`]*\Z", last)
        kind = match["kind"].partition(" ")[0]
        found.append(Block(match["marker"] or "", kind, match["text"], file[1] if file else ""))
    return found


def commands(block: Block) -> list[tuple[str, int]]:
    """Return the commands of a block, and the exit code that the page shows for each."""
    lines = block.text.splitlines()
    if block.kind == "sh":
        return [(line.partition(" # ")[0].strip(), 0) for line in lines if line.strip()]
    found = []
    for line, after in itertools.pairwise([*lines, ""]):
        if line.startswith("$ "):
            found.append((line[2:], 2 if after.startswith("error:") else 0))
    return found


def runnable(page: Path) -> list[Block]:
    """Return the blocks that a reader would type or save."""
    return [b for b in blocks(page) if b.kind in ("python", "toml") or commands(b)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two short runs, for commands about RUN and RUNS."""
    folder = tmp_path_factory.mktemp("docs")
    for method, peers in (("p2pdrl", 2), ("ppo", 1)):
        command = f"p2p train --env hopper --method {method} --peers {peers} --out {method}"
        run(f"{command} --total-steps 8192 --final-episodes 1", folder)
    return folder


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda page: page.name)
def test_a_page_is_followed_as_it_stands(page: Path, tmp_path: Path, trained: Path) -> None:
    for block in runnable(page):
        if block.marker:
            continue  # see below
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        elif block.kind == "python":
            done = subprocess.run(
                [sys.executable, "-c", shortened(named(block.text, trained))],
                cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        else:
            for command, code in commands(block):
                follow(command, tmp_path, code, trained)


def named(text: str, trained: Path) -> str:
    """Return text with folders in place of RUN, RUNS and STUDY."""
    one, other = trained / "p2pdrl", trained / "ppo"
    text = re.sub(r"\bSTUDY\b", str(trained), text)
    text = re.sub(r"\bRUNS\b(\.\.\.)?", f"{one} {other}", text)
    return re.sub(r"\bRUN\b(\.\.\.)?", str(one), text)


def follow(command: str, folder: Path, code: int, trained: Path) -> None:
    """Run a command as printed, with less training."""
    assert command.startswith("p2p "), f"say why it is not run: {command}"
    run(shortened(named(command, trained)), folder, code)


def shortened(text: str) -> str:
    for words, fewer in SHORT:
        text = re.sub(words, fewer, text)
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in KINDS, block
        if block in runnable(page) and block.marker:
            kept = block.marker in ("first-policy", "tests")  # by tests of the README
            assert kept or re.match(r"not run: \w.{9,}", block.marker), block.marker


@pytest.mark.parametrize(("page", "by"), FOLLOWED.items())
def test_pages_with_tests_of_their_own_have_them(page: str, by: str) -> None:
    assert page in (ROOT / "tests" / by).read_text()


def test_every_page_is_in_the_site() -> None:
    """A page that no table of contents names is found by nobody."""
    contents = (ROOT / "docs" / "index.rst").read_text().split()
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} | {"api"}
    assert pages <= set(contents)
