"""The data of figures: the tables of a study, saved ones or made from its runs."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from p2p.core import registry
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import DAMAGE, read_bytes
from p2p.runs.files import reachable
from p2p.study import (
    Study,
    collect_results,
    config_hash,
    curves_csv,
    owner_of,
    plan_study,
    shipped_studies,
    surfaces_csv,
    tables_of,
)  # fmt: skip

Curve = list[tuple[int, float]]  # (steps, value)


class SurfacePoint(NamedTuple):
    """A point of a run's return surface (`p2p.study.surfaces`).

    Attributes:
        policy: `initial`, `middle` or `final`; empty on the grid.
        steps: of training, of a policy that is named; else 0.
        train, test: mean return over domains.
    """

    policy: str
    steps: int
    x: float
    y: float
    train: float
    test: float


@dataclass(frozen=True)
class Row:
    """A run: a row of a study's results.

    Attributes:
        cells: settings and measures that it has, by the name of their column.
    """

    run: str
    task: str
    method: str
    seed: int
    cells: dict[str, float | str]

    def number(self, name: str) -> float | None:
        """Return a setting or measure; None if this run has none of it."""
        value = self.cells.get(name)
        return value if isinstance(value, float) else None


@dataclass(frozen=True)
class Data:
    """The tables of a study.

    Attributes:
        source: where they come from, as shown.
        curves: by quantity, and by the name of the run.
        surfaces: by the name of the run.
    """

    study: Study
    source: str
    rows: list[Row]
    curves: dict[str, dict[str, Curve]]
    surfaces: dict[str, list[SurfacePoint]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Return the tasks of which there is a run, in the study's order."""
        return self._present(row.task for row in self.rows)

    @property
    def methods(self) -> list[str]:
        """Return the methods of which there is a run, in the study's order."""
        return self._present(row.method for row in self.rows)

    def _present(self, found: Iterable[str]) -> list[str]:
        there = set(found)
        order = [name for c in self.study.configs for name in (c.task, c.method)]
        return [name for name in dict.fromkeys(order) if name in there]

    def select(self, keep: Callable[[Row], bool]) -> list[Row]:
        """Return the rows that `keep` holds for."""
        return [row for row in self.rows if keep(row)]


def load_data(study: Study, tables: Path, runs: Path | None, default_runs: Path) -> Data:
    """Return a study's tables; where there are none, its runs in those of its owner (`owner_of`).

    Args:
        tables: folder of saved tables (`p2p.study.tables_of`).
        runs: the study's folder, to take the runs themselves rather than tables.
        default_runs: the same, for where there are no tables.

    Raises:
        UsageError: there is nothing to draw, or a folder is out of reach.
        BadArtefact: a table or run folder is damaged.
    """
    if runs is None:
        for one in (study, owner_of(study)):
            if one is not None and (data := _saved_data(study, tables, one)):
                return data
    folder = runs or default_runs
    if reachable(folder, UsageError).is_dir():
        plan = plan_study(study, folder)
        if any(run.trained for run in plan.runs):
            rows = _rows(collect_results(plan).csv(), folder)
            found = _curves(curves_csv(plan), folder), _surfaces(surfaces_csv(plan) or "", folder)
            return Data(study, str(folder), rows, *found)
    looked = [folder] if runs else [tables_of(tables, study.name)[0], folder]
    raise UsageError(
        f"nothing to draw of study {study.name}: there is no trained run in "
        f"{' nor '.join(map(str, looked))}; make them with: {command(study)}"
    )


def _saved_data(study: Study, folder: Path, owner: Study) -> Data | None:
    """Return what the saved tables of `owner` have of a study's runs; None if there is nothing."""
    table, curves, surfaces = tables_of(folder, owner.name)
    if not reachable(table, UsageError).exists():
        return None
    text = _read(table)
    rows = _rows(text, table)
    if owner is not study:
        asked = {config_hash(config) for config in study.configs}
        theirs = {
            row["run"] for row in csv.DictReader(StringIO(text)) if row.get("config") in asked
        }
        rows = [row for row in rows if row.run in theirs]
        if not rows:
            return None
    files = [curves, *([surfaces] if study.surface else [])]
    texts = {file: _read(file) for file in files if file.exists()}
    return Data(
        study, str(table), rows,
        _curves(texts.get(curves, ""), curves), _surfaces(texts.get(surfaces, ""), surfaces),
    )  # fmt: skip


def command(study: Study) -> str:
    """Return the command that makes the tables of a study."""
    shipped = study.file.stem if is_shipped(study.file) else shlex.quote(str(study.file))
    budget = f" --budget {study.budget}" if study.name.endswith(f"-{study.budget}") else ""
    return f"p2p study {shipped}{budget} --save data/results{registry.loading_options()}"


def is_shipped(file: Path) -> bool:
    """Tell whether a study's file came with p2p."""
    return shipped_studies().get(file.stem) == file


def _read(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArtefact(f"cannot read {path}: {error}") from None


def _rows(text: str, source: Path) -> list[Row]:
    rows = []
    for cells in csv.DictReader(StringIO(text)):
        try:
            run, task, method, seed = (
                cells.pop(name) for name in ("run", "task", "method", "seed")
            )
            number = int(seed)
        except DAMAGE:
            raise BadArtefact(
                f"{source} is no table of results: it needs columns run, task, method, seed"
            ) from None
        values = {name: _value(cell) for name, cell in cells.items() if cell}
        rows.append(Row(run, task, method, number, values))
    return rows


def _curves(text: str, source: Path) -> dict[str, dict[str, Curve]]:
    found: dict[str, dict[str, Curve]] = {}
    for cells in csv.DictReader(StringIO(text)):
        try:
            run, steps = cells.pop("run"), int(cells.pop("steps"))
            for name, cell in cells.items():
                if cell:
                    found.setdefault(name, {}).setdefault(run, []).append((steps, float(cell)))
        except DAMAGE:
            raise BadArtefact(
                f"{source} is no table of curves: it needs columns run, steps and numbers"
            ) from None
    return found


def _surfaces(text: str, source: Path) -> dict[str, list[SurfacePoint]]:
    found: dict[str, list[SurfacePoint]] = {}
    for cells in csv.DictReader(StringIO(text)):
        try:
            numbers = [float(cells[name]) for name in SurfacePoint._fields[2:]]
            point = SurfacePoint(cells["policy"], int(cells["steps"] or 0), *numbers)
            found.setdefault(cells["run"], []).append(point)
        except DAMAGE:
            raise BadArtefact(
                f"{source} is no table of surfaces: it needs columns run, policy, steps and numbers"
            ) from None
    return found


def _value(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
