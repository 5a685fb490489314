"""Options made from TrainConfig's fields, and the way back: from options and file to a config.

A setting's name, type, default and help are written once, in `p2p.core.config`. Here is only
what a field cannot say: the short flags of the two that are typed most.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from p2p.core.config import TASKS, TrainConfig, build_config, override
from p2p.core.errors import UsageError
from p2p.core.method_facts import METHODS

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
SHORT = {"task": "--env", "num_peers": "--peers"}
VALUES = {"task": TASKS, "method": tuple(METHODS)}  # to complete; TrainConfig judges them
SCALARS: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, str: click.STRING}


class SettingsCommand(click.Command):
    """A command whose help lists the settings of a run apart from its other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two sections."""
        settings: list[tuple[str, str]] = []
        others: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            if row := param.get_help_record(ctx):
                (settings if param.name in TrainConfig.model_fields else others).append(row)
        for title, rows in (
            ("Options", others),
            ("Settings (in a file: the long name with underscores)", settings),
        ):
            with formatter.section(title):
                formatter.write_dl(rows)


def setting_options() -> list[click.Parameter]:
    """Return one option for each field of TrainConfig, in the order of its fields."""
    return [setting_option(name, field) for name, field in TrainConfig.model_fields.items()]


def flag(name: str) -> str:
    """Return the flag that sets a field: `--peers` for `num_peers`."""
    return SHORT.get(name, "--" + name.replace("_", "-"))


def given_on_command_line(ctx: click.Context) -> dict[str, Any]:
    """Return the settings that were typed, by field; defaults are not among them."""
    return {
        name: ctx.params[name]
        for name in TrainConfig.model_fields
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def configure(given: Mapping[str, Any], file: Path | None = None) -> TrainConfig:
    """Build the config from a TOML file, if any, and the settings typed, which win.

    Raises:
        UsageError: names the file if a key of it is at fault, and the flags otherwise.
    """
    in_file = read_settings(file) if file else {}
    try:
        return build_config(**override(in_file, given))
    except UsageError as error:
        message = str(error)
    from_file = in_file.keys() - given.keys()
    for name in TrainConfig.model_fields.keys() - from_file:
        message = re.sub(rf"\b{name}=", f"{flag(name)}=", message)
    blamed = any(re.search(rf"\b{re.escape(key)}\b", message) for key in from_file)
    raise UsageError(f"{file}: {message}" if blamed else message)


def read_settings(file: Path) -> dict[str, Any]:
    """Read settings, by field name, from a TOML file.

    Raises:
        UsageError: the file cannot be read, is not TOML, or has a key that is no setting.
    """
    try:
        settings = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read --config {file}: {error.strerror}") from None
    except ValueError as error:  # also UnicodeDecodeError
        raise UsageError(f"{file}: not TOML: {error}") from None
    known = {name: name for name in TrainConfig.model_fields}
    known |= {option.lstrip("-"): name for name, option in SHORT.items()}
    for key in settings:
        if key not in TrainConfig.model_fields:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            hint = f"; did you mean {known[near[0]]!r}?" if near else ""
            raise UsageError(f"{file}: unknown setting {key!r}{hint}")
    return settings


def with_flags(message: str, model: type[BaseModel]) -> str:
    """Call the settings of `model` in a message what they are called here."""
    for name in model.model_fields:
        message = re.sub(rf"\b{name}(\.\d+)?=", f"--{name.replace('_', '-')}=", message)
    return message


def setting_option(name: str, field: FieldInfo) -> click.Option:
    """Return the option of one field; `--env` and `--task` are the same."""
    long = "--" + name.replace("_", "-")
    attributes: dict[str, Any] = {"help": field.description, "show_default": True}
    if field.default_factory is None:
        attributes["default"] = field.default
    if field.annotation is bool:
        return click.Option([f"{long}/--no-{long[2:]}", name], **attributes)
    kind, count = _click_type(field.annotation)
    if count > 1:
        attributes["metavar"] = " ".join([kind.name.upper()] * count)
    if name in VALUES:
        attributes |= {"metavar": name.upper(), "shell_complete": _complete}
    flags = [SHORT[name], long] if name in SHORT else [long]
    return click.Option([*flags, name], type=kind, nargs=count, **attributes)


def _click_type(annotation: Any) -> tuple[click.ParamType[Any], int]:
    """Return click's type of a field's annotation, and how many values it takes.

    Ranges are left to TrainConfig, which a file and the library go through as well.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return click.Choice(args), 1
    if origin is Annotated:
        return _click_type(args[0])
    if origin is tuple:
        return _click_type(args[0])[0], len(args)
    if origin in (Union, UnionType):
        (inner,) = (arg for arg in args if arg is not type(None))
        return _click_type(inner)
    return SCALARS[annotation], 1


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    values = VALUES[param.name or ""]
    return [CompletionItem(value) for value in values if value.startswith(begun.lower())]
