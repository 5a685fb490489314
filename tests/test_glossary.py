"""Every word on the screen is explained, in one place, for the terminal and the docs."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from p2p.cli import main
from p2p.cli.eval_tables import SCORE
from p2p.cli.glossary import ALIASES, TESTING, TRAINING, markdown
from p2p.cli.live import frame, plain
from p2p.cli.live.history import PHASES

PAGE = Path(__file__).parents[1] / "docs" / "reading.md"


def explained() -> set[str]:
    return {word for words in TRAINING for word in words.split(", ")}


def test_every_column_of_both_views_is_explained() -> None:
    """Under its title in wide terminals and in narrow ones."""
    table_1 = {title for name, short, _ in frame.TITLES.values() for title in (name, short)}
    columns = {title for column in frame.COLUMNS for title in (column.name, column.short)}
    for title in {*table_1, *columns, *plain.COLUMNS, *PHASES}:
        assert ALIASES.get(title, title) in explained(), title


def test_every_column_of_tests_is_explained() -> None:
    assert set(SCORE) <= TESTING.keys()


def test_the_page_of_the_docs_has_the_same_text() -> None:
    assert PAGE.read_text().endswith(markdown())


def test_explain_prints_it_and_trains_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main.p2p, ["train", "--explain", "--out", str(tmp_path / "r")])
    assert result.exit_code == 0
    for meaning in (*TRAINING.values(), *TESTING.values()):
        assert meaning in result.stdout
    assert not (tmp_path / "r").exists()


def test_the_help_names_it() -> None:
    assert "--explain" in CliRunner().invoke(main.p2p, ["train", "--help"]).stdout
