"""Saved tables of a study: a row that is there counts as a run that is done.

So a study survives a change of machine: runs whose folders are gone, or have less than the row,
are not trained again.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import read_bytes
from p2p.runs.files import reachable
from p2p.study.grid import Study, read_study

if TYPE_CHECKING:
    from p2p.study.plan import PlannedRun

Cells = Mapping[str, str]
TEST_MEASURES = ("eps_te=", "worst=")


def tables_of(folder: Path, study: str) -> tuple[Path, Path, Path]:
    """Return the files of a study's results, curves and return surfaces in `folder`."""
    table, curves, surfaces = (folder / f"{study}{end}.csv" for end in ("", "-curves", "-surfaces"))
    return table, curves, surfaces


class Saved:
    """The tables of a study in a folder: results, curves, surfaces, and runs that diverged.

    Attributes:
        rows: by the hash of their settings and the version that made them.
        curves, surfaces: the points of each run, by its name.
        diverged: as `rows`, of runs that have no result (`p2p.study.diverged`).
        diverged_file: their table.
    """

    def __init__(self, folder: Path, study: str) -> None:
        table, curves, surfaces = tables_of(folder, study)
        self.diverged_file = folder / f"{study}-diverged.csv"
        self.rows, self.diverged = (
            {(row.get("config", ""), row.get("version", "")): row for row in read_rows(file)}
            for file in (table, self.diverged_file)
        )
        self.curves, self.surfaces = _by_run(curves), _by_run(surfaces)

    def row_of(self, run: PlannedRun, config: str, version: str, measured: str) -> Cells | None:
        """Return the row of a run, if it has the same settings, version, steps and measures.

        Args:
            config: hash of the run's settings.
            version: of p2p; the rows of another one are made anew.
            measured: hash of what is measured of the run.
        """
        row = self.rows.get((config, version))
        if row is None or row.get("steps") != str(run.total_steps):
            return None
        return row if row.get("measured") == measured else None


def saved_tables(study: Study, folder: Path) -> Iterator[tuple[Saved, Study]]:
    """Yield the study's tables, and those of its owner (`owner_of`), each with its study."""
    yield Saved(folder, study.name), study
    if (owner := owner_of(study)) is not None:
        yield Saved(folder, owner.name), owner


def owner_of(study: Study) -> Study | None:
    """Return the study whose folder this one shares, if it measures all that this one does alike.

    Its rows then hold what this study asks of the same runs.
    """
    beside = study.file.with_name(f"{study.folder.removesuffix(f'-{study.budget}')}.toml")
    if study.folder in ("", study.name) or not beside.is_file():
        return None
    owner = read_study(beside, study.budget)
    alike = (
        owner.name == study.folder
        and study.tests.items() <= owner.tests.items()
        and study.surface in (None, owner.surface)
    )
    return owner if alike else None


def only_tests(row: Cells, tests: Collection[str]) -> Cells:
    """Return a row without the measures of tests that are not among `tests`, by their names."""

    def is_wanted(column: str) -> bool:
        test, colon, measure = column.rpartition(":")
        return test in tests or not (colon or measure.startswith(TEST_MEASURES))

    return {column: cell for column, cell in row.items() if is_wanted(column)}


def measures_of(row: Cells) -> dict[str, list[float]]:
    """Return the measures of a saved row, a number a peer.

    Raises:
        BadArtefact: a cell holds no number.
    """
    found: dict[str, list[float]] = {}
    for name, cell in row.items():
        measure, peer, rank = name.rpartition("_peer")
        if peer and rank.isdecimal() and cell:
            found.setdefault(measure, []).append(number_of(row, name))
    return found


def number_of(row: Cells, name: str) -> float:
    """Return a cell as a number.

    Raises:
        BadArtefact: it holds none.
    """
    try:
        return float(row[name])
    except (KeyError, ValueError):
        raise BadArtefact(
            f"saved row of {row.get('run')}: {name} is {row.get(name)!r}, not a number; delete it"
        ) from None


def _by_run(file: Path) -> dict[str, list[Cells]]:
    """Return the rows of a table by their run."""
    found: dict[str, list[Cells]] = {}
    for row in read_rows(file):
        found.setdefault(row.get("run", ""), []).append(row)
    return found


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a table; none if there is no such file.

    Raises:
        BadArtefact: it cannot be read.
    """
    if not reachable(file, UsageError).exists():
        return []
    try:
        rows = list(csv.DictReader(StringIO(read_bytes(file).decode("utf-8"))))
        if any(None in row or None in row.values() for row in rows):
            raise BadArtefact(f"{file} is damaged: a line has more or fewer cells than the first")
        return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadArtefact(f"cannot read {file}: {error}") from None
