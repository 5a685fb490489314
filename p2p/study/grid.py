"""Reads study files: a grid of settings becomes one config per run.

name = "learning"
[settings]                  # of every run: fields of TrainConfig
total_steps = 1_000_000
[[grid]]                    # one or more; lists are axes, scalars are settings
task = ["hopper", "ant"]
method = "ppo"
seed = [0, 1, 2]
[budget.small]              # optional: replaces the grids' values with `--budget small`
total_steps = 100_000       # (for one grid only: [grid.budget.small] below it)
[evaluate]                  # optional: fields of EvalConfig, applied to each run after training
eps_te = "0:1:0.1"
[evaluate.calm]             # optional: one more test of each run; its measures are `calm:eps_te=1`
eps_te = 1
randomise = "calm.toml"     # what varies in it: a domains file, or its tables
[surface]                   # optional: fields of SurfaceConfig; returns around each run's policies
grid = 15

The top level may also name a `folder`: studies with the same folder share their equal runs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, get_origin

from p2p.analysis.evaluation.config import EvalConfig, build_eval_config, parse_strengths
from p2p.analysis.surface.config import SurfaceConfig, build_surface_config
from p2p.core.config import TrainConfig, build_config, setting_names
from p2p.core.consistency import RENAMED, override
from p2p.core.errors import UsageError
from p2p.core.foreign import COMMAND_LINE, hint, with_long_names
from p2p.core.names import FOLDER_NAME, FOLDER_NAME_RULE, did_you_mean, nearest
from p2p.core.reading import read_toml
from p2p.runs.files import reachable

KEYS = ("name", "description", "folder", "settings", "grid", "budget", "evaluate", "surface")
TESTED = ("eps_te", "domains", "domain_seed", "episodes", "sampled", "randomise")  # of [evaluate]
MAIN = ""  # the name of the test in [evaluate] itself
LEAST_MILESTONES = 2  # for a surface: one lies between start and end
DEFAULT_BUDGET = "small"
NAMED = ("task", "method", "seed", "source_sha256")  # by themselves
TEST_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # part of the names of columns


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Attributes:
        name: also that of its results.
        configs: one per run, in the order of the file; no two are equal.
        file: the file that it was read from.
        tests: how each run is tested after training, by the test's name; that of [evaluate] itself
            is `MAIN`. Empty: not tested.
        surface: which return surface of each run is measured after training; None: none.
        budget: name of the budget that was chosen; None if the file has no budgets.
        folder: name of the folder of its runs [its own name].
    """

    name: str
    configs: tuple[TrainConfig, ...]
    file: Path
    tests: Mapping[str, EvalConfig] = field(default_factory=dict)
    budget: str | None = None
    folder: str = ""
    surface: SurfaceConfig | None = None

    @property
    def evaluate(self) -> EvalConfig | None:
        """The test in [evaluate] itself, which figures and tables show."""
        return self.tests.get(MAIN)

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The settings that differ between runs of one task, method and seed."""
        return tuple(
            name
            for name in dict.fromkeys(name for config in self.configs for name in config.settings)
            if name not in NAMED and self._varies(name)
        )

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The settings that have a column, beside those that always have: what varies or is given.

        A setting is given if a grid sets it for one method, and others have another value.
        """
        given = {name: None for config in self.configs for name in sorted(config.model_fields_set)}
        always = {"num_peers", "learning_rate", *NAMED, *self.varying}
        others = [
            name for name in given
            if name not in always and len({str(c.settings.get(name)) for c in self.configs}) > 1
        ]  # fmt: skip
        return (*self.varying, *others)

    def _varies(self, name: str) -> bool:
        # Only within a method: a difference that follows from the method is in the name already.
        values: dict[str, Any] = {}
        return any(values.setdefault(c.method, c.get(name)) != c.get(name) for c in self.configs)


