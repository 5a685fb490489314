"""Files of a run folder that hold what a study has measured of a trained run.

The last measurement comes first. Those of other settings, of studies that share the run, stand in
`others`; those of fewer steps of training are dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from p2p.analysis.conditions import simulated_by
from p2p.core.errors import BadArtefact
from p2p.runs.files import read_json, write_json


def keep(file: Path, name: str, value: Any, config: BaseModel, steps: int) -> None:
    """Write what was measured into `file`, before what it holds of other settings.

    Args:
        name: what `value` is, as the file names it.
        config: the settings of the measurement.
        steps: of the run's training.

    Raises:
        BadArtefact: the file is damaged.
        NoRoom: it cannot be written.
    """
    asked = {"steps": steps, "config": config.model_dump(mode="json")}
    others = [one for one in _all(file, name) if one.get("steps") == steps]
    others = [one for one in others if one.get("config") != asked["config"]]
    made = {**asked, "versions": simulated_by(), name: value}
    write_json(file, {**made, "others": others} if others else made)


def find(
    file: Path, name: str, config: BaseModel, steps: int, *, any_version: bool = False
) -> Any | None:
    """Return what was measured with these settings; None if that is not there.

    Args:
        any_version: return that of other versions of p2p or MuJoCo, too.

    Raises:
        BadArtefact: the file is damaged.
    """
    asked = (steps, config.model_dump(mode="json"))
    for kept in _all(file, name):
        if (kept.get("steps"), kept.get("config")) == asked and (
            any_version or kept.get("versions") == simulated_by()
        ):
            return kept[name]
    return None


def _all(file: Path, name: str) -> list[dict[str, Any]]:
    """Return all that a file holds, the last measurement first.

    Raises:
        BadArtefact: the file is damaged.
    """
    if not file.exists():
        return []
    last = read_json(file)
    others = last.pop("others", [])
    if not isinstance(others, list):
        raise damaged(file, name)
    kept: list[dict[str, Any]] = [last, *others]
    if not all(isinstance(one, dict) and name in one for one in kept):
        raise damaged(file, name)
    return kept


def damaged(file: Path, name: str) -> BadArtefact:
    """Return the error of a file that does not hold what it should."""
    return BadArtefact(
        f"{file} is damaged: it holds no {name}; delete it to have them measured again"
    )
