"""How names are called and guessed in messages: one rule for flags, files and the library."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FOLDER_NAME_RULE = "must be the name of a folder: use letters, digits, '.', '_', '-'"
_CALLED: ContextVar[Callable[[str], str]] = ContextVar("called", default=str)


def called(name: str) -> str:
    """Return what the user knows the setting `name` as: its own name, or its flag."""
    return _CALLED.get()(name)


def plain(name: str) -> str:
    """Return a name as settings have it: no dashes in front, underscores, lower case."""
    return name.lstrip("-").replace("-", "_").lower()


@contextmanager
def calling(rename: Callable[[str], str]) -> Iterator[set[str]]:
    """Let messages made within call settings what `rename` says; yields the names they mention."""
    mentioned: set[str] = set()

    def call(name: str) -> str:
        mentioned.add(name)
        return rename(name)

    token = _CALLED.set(call)
    try:
        yield mentioned
    finally:
        _CALLED.reset(token)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `name` was probably meant to be."""
    known = list(known)
    begun = [k for k in known if k.startswith(name)]
    return next(iter(begun or difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest name, or nothing if none is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""