def shipped_studies() -> dict[str, Path]:
    """Return the study files that are installed with the program, by name."""
    folder = Path(str(files("p2p.data") / "studies"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_study(name: str) -> Path:
    """Return the file of a study, given its path or the name of a shipped study.

    Raises:
        UsageError: it is neither, or the path is not accessible.
    """
    path = Path(name)
    if path.suffix == ".toml" or reachable(path, UsageError).is_file():
        return path
    shipped = shipped_studies()
    if name in shipped:
        return shipped[name]
    near = nearest(name, shipped)
    hint = f"did you mean {near!r}? " if near else ""
    raise UsageError(
        f"no study {name!r}; {hint}shipped: {', '.join(shipped)}; or give a path to a .toml file"
    )


def read_study(file: Path, budget: str | None = None) -> Study:
    """Read and validate a study file.

    Args:
        budget: which of the file's budgets; default `small`, else the first one. With any other
            than the default, its name is appended to the study's, so that runs and results
            of two budgets do not mix.

    Raises:
        UsageError: names the fault, and the grid that has it.
    """
    try:
        content = read_toml(file)
    except OSError as error:
        raise UsageError(f"cannot read study {file}: {error.strerror}") from None
    except ValueError as error:  # also UnicodeDecodeError
        raise UsageError(f"{file}: not TOML: {error}") from None
    try:
        return _study(content, file, budget)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def _study(content: Mapping[str, Any], file: Path, budget: str | None) -> Study:
    for key in content:
        if key not in KEYS:
            raise UsageError(
                f"unknown key {key!r}{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}"
            )
    name = _name(content.get("name", file.stem), "name")
    folder = _name(content.get("folder", name), "folder")
    budgets = _budgets(content)
    chosen, default = _choose_budget(budgets, budget)
    if chosen != default:
        name, folder = f"{name}-{chosen}", f"{folder}-{chosen}"
    configs = tuple(_configs(content, chosen, budgets.get(chosen or "", {})))
    return Study(
        name, configs, file, _tests(content), chosen, folder, _surface(content, configs)
    )  # fmt: skip


def _name(name: Any, key: str) -> str:
    if not isinstance(name, str) or not FOLDER_NAME.fullmatch(name):
        raise UsageError(f"{key}={name!r} {FOLDER_NAME_RULE}")
    return name


def _budgets(content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    budgets = content.get("budget", {})
    if not isinstance(budgets, dict) or not all(isinstance(b, dict) for b in budgets.values()):
        raise UsageError("budget must hold tables: [budget.small]")
    for name in budgets:
        _name(name, "budget")
    return {name: _long_names(part, f"[budget.{name}]") for name, part in budgets.items()}


def _choose_budget(budgets: Mapping[str, Any], wanted: str | None) -> tuple[str | None, str | None]:
    """Return the chosen budget, and the file's default one."""
    default = DEFAULT_BUDGET if DEFAULT_BUDGET in budgets else next(iter(budgets), None)
    if wanted is None or wanted in budgets:
        return wanted or default, default
    if not budgets:
        raise UsageError(f"has no budgets, so --budget {wanted} cannot be chosen")
    known = tuple(budgets)
    raise UsageError(
        f"no budget {wanted!r}{did_you_mean(wanted, known)}; known: {', '.join(known)}"
    )


def _tests(content: Mapping[str, Any]) -> dict[str, EvalConfig]:
    """Return the test of [evaluate], and those of the tables [evaluate.NAME] in it."""
    if "evaluate" not in content:
        return {}
    table = content["evaluate"]
    if not isinstance(table, dict):
        raise UsageError("evaluate must be a table: [evaluate]")
    named = {k: v for k, v in table.items() if isinstance(v, dict) and k not in TESTED}
    main = {k: v for k, v in table.items() if k not in named}
    return {
        MAIN: _evaluate(main, "[evaluate]"),
        **{name: _evaluate(v, f"[evaluate.{_test_name(name)}]") for name, v in named.items()},
    }


def _test_name(name: str) -> str:
    if not TEST_NAME.fullmatch(name):
        raise UsageError(f"[evaluate]: test {name!r}: use letters, digits, '_', '-' in its name")
    return name


def _evaluate(settings: Mapping[str, Any], where: str) -> EvalConfig:
    for name in settings:
        if name not in TESTED:
            raise UsageError(
                f"{where}: unknown setting {name!r}{hint(name, TESTED)}; known: {', '.join(TESTED)}"
            )
    eps_te = settings.get("eps_te", EvalConfig().eps_te)
    items = eps_te if isinstance(eps_te, list | tuple) else [eps_te]
    try:
        strengths = [eps for item in items for eps in parse_strengths(str(item))]
        return build_eval_config(**{**settings, "eps_te": strengths})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _surface(content: Mapping[str, Any], configs: Sequence[TrainConfig]) -> SurfaceConfig | None:
    """Return what [surface] asks for, which every run must be able to give."""
    if "surface" not in content:
        return None
    table, known = content["surface"], tuple(SurfaceConfig.model_fields)
    if not isinstance(table, dict):
        raise UsageError("surface must be a table: [surface]")
    for name in table:
        if name not in known:
            raise UsageError(
                f"[surface]: unknown setting {name!r}{hint(name, known)}; known: {', '.join(known)}"
            )
    try:
        found = build_surface_config(**table)
    except UsageError as error:
        raise UsageError(f"[surface]: {error}") from None
    if (least := min(config.num_peers for config in configs)) <= found.peer:
        raise UsageError(f"[surface]: peer={found.peer}, but a run has num_peers={least} alone")
    if (least := min(config.milestones for config in configs)) < LEAST_MILESTONES:
        raise UsageError(
            f"[surface] needs milestones of {LEAST_MILESTONES} or more, for the middle policy; a "
            f"run has milestones={least}"
        )
    if min(config.num_iterations for config in configs) < LEAST_MILESTONES:
        raise UsageError("[surface] needs runs of two iterations or more, for the middle policy")
    return found


def _configs(
    content: Mapping[str, Any], budget: str | None, common: Mapping[str, Any]
) -> list[TrainConfig]:
    """Return the distinct points of all grids.

    Args:
        budget: the chosen budget, whose values replace those of the grids.
        common: the values of that budget for all grids.
    """
    settings, grids = content.get("settings", {}), content.get("grid")
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise UsageError("has no [[grid]]; a study needs at least one")
    if not isinstance(settings, dict):
        raise UsageError("settings must be a table: [settings]")
    settings = _long_names(settings, "[settings]")
    configs: dict[TrainConfig, None] = {}
    for number, grid in enumerate(grids, 1):
        where = f"grid {number}" if len(grids) > 1 else "grid"
        grid = _at_budget(grid, budget, common, where)
        axes = {name: _axis(name, value, where) for name, value in grid.items()}
        for point in itertools.product(*axes.values()):
            try:
                config = build_config(**override(settings, dict(zip(axes, point, strict=True))))
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
            configs.setdefault(config)
    return list(configs)


def _at_budget(
    grid: Mapping[str, Any], budget: str | None, common: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return a grid with the values of a budget in place of its own."""
    plain = _long_names({n: value for n, value in grid.items() if n != "budget"}, where)
    own = grid.get("budget", {})
    if not isinstance(own, dict) or not all(isinstance(part, dict) for part in own.values()):
        raise UsageError(f"{where}: budget must hold tables: [grid.budget.small]")
    parts = {name: _long_names(part, f"{where}, budget {name}") for name, part in own.items()}
    return override(override(plain, common), parts.get(budget or "", {}))


def _axis(name: str, value: Any, where: str) -> list[Any]:
    """Return the values of one setting in a grid; a pair of sizes is a single value."""
    field = TrainConfig.model_fields.get(name)
    is_tuple = field is not None and get_origin(field.annotation) is tuple
    if not isinstance(value, list) or (
        is_tuple and not all(isinstance(item, list) for item in value)
    ):
        return [value]
    if not value:
        raise UsageError(f"{where}: {name} is an empty list, so the grid has no run")
    return value


def _long_names(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings with `env` and `peers` by their long names, all of them known."""
    known = setting_names()
    for name in settings:
        if name not in known and name not in RENAMED and name not in COMMAND_LINE:
            raise UsageError(f"{where}: unknown setting {name!r}{hint(name, known)}")
    try:
        return with_long_names(settings)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
