"""Which of a study's rows and columns a figure shows, and how they are grouped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from p2p.core.config import TrainConfig
from p2p.core.errors import UsageError
from p2p.plots import lines
from p2p.plots.data import Data, Row, command, is_shipped
from p2p.plots.method_styles import METHODS, MethodStyle, group_styles
from p2p.study.grid import Study


def need(data: Data, found: Iterable[object], what: str, add: str = "") -> None:
    """Raise UsageError if nothing of what a figure needs is found.

    Args:
        add: what the study's file lacks; empty if the study makes it, so that running it helps.
    """
    if any(True for _ in found):
        return
    if not add:
        raise UsageError(f"{data.source} has no {what}; make it with: {command(data.study)}")
    file = data.study.file
    whose = f"a copy of study {file.stem}" if is_shipped(file) else str(file)
    then = f"; then run: {command(data.study)}" if not is_shipped(file) else ""
    raise UsageError(
        f"{data.source} has no {what}, as the study makes none: add {add} to {whose}{then}"
    )


def _is_given(name: str, configs: Sequence[TrainConfig], study: Study) -> bool:
    """Say whether the study gives a setting to this method, and others do without."""
    return name not in study.varying and any(name in c.model_fields_set for c in configs)


def task_groups(data: Data, task: str, *shown: str) -> list[tuple[MethodStyle, list[Row]]]:
    """Return the runs of a task that differ in their seed alone, each group with its look.

    Args:
        shown: settings that do not separate groups, because the figure shows them otherwise.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for method in data.methods:
        configs = [config for config in data.study.configs if config.method == method]
        parting = [
            name for name in data.study.shown
            if name not in shown
            and (len({c.get(name) for c in configs}) > 1 or _is_given(name, configs, data.study))
        ]  # fmt: skip
        for row in data.select(lambda r, m=method: r.method == m):  # type: ignore[misc]
            settings = "".join(f", {name}={_shown(row.cells.get(name))}" for name in parting)
            groups.setdefault((method, settings), []).append(row)
    looks = group_styles(
        {
            method + settings.replace(",", " "): METHODS[method].label + settings
            for method, settings in groups
        }
    )
    return [
        (look, [row for row in rows if row.task == task])
        for look, rows in zip(looks, groups.values(), strict=True)
    ]


def _shown(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def values_by(rows: Iterable[Row], x: str, y: str) -> lines.Points:
    """Return the values of `y` by those of `x`, of the rows that have both."""
    points: lines.Points = {}
    for row in rows:
        at, value = row.number(x), row.number(y)
        if at is not None and value is not None:
            points.setdefault(at, []).append(value)
    return points


def test_columns(data: Data) -> list[str]:
    """Return the columns of test returns, by strength."""
    names = {name for row in data.rows for name in row.cells if name.startswith("eps_te=")}
    return sorted((n for n in names if "peer" not in n), key=lambda n: float(n.partition("=")[2]))


def need_tests(data: Data, columns: Iterable[str]) -> None:
    """Raise UsageError if there are no columns of test returns."""
    add = "" if data.study.evaluate else "a table [evaluate], such as eps_te = 0.5,"
    need(data, columns, "test returns", add)


def main_test_column(data: Data) -> str:
    """Return the column of test returns nearest the paper's eps_te 0.5."""
    names = test_columns(data)
    need_tests(data, names)
    return min(names, key=lambda name: abs(float(name.partition("=")[2]) - 0.5))
