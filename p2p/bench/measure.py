"""A number, its spread, and measuring several in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

Report = Callable[[str], None]  # told what is measured now


class Spread(NamedTuple):
    """Least, median and largest of a few values."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of `values`, at least one."""
        return cls(min(values), median(values), max(values))


class Measurement(NamedTuple):
    """One quantity, measured once a round."""

    part: str
    task: str  # empty if it has none
    name: str
    unit: str
    includes: str  # what the number includes and leaves out
    values: tuple[float, ...]  # by round
    baseline: str = ""  # name of what `ratios` are to
    ratios: tuple[float, ...] = ()  # by round: this value over the baseline's of the same round

    @property
    def spread(self) -> Spread:
        """Over the rounds."""
        return Spread.of(self.values)

    @property
    def ratio(self) -> Spread | None:
        """Over the rounds, of the ratios within a round; not the ratio of the medians."""
        return Spread.of(self.ratios) if self.ratios else None

    def over(self, baseline: Measurement) -> Measurement:
        """Return this measurement with its ratios to `baseline`, round by round."""
        ratios = [own / other for own, other in zip(self.values, baseline.values, strict=True)]
        return self._replace(baseline=baseline.name, ratios=tuple(ratios))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, with its spreads."""
        ratio = self.ratio
        return {
            **self._asdict(),
            **self.spread._asdict(),
            "ratio": ratio._asdict() if ratio else None,
        }


class Candidate(NamedTuple):
    """Something to measure, in turn with others."""

    name: str
    measure: Callable[[], float]
    includes: str
    baseline: str = ""  # name of the candidate that its ratio is to


def alternate(
    measures: Sequence[Callable[[], float]], rounds: int, on_round: Callable[[int], None]
) -> list[list[float]]:
    """Call each of `measures` once a round, A B A B; return their values, by measure."""
    values: list[list[float]] = [[] for _ in measures]
    for turn in range(rounds):
        on_round(turn)
        for own, measure in zip(values, measures, strict=True):
            own.append(measure())
    return values


def compare(
    part: str, task: str, unit: str, candidates: Sequence[Candidate], rounds: int, report: Report
) -> list[Measurement]:
    """Measure the candidates in turns; each has its ratio to its baseline."""
    where = f"{part} {task}".strip()
    values = alternate(
        [candidate.measure for candidate in candidates], rounds,
        lambda turn: report(f"{where}: round {turn + 1} of {rounds}"),
    )  # fmt: skip
    found = {
        c.name: Measurement(part, task, c.name, unit, c.includes, tuple(own))
        for c, own in zip(candidates, values, strict=True)
    }
    return [
        found[c.name].over(found[c.baseline]) if c.baseline else found[c.name] for c in candidates
    ]
