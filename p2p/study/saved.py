"""Saved tables of a study: a row that is there counts as a run that is done.

So a study survives a change of machine: runs whose folders are gone are not trained again.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import read_bytes
from p2p.runs.files import reachable

if TYPE_CHECKING:
    from p2p.study.plan import PlannedRun

Cells = Mapping[str, str]


def tables_of(folder: Path, study: str) -> tuple[Path, Path]:
    """Return the files of a study's results and curves in `folder`."""
    return folder / f"{study}.csv", folder / f"{study}-curves.csv"


class Saved:
    """The tables of a study in a folder: `<study>.csv` and `<study>-curves.csv`.

    Attributes:
        rows: by the hash of their settings and the version that made them.
        curves: the points of each run, by its name.
    """

    def __init__(self, folder: Path, study: str) -> None:
        table, curves = tables_of(folder, study)
        self.rows = {(row.get("config", ""), row.get("version", "")): row for row in _read(table)}
        self.curves: dict[str, list[Cells]] = {}
        for point in _read(curves):
            self.curves.setdefault(point.get("run", ""), []).append(point)

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


def _read(file: Path) -> list[dict[str, Any]]:
    if not reachable(file, UsageError).exists():
        return []
    try:
        rows = list(csv.DictReader(StringIO(read_bytes(file).decode("utf-8"))))
        if any(None in row or None in row.values() for row in rows):
            raise BadArtefact(f"{file} is damaged: a line has more or fewer cells than the first")
        return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadArtefact(f"cannot read {file}: {error}") from None
