"""README and docs: commands are the ones that are run, links lead somewhere, figures are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TASKS_PAGE = (ROOT / "docs" / "tasks.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    (example,) = re.findall(r"```python\n(import gymnasium\n.*?)```", TASKS_PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-P", "-c", example], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "wind=3" in done.stdout


def test_no_placeholder_is_left():
    assert "@@" not in README


def test_the_readme_stays_short():
    """A thousand words that are shown, counted as `wc -w` does; more goes into docs/."""
    shown = re.sub(r"<!-- .*? -->", "", README)
    assert len(shown.split()) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_and_headings(page: Path):
    """Also to a heading within a page, by the name that GitHub gives it."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target), link


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings: lower case, no punctuation, dashes for spaces."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_journals_fields_are_all_described():
    """docs/run-folder.md has a row for every number that run.h5 declares, thus the journal."""
    from p2p.runs.hdf5 import ITERATION, METRICS

    page = (ROOT / "docs" / "run-folder.md").read_text()
    for name in [*ITERATION, *(name.split("/")[0] for name in METRICS)]:
        assert f"`{name}`" in page, name
