"""What a benchmark found, and its file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.bench.measure import Measurement
from p2p.core.errors import BadArtefact
from p2p.runs.files import write_json

FORMAT = "p2p-bench-1"


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
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise BadArtefact(f"{path} has format {found['format']!r}, this version reads {FORMAT}")
        rows = [_measurement(row) for row in found["measurements"]]
        return Results(rows, found["machine"], found["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadArtefact(
            f"{path} holds no benchmark ({error}); give a file that `p2p bench --save` wrote"
        ) from None


def _measurement(row: dict[str, Any]) -> Measurement:
    fields = {name: row[name] for name in Measurement._fields}
    return Measurement(
        **{**fields, "values": tuple(fields["values"]), "ratios": tuple(fields["ratios"])}
    )
