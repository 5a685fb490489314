"""Options made from the fields of settings, and the way back: from options and file to a config.

A setting's name, type, default and help are written once, in `p2p.core.config` or, if it is a
method's own, in the method. Here is only what a field cannot say: the short flags of the two
that are typed most.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from p2p.core import env_names, registry
from p2p.core.config import TrainConfig, build_config, setting_names
from p2p.core.consistency import RENAMED, override, settings_of
from p2p.core.env_names import with_kwargs
from p2p.core.errors import UsageError
from p2p.core.foreign import COMMAND_LINE, hint, with_long_names
from p2p.core.names import calling
from p2p.core.numbers import duration_of, whole_number
from p2p.core.reading import MOST_SETTINGS, parse_json, read_bytes, read_toml

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
SHORT = {name: f"--{short}" for short, name in COMMAND_LINE.items()}
KINDS: tuple[registry.Kind, ...] = ("task", "method")  # that settings name
SOURCES: tuple[registry.Kind, ...] = (*KINDS, "term")
Command = TypeVar("Command", bound=Callable[..., None])


class Written(click.ParamType[int]):
    """A number as people write it.

    Args:
        name: of the kind of number, for the help.
        parse: returns the number of a text; raises ValueError with what is wrong with it.
    """

    def __init__(self, name: str, parse: Callable[[str], int]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail with what is wrong with the text."""
        try:
            return self.parse(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


WHOLE = Written("integer", whole_number)  # 1e6, 1M, 1_000_000
DURATION = Written("time", duration_of)  # 90m, 3:30:00, in seconds


class WholeRange(click.IntRange):
    """A whole number within a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail."""
        return super().convert(WHOLE.convert(value, param, ctx), param, ctx)


SCALARS: dict[Any, click.ParamType[Any]] = {int: WHOLE, float: click.FLOAT, str: click.STRING}


class SettingsCommand(click.Command):
    """A command whose help lists the settings of a run apart from its other options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; an argument without one is told how a setting is given."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            needed = "; a setting needs its name, as in --env hopper"
            raise click.UsageError(error.message + needed, ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two sections."""
        settings: list[tuple[str, str]] = []
        others: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            if row := param.get_help_record(ctx):
                (settings if param.name in fields() else others).append(row)
        for title, rows in (
            ("Options", others),
            ("Settings (in files with underscores; numbers also as 1e6, 1M, 1_000_000)", settings),
        ):
            with formatter.section(title):
                formatter.write_dl(rows)


@cache
def fields() -> Mapping[str, FieldInfo]:
    """Return the fields of all settings by name: TrainConfig's, then those of p2p's methods.

    It imports the methods, and numpy with them: the commands that take no settings do without.
    """
    found = dict(TrainConfig.model_fields)
    for method in registry.BUILT_IN["method"]:
        for name, field in settings_of(method).items():
            found.setdefault(name, field)
    return {name: found[name] for name in setting_names() if name in found}


def setting_options() -> list[click.Parameter]:
    """Return one option for each setting, in the order of their fields."""
    return [setting_option(name, field) for name, field in fields().items()]


def flag(name: str) -> str:
    """Return the flag that sets a field: `--peers` for `num_peers`."""
    return SHORT.get(name, "--" + name.replace("_", "-"))


def given_on_command_line(ctx: click.Context) -> dict[str, Any]:
    """Return the settings that were typed, by name; defaults are not among them.

    The task and the method are loaded if they are the user's own.

    Raises:
        UsageError: they cannot be.
    """
    given = {
        name: ctx.params[name]
        for name in fields()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    given |= _parsed(ctx.params.get("more", ()))
    if pairs := ctx.params.get("env_kwargs"):
        given |= _env_kwargs(pairs, given.get("task"))
    return given | {kind: registry.add(kind, given[kind]) for kind in KINDS if kind in given}


def _parsed(more: tuple[str, ...]) -> dict[str, Any]:
    """Read `--set NAME=VALUE`: the value as TOML has it, else as text."""
    found: dict[str, Any] = {}
    for text in more:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals:
            raise UsageError(f"--set {text}: write NAME=VALUE")
        try:
            found[name.replace("-", "_")] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.replace("-", "_")] = value
    inner = found.keys() & {"method_settings", "source_sha256"}
    if inner:
        raise UsageError(f"--set {inner.pop()}=...: set each of the method's settings by its name")
    return found


def _env_kwargs(pairs: tuple[str, ...], task: str | None) -> dict[str, Any]:
    """Return the arguments of an env as part of its name, or apart if the name is in a file."""
    try:
        kwargs = env_names.parse(pairs, "--env-kwargs")
        return {"env_kwargs": kwargs} if task is None else {"task": with_kwargs(task, kwargs)}
    except ValueError as error:
        raise UsageError(str(error)) from None


def source_options(command: Command) -> Command:
    """Add --task, --method and --term, which load code of the user's that runs were made with."""
    for kind in reversed(SOURCES):
        command = _source_option(kind)(command)
    return command


def term_option(command: Command) -> Command:
    """Add --term, which loads a term of the user's that a domains file names."""
    return _source_option("term")(command)


def _source_option(kind: registry.Kind) -> Callable[[Command], Command]:
    what = "domains files name" if kind == "term" else "runs were made with"
    return click.option(
        f"--{kind}",
        multiple=True,
        expose_value=False,
        is_eager=True,
        metavar="PATH:NAME" if kind == "term" else "PATH:CLASS",
        callback=_add_all,
        help=f"Load a {kind} of your own that {what}.",
    )


def _add_all(ctx: click.Context, param: click.Parameter, references: tuple[str, ...]) -> None:
    if not ctx.resilient_parsing:
        (kind,) = (kind for kind in SOURCES if kind == param.name)
        for reference in references:
            try:
                registry.choose(kind, registry.add(kind, reference))
            except ValueError as error:
                raise UsageError(str(error)) from None


@contextmanager
def flags_in_messages(in_file: Mapping[str, Any] | None = None) -> Iterator[set[str]]:
    """Let errors name settings by their flags, but for those that a file has; yield the named."""
    from_file = in_file or {}

    def rename(name: str) -> str:
        if name in from_file:
            return name
        of_own_method = name in setting_names() and name not in fields()
        return f"--set {name}" if of_own_method else flag(name)

    with calling(rename) as mentioned:
        yield mentioned


def configure(given: Mapping[str, Any], file: Path | None = None) -> TrainConfig:
    """Build the config from a TOML file, if any, and the settings typed, which win.

    Raises:
        UsageError: names the file if a key of it is at fault, and the flags otherwise.
    """
    in_file = read_settings(file) if file else {}
    given = _with_kwargs_of_file(given, in_file)
    from_file = {name: value for name, value in in_file.items() if name not in given}
    with flags_in_messages(from_file) as mentioned:
        try:
            return build_config(**override(in_file, given))
        except UsageError as error:
            blamed = mentioned & from_file.keys() or any(
                repr(in_file[kind]) in str(error) for kind in KINDS if kind in from_file
            )
            raise UsageError(f"{file}: {error}" if blamed else str(error)) from None


def _with_kwargs_of_file(given: Mapping[str, Any], in_file: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings typed, with an env's arguments in the file where they are for that env.

    Those typed replace those of the file one by one.
    """
    kwargs = in_file.get("env_kwargs")
    if not isinstance(kwargs, dict):
        return dict(given)
    typed, had = (str(where.get("task", "hopper")) for where in (given, in_file))
    ids = {registry.folded("task", env_names.base_of(name)) for name in (typed, had)}
    if "task" in given and len(ids) > 1:
        kwargs = {}
    with suppress(ValueError):  # which the field's own validator says
        kwargs = kwargs | env_names.split(typed)[1]
    return {**given, "env_kwargs": kwargs | given.get("env_kwargs", {})}


def read_settings(file: Path) -> dict[str, Any]:
    """Read settings, by field name, from a TOML file, or from the config.json of a run.

    Raises:
        UsageError: the file cannot be read, is neither, or has a key that is no setting.
    """
    kind = "JSON" if file.suffix == ".json" else "TOML"
    try:
        settings = _of_run(file) if kind == "JSON" else read_toml(file)
    except OSError as error:
        raise UsageError(f"cannot read --config {file}: {error.strerror}") from None
    except ValueError as error:  # also UnicodeDecodeError
        raise UsageError(f"{file}: not {kind}: {error}") from None
    known = setting_names()
    for key in settings:
        if key not in known and key not in RENAMED and key not in COMMAND_LINE:
            raise UsageError(f"{file}: unknown setting {key!r}{hint(key, known)}")
    try:
        return with_long_names(settings)
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from None


def _of_run(file: Path) -> dict[str, Any]:
    """Return the settings of a run's config.json, as its user might have given them.

    Raises:
        OSError, ValueError: it cannot be read, or is something else.
    """
    found = parse_json(read_bytes(file, MOST_SETTINGS))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    own = found.pop("method_settings", {})
    found.pop("source_sha256", None)  # what it was made with, which may be another version now
    given = {**found, **(own if isinstance(own, dict) else {"method_settings": own})}
    return {name: value for name, value in given.items() if value is not None}


def setting_option(name: str, field: FieldInfo) -> click.Option:
    """Return the option of one field; `--env` and `--task` are the same."""
    long = "--" + name.replace("_", "-")
    attributes: dict[str, Any] = {"help": field.description, "show_default": True}
    if field.default_factory is None:
        attributes["default"] = field.default
    if field.annotation is bool:
        return click.Option([f"{long}/--no-{long[2:]}", name], **attributes)
    if name == "randomise":
        return click.Option([long, name], type=FILE, metavar="FILE.toml", **attributes)
    if name == "track":
        choice = click.Choice([*_tracker_names(field), "none"])
        return click.Option(
            [long, name], type=choice, multiple=True, default=(), help=field.description
        )
    kind, count = _click_type(field.annotation)
    if count > 1:
        attributes["metavar"] = " ".join([kind.name.upper()] * count)
    if name in KINDS:
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


def _tracker_names(field: FieldInfo) -> tuple[str, ...]:
    (literal, _) = get_args(field.annotation)
    return get_args(literal)


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    names = registry.BUILT_IN["task" if param.name == "task" else "method"]
    own = [CompletionItem(name) for name in names if name.startswith(begun.lower())]
    return own or [CompletionItem(begun, type="file")]
