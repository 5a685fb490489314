"""Names of Gymnasium's envs with their arguments: `Ant-v5?frame_skip=10&xml_file=/home/me/a.xml`.

The name alone says which env a policy, run or evaluation belongs to, so that two envs of other
arguments are never taken for one another. Arguments are sorted; their values are TOML, or text
where that is no TOML. Gymnasium is not imported here.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from p2p.core.names import called

MODULE_ID = re.compile(r"([A-Za-z_][\w.]*):([\w.-]+/)?[\w.:-]+-v\d+")
UNSAFE = re.compile(r"[%&?#\s\x00-\x1f\x7f]")


def split(name: str) -> tuple[str, dict[str, Any]]:
    """Return the env's id, and its arguments.

    Raises:
        ValueError: they are no KEY=VALUE.
    """
    base, mark, rest = name.partition("?")
    return base, parse(map(unquote, rest.split("&")), f"task {name!r}") if mark else {}


def base_of(name: str) -> str:
    """Return the env's id."""
    return name.partition("?")[0]


def is_module_id(name: str) -> bool:
    """Say whether it is `module:Id-v0`, an id that the module registers."""
    return MODULE_ID.fullmatch(base_of(name)) is not None


def is_id(name: str) -> bool:
    """Say whether it looks like an id of Gymnasium's registry."""
    return re.search(r"-v\d+$", base_of(name)) is not None


def parse(pairs: Iterable[str], where: str) -> dict[str, Any]:
    """Return the arguments that `KEY=VALUE` texts give: a value as TOML has it, else as text.

    Raises:
        ValueError: one is not of this form, or comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise ValueError(f"{where}: {pair!r} is no argument; write KEY=VALUE")
        if key in found:
            raise ValueError(f"{where}: {key} is given twice")
        found[key] = _value(value.strip())
    return found


def with_kwargs(name: str, kwargs: Mapping[str, Any]) -> str:
    """Return the name of an env with further arguments, which replace those that it has.

    A text that names a file becomes its absolute path: other processes may have another working
    directory, and Gymnasium looks for a relative path among its own files.

    Raises:
        ValueError: an argument has a value that has no form in TOML.
    """
    base, own = split(name)
    own |= {str(key): _absolute(value) for key, value in kwargs.items()}
    for key, value in own.items():
        if not key.isidentifier():
            raise ValueError(f"{called('env_kwargs')}: {key!r} is no name of an argument")
        if not _is_toml(value):
            raise ValueError(
                f"{called('env_kwargs')}: {key}={value!r} cannot be part of a run's settings; use "
                "numbers, texts, true or false, lists and tables of these"
            )
    pairs = (f"{key}={UNSAFE.sub(_escape, _text(own[key]))}" for key in sorted(own))
    return "?".join(filter(None, (base, "&".join(pairs))))


def folder_part(name: str) -> str:
    """Return what stands for a task in the name of a folder; of files only their names."""
    base, mark, rest = name.partition("?")
    short = (f"{key}={value.rpartition('/')[2]}" for key, _, value in _pairs(rest))
    return re.sub(r"[^\w.:=,+-]+", "-", "-".join([base, *short]) if mark else base)


def label(name: str) -> str:
    """Return what a figure calls the env: `Ant-v5 (frame_skip=10, xml_file=a.xml)`."""
    base, mark, rest = name.partition("?")
    short = (f"{key}={value.rpartition('/')[2]}" for key, _, value in _pairs(rest))
    return f"{base.rpartition(':')[2]} ({', '.join(short)})" if mark else base.rpartition(":")[2]


def digest(name: str, source: str | None) -> str | None:
    """Return a hash of the env's source and the files that its arguments name; None if no such.

    Args:
        source: hash of the source, hex; None: it is Gymnasium's own.
    """
    files = []
    with suppress(ValueError, OSError):
        for value in split(name)[1].values():
            if isinstance(value, str) and value.startswith("/") and Path(value).is_file():
                files.append(hashlib.sha256(Path(value).read_bytes()).hexdigest())
    if not files:
        return source
    return hashlib.sha256("".join([source or "", *files]).encode()).hexdigest()


def _pairs(rest: str) -> Iterable[tuple[str, str, str]]:
    return (unquote(pair).partition("=") for pair in rest.split("&"))


def _value(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        found = tomllib.loads(f"value = {text}")
        if found.keys() == {"value"} and _is_toml(found["value"]):
            return found["value"]
    return text


def _is_toml(value: Any) -> bool:
    """Say whether it is of numbers, texts, lists and tables; dates are left out."""
    if isinstance(value, list | tuple):
        return all(map(_is_toml, value))
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_toml(k) and _is_toml(v) for k, v in value.items())
    if isinstance(value, str):
        return value.isascii() or value == value.encode("utf-8", "ignore").decode()
    return type(value) in (bool, int, float)


def _text(value: Any) -> str:
    if isinstance(value, str):
        bare = bool(value) and value == value.strip() and isinstance(_value(value), str)
        return value if bare and _value(value) == value else _toml(value)
    return _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{_toml(key)} = {_toml(v)}" for key, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    return repr(value)


def _absolute(value: Any) -> Any:
    with suppress(OSError, ValueError, RuntimeError):  # the last: `~name` of no user here
        if isinstance(value, str) and value and Path(value).expanduser().is_file():
            return str(Path(value).expanduser().absolute())
    return value


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
