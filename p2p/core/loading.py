"""Modules that a user names: imported, with one line that says why one fails."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from p2p.core import env_names
from p2p.core.errors import UsageError

Kind = Literal["task", "method", "term"]


class Source(NamedTuple):
    """Where a class that is not p2p's own comes from.

    Attributes:
        name: what it is called in settings: `slow_hopper.py:SlowHopper`, a module's reference,
            or an entry point's name.
        location: the file's absolute path, or the module.
        cls: name of the class there.
        sha256: of the source file, hex.
    """

    kind: Kind
    name: str
    location: str
    cls: str
    sha256: str


def folded(kind: Kind, name: str) -> str:
    """Fold the spellings of a name of p2p's own: `HalfCheetah-v5`, `half_cheetah`, `Self_KL`.

    Other versions of an env are other envs.
    """
    low = name.lower()
    if kind == "method":
        return low.replace("_", "-")
    low = low.removeprefix("p2p/")
    head, dash, version = low.rpartition("-v")
    low = head if dash and version == "5" else low
    return "".join(c for c in low if c not in " _-\t")


def unversioned(name: str) -> str:
    """Return the name of an env without its version: `Pusher` of `Pusher-v5`."""
    head, dash, version = name.rpartition("-v")
    return head if dash and version.isdecimal() else name


def import_module_of(kind: Kind, reference: str, module: str) -> ModuleType:
    """Import a module that the user names.

    Raises:
        UsageError: it cannot be imported.
    """
    try:
        return import_module(module)
    except BaseException as error:
        raise import_failed(kind, reference, error) from error


def import_failed(kind: Kind, what: str, error: BaseException) -> BaseException:
    """Return what to raise for code of the user's that fails while it is imported."""
    if isinstance(error, KeyboardInterrupt):
        return error
    where, trace = "", error.__traceback__
    while trace is not None:  # the last line that is in the user's file
        if trace.tb_frame.f_code.co_filename == what:
            where = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        where = f", line {error.lineno}"
    text = " ".join(str(error).split())
    return UsageError(f"cannot import {kind} {what}{where}: {type(error).__name__}: {text}")


def how_to_add(kind: Kind, name: str) -> str:
    """Say how a class of the user's is loaded."""
    if ".py:" in name:
        return f"name the same file: --{kind} PATH/{name}"
    return f"name it: --{kind} {env_names.base_of(name)}"


def options(given: Iterable[Source], only: Mapping[Kind, str]) -> str:
    """Return the options that load sources, to put behind a command that somebody copies.

    Files below the working directory are named relative to it.

    Args:
        given: what is not p2p's or Gymnasium's own.
        only: by kind, the name of the only source that is needed; empty: all.

    Returns:
        ` --task robot.py:Robot`, say, quoted for a shell; nothing of no source.
    """
    words = []
    for source in given:
        if only.get(source.kind, "") in ("", source.name):
            words += [f"--{source.kind}", _reference(source)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def _reference(source: Source) -> str:
    """Return what a user types to load a source from the working directory."""
    if not source.location.endswith(".py"):
        return source.name
    path, here = Path(source.location), Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{source.cls}"
