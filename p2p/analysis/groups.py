"""Groups of runs that differ in their seed alone, and names that tell the groups apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from p2p.core.consistency import label_of


class Described(Protocol):
    """A run, described by what it was trained with."""

    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102


R = TypeVar("R", bound=Described)


def group_runs(runs: Iterable[R]) -> list[tuple[str, list[R]]]:
    """Return groups of runs that differ in their seed alone, each with its label."""
    groups: dict[tuple[str, str], list[R]] = {}
    for run in runs:
        settings = json.dumps({"method": run.method, **run.settings}, sort_keys=True)
        groups.setdefault((run.task, settings), []).append(run)
    labels = label_runs([group[0] for group in groups.values()])
    return list(zip(labels, groups.values(), strict=True))


def label_runs(runs: Sequence[Described]) -> list[str]:
    """Name each run by its method, and by the settings that differ within method and task.

    A setting that differs on one task is named on all tasks, so that a group has one name
    everywhere. Groups never share a name: a number has six digits, or more where six would not
    tell it from another.
    """
    differing: dict[str, dict[str, None]] = {}
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for run in runs:
        names = differing.setdefault(run.method, {})
        other = first.setdefault((run.task, run.method), run.settings)
        names |= dict.fromkeys(
            name for name in {**other, **run.settings} if other.get(name) != run.settings.get(name)
        )
    return [
        " ".join([run.method, _values(run, differing[run.method], runs)]).strip() for run in runs
    ]


def _values(run: Described, names: Iterable[str], runs: Sequence[Described]) -> str:
    rivals = [other.settings for other in runs if other.method == run.method]
    return ", ".join(
        f"{name} {_text(value, [settings.get(name) for settings in rivals])}"
        for name, value in run.settings.items()
        if name in names
    )


def _text(value: Any, others: Iterable[Any]) -> str:
    """Return a value in six digits, or in full where another value has the same six."""
    if isinstance(value, dict):  # what varies, or hashes
        return label_of(value)
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    alike = (v for v in others if isinstance(v, float) and f"{v:g}" == short)
    return short if all(v == value for v in alike) else repr(value)
