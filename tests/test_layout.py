"""The house stays one that a newcomer sees at a glance."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
FILES = [file for part in ("p2p", "cli", "benchmarks") for file in (TOP / part).rglob("*.py")]


def test_the_package_shows_at_most_20_entries():
    entries = [path for path in (TOP / "p2p").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TOP)))
def test_no_file_is_over_350_lines_and_no_function_over_50(file):
    text = file.read_text()
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{node.name} in {file}"
