"""A number and its spread, measuring several in turns, and the file of what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from p2p.core.errors import BadArtefact
from p2p.core.reading import DAMAGE, parse_json, read_bytes
from p2p.runs.files import write_json

FORMAT = "p2p-bench-1"
Tell = Callable[[str], None]  # told what is measured now


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
    part: str, task: str, unit: str, candidates: Sequence[Candidate], rounds: int, tell: Tell
) -> list[Measurement]:
    """Measure the candidates in turns; each has its ratio to its baseline."""
    where = f"{part} {task}".strip()
    values = alternate(
        [candidate.measure for candidate in candidates], rounds,
        lambda turn: tell(f"{where}: round {turn + 1} of {rounds}"),
    )  # fmt: skip
    found = {
        c.name: Measurement(part, task, c.name, unit, c.includes, tuple(own))
        for c, own in zip(candidates, values, strict=True)
    }
    return [
        found[c.name].over(found[c.baseline]) if c.baseline else found[c.name] for c in candidates
    ]


@dataclass(frozen=True)
class Results:
    """All measurements of one benchmark.

    Attributes:
        machine: versions, processor, number of CPUs, load average at the start.
        settings: how much was measured.
    """

    measurements: Sequence[Measurement]
    machine: dict[str, Any]
    settings: dict[str, Any]

    def part(self, name: str) -> list[Measurement]:
        """Return the measurements of one part, in their order."""
        return [m for m in self.measurements if m.part == name]

    @property
    def caption(self) -> str:
        """The machine and the number of rounds."""
        machine, rounds = self.machine, self.settings["rounds"]
        return (
            f"{machine['cpu']}, {machine['cpus']} CPUs, load {machine['load']:.1f} at the start; "
            f"median and range of {rounds} rounds, measured in turns; ratios within a round"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "format": FORMAT,
            "machine": self.machine,
            "settings": self.settings,
            "measurements": [m.to_dict() for m in self.measurements],
        }

    def save(self, path: Path) -> None:
        """Write it to `path`, whole or not at all.

        Raises:
            NoRoom: the disk is full or cannot be written.
        """
        write_json(path, self.to_dict())


def load_results(path: Path) -> Results:
    """Read what `Results.save` wrote.

    Raises:
        BadArtefact: it is not there, or something else.
    """
    try:
        found = parse_json(read_bytes(path))
        if found["format"] != FORMAT:
            raise BadArtefact(f"{path} has format {found['format']!r}, this version reads {FORMAT}")
        rows = [_measurement(row) for row in found["measurements"]]
        return Results(rows, found["machine"], found["settings"])
    except (OSError, *DAMAGE) as error:
        raise BadArtefact(
            f"{path} holds no benchmark ({error}); give a file that `p2p bench --save` wrote"
        ) from None


def _measurement(row: dict[str, Any]) -> Measurement:
    fields = {name: row[name] for name in Measurement._fields}
    return Measurement(
        **{**fields, "values": tuple(fields["values"]), "ratios": tuple(fields["ratios"])}
    )
