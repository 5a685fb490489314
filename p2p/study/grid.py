"""Study files: what they say, and which runs that makes.

name = "learning"
[settings]                  # of every run: fields of TrainConfig
total_steps = 1_000_000
[[grid]]                    # one or more; lists are axes, scalars are settings
task = ["hopper", "ant"]
method = "ppo"
seed = [0, 1, 2]
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_origin

from p2p.config import PER_PEER, TrainConfig, build_config, override
from p2p.errors import UsageError

KEYS = ("name", "description", "settings", "grid")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Attributes:
        name: also of its folder and of its results.
        configs: one a run, in the order of the file; no two are equal.
        file: where it was read from.
    """

    name: str
    configs: tuple[TrainConfig, ...]
    file: Path

    @property
    def varying(self) -> tuple[str, ...]:
        """The settings that tell apart runs of one task, method and seed."""
        return tuple(
            name
            for name in TrainConfig.model_fields
            if name not in ("task", "method", "seed", *PER_PEER.values()) and self._varies(name)
        )

    def _varies(self, name: str) -> bool:
        # Not between methods: what depends on the method there says nothing that its name does not.
        values: dict[str, Any] = {}
        return any(
            values.setdefault(c.method, getattr(c, name)) != getattr(c, name) for c in self.configs
        )


def shipped_studies() -> dict[str, Path]:
    """Return the study files that come with the program, by name."""
    folder = Path(str(files("p2p.data") / "studies"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_study(name: str) -> Path:
    """Return the file of a study: a path to one, or the name of one that is shipped.

    Raises:
        UsageError: neither.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    shipped = shipped_studies()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        f"no study {name!r}; {hint}shipped: {', '.join(shipped)}; or give a path to a .toml file"
    )


def read_study(file: Path) -> Study:
    """Read and validate a study file.

    Raises:
        UsageError: what is wrong, and in which grid.
    """
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read study {file}: {error.strerror}") from None
    except ValueError as error:  # also UnicodeDecodeError
        raise UsageError(f"{file}: not TOML: {error}") from None
    try:
        return Study(_name(content, file), tuple(_configs(content)), file)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def _name(content: Mapping[str, Any], file: Path) -> str:
    for key in content:
        if key not in KEYS:
            raise UsageError(f"unknown key {key!r}{_hint(key, KEYS)}; known: {', '.join(KEYS)}")
    name = content.get("name", file.stem)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(f"name={name!r} is to name a folder: use letters, digits, '.', '_', '-'")
    return name


def _configs(content: Mapping[str, Any]) -> list[TrainConfig]:
    """Return the distinct points of all grids."""
    settings, grids = content.get("settings", {}), content.get("grid")
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise UsageError("has no [[grid]]; a study needs one at least")
    if not isinstance(settings, dict):
        raise UsageError("settings is to be a table: [settings]")
    _check_names(settings, "[settings]")
    configs: dict[TrainConfig, None] = {}
    for number, grid in enumerate(grids, 1):
        where = f"grid {number}" if len(grids) > 1 else "grid"
        _check_names(grid, where)
        axes = {name: _axis(name, value, where) for name, value in grid.items()}
        for point in itertools.product(*axes.values()):
            try:
                config = build_config(**override(settings, dict(zip(axes, point, strict=True))))
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
            configs.setdefault(config)
    return list(configs)


def _axis(name: str, value: Any, where: str) -> list[Any]:
    """Return the values of one setting in a grid; a pair of sizes is one value, not two."""
    is_tuple = get_origin(TrainConfig.model_fields[name].annotation) is tuple
    if not isinstance(value, list) or (
        is_tuple and not all(isinstance(item, list) for item in value)
    ):
        return [value]
    if not value:
        raise UsageError(f"{where}: {name} is an empty list: it leaves no run")
    return value


def _check_names(settings: Mapping[str, Any], where: str) -> None:
    for name in settings:
        if name not in TrainConfig.model_fields:
            hint = _hint(name, tuple(TrainConfig.model_fields))
            raise UsageError(f"{where}: unknown setting {name!r}{hint}")


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
