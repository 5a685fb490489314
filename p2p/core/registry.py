"""Tasks and methods by name: those of p2p, of installed packages, and of the user's own files.

What there is to know of a task or method (defaults, limits, label, colour) is in its class, so
that this is the only table of them. A class that is not p2p's own has a *reference*:

    ./slow_hopper.py:SlowHopper        a class in a file
    my_package.tasks:SlowHopper        a class in a module that Python can import
    slow-hopper                        a name that an installed package registers as an entry
                                       point in the group `p2p.tasks` or `p2p.methods`

Code is loaded only by `add`, which is called with what a user has typed or passed. What a run
folder says is looked up among what is loaded, and never imported.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.names import nearest

Kind = Literal["task", "method"]

BUILT_IN: Mapping[Kind, Mapping[str, str]] = {
    "task": {
        "walker2d": "p2p.envs.locomotion:Walker2d",
        "ant": "p2p.envs.locomotion:Ant",
        "humanoid": "p2p.envs.locomotion:Humanoid",
        "hopper": "p2p.envs.locomotion:Hopper",
        "halfcheetah": "p2p.envs.locomotion:HalfCheetah",
    },
    "method": {
        "p2pdrl": "p2p.methods.p2pdrl:P2PDRL",
        "ppo": "p2p.methods.ppo:PPO",
        "dppo": "p2p.methods.dppo:DPPO",
        "distral": "p2p.methods.distral:Distral",
        "dnc": "p2p.methods.dnc:DnC",
        "self-kl": "p2p.methods.self_kl:SelfKL",
        "entropy": "p2p.methods.entropy:Entropy",
    },
}
BASES: Mapping[Kind, str] = {"task": "p2p.envs.task:Task", "method": "p2p.methods.base:Method"}
GROUPS: Mapping[Kind, str] = {"task": "p2p.tasks", "method": "p2p.methods"}


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


_stored: set[str] = set()  # names that run folders have, and that nobody has loaded
_added: dict[tuple[Kind, str], tuple[Source, type[Any]]] = {}


def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of p2p's own, then of what was added in this process."""
    return (*BUILT_IN[kind], *(name for k, name in _added if k == kind))


def choose(kind: Kind, name: str) -> str:
    """Return the name in settings of what a user calls `name`; load nothing.

    Raises:
        ValueError: there is none; with the nearest names.
    """
    folded = _fold(kind, name)
    for known in (name, folded):
        if known in names(kind):
            return known
    if ":" in name:
        raise ValueError(f"{kind} {name!r} is not loaded; {_how_to_add(kind, name)}")
    near = nearest(folded, names(kind))
    hint = f"did you mean {near!r}? " if near else ""
    raise ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(sorted(names(kind)))}")


def note_stored(kind: Kind, name: str) -> str:
    """Take note of a name that a run folder has; `find` then says how to load its class."""
    if not is_known(kind, name):
        _stored.add(name)
    return name


def is_known(kind: Kind, name: str) -> bool:
    """Say whether `find` would return a class."""
    return name in names(kind)


def find(kind: Kind, name: str) -> type[Any]:
    """Return the class called `name` in settings.

    Raises:
        BadArtefact: a class of the user's that was not loaded here: a run folder names it.
        UsageError: there is no such name.
    """
    if (kind, name) in _added:
        return _added[kind, name][1]
    if name in BUILT_IN[kind]:
        return _attribute(BUILT_IN[kind][name])
    if ":" in name or name in _stored:
        raise BadArtefact(
            f"{kind} {name!r} is code of its user's, which no run folder has p2p import; "
            f"{_how_to_add(kind, name)}"
        )
    try:
        choose(kind, name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    raise UsageError(f"unknown {kind} {name!r}")


def add(kind: Kind, reference: str | type[Any]) -> str:
    """Load a class that a user names, and return its name in settings.

    Args:
        reference: a reference as above, a name (of p2p's own: loads nothing), or a class.

    Raises:
        UsageError: no such file, module or class; it fails to import; it is no task or method.
    """
    if isinstance(reference, type):
        source, found = _of_class(kind, reference)
        return source.name if source.name in BUILT_IN[kind] else _register(source, found)
    if not isinstance(reference, str):
        raise UsageError(f"{kind}={reference!r} is no name; write a name or path.py:Class")
    if _fold(kind, reference) in BUILT_IN[kind] or (kind, reference) in _added:
        return choose(kind, reference)
    location, colon, cls = reference.rpartition(":")
    if not colon:
        for point in metadata.entry_points(group=GROUPS[kind], name=reference):
            module = _import(kind, reference, point.module)
            return _register(*_of_module(kind, module, point.attr, reference))
        return reference  # settings are judged by `choose`, which names what there is
    if not location or not cls:
        raise UsageError(f"{kind} {reference!r} is no reference; write path.py:Class")
    if location.endswith(".py") or "/" in location:
        return _register(*_of_file(kind, Path(location), cls))
    return _register(*_of_module(kind, _import(kind, reference, location), cls, reference))


def sha256(kind: Kind, name: str) -> str | None:
    """Return the hash of the source of what was added under `name`; None for p2p's own."""
    found = _added.get((kind, name))
    return found[0].sha256 if found else None


def sources() -> list[Source]:
    """Return what was added in this process, to be added in another one."""
    return [source for source, _ in _added.values()]


def add_sources(given: Iterable[Source]) -> None:
    """Add what another process of this run has added.

    Raises:
        UsageError: a file has changed since.
    """
    for source in given:
        if (source.kind, source.name) in _added:
            continue
        if source.location.endswith(".py"):
            found, cls = _of_file(source.kind, Path(source.location), source.cls)
        else:
            module = _import(source.kind, source.name, source.location)
            found, cls = _of_module(source.kind, module, source.cls, source.name)
        if found.sha256 != source.sha256:
            raise UsageError(f"{source.location} has changed while p2p was starting; start again")
        _register(found, cls)


def _register(source: Source, cls: type[Any]) -> str:
    base = _attribute(BASES[source.kind])
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(
            f"{source.name} is no {source.kind}: let the class inherit from p2p.{base.__name__}"
        )
    if source.kind == "method":
        _check_method(source, cls)
    else:
        _check_task(source, cls)
    key = source.kind, source.name
    if key in _added and _added[key][0].sha256 != source.sha256:
        raise UsageError(
            f"there are two {source.kind}s {source.name!r}: {_added[key][0].location} and "
            f"{source.location}; rename one"
        )
    _added.setdefault(key, (source, cls))
    return source.name


def _check_method(source: Source, cls: type[Any]) -> None:
    """Refuse a method that cannot be one, before it leaves a run folder behind."""
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise UsageError(f"{source.name} lacks {', '.join(missing)}; see docs/add-a-method.md")
    taken = _attribute("p2p.core.config:TrainConfig").model_fields.keys()
    clash = sorted(taken & cls.Settings.model_fields.keys())
    if clash:
        raise UsageError(
            f"{source.name} has a setting {clash[0]!r}, which all runs have; call it otherwise"
        )


def _check_task(source: Source, cls: type[Any]) -> None:
    """Refuse a task whose constants are not all there."""
    needed = ("model_file", "frame_skip", "reset_noise", "control_weight")
    missing = [name for name in needed if not hasattr(cls, name)]
    if missing:
        raise UsageError(
            f"{source.name} lacks {', '.join(missing)}; inherit from p2p.task('hopper') or its like"
        )
    if cls.contact_weight and "cfrc_ext" not in cls.reads:
        raise UsageError(f"{source.name} pays for contacts: add 'cfrc_ext' to its reads")


def _of_file(kind: Kind, path: Path, cls: str) -> tuple[Source, type[Any]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {kind} {path}:{cls}: {error.strerror}") from None
    path, digest = path.resolve(), hashlib.sha256(content).hexdigest()
    name = f"p2p_user_{path.stem}_{digest[:12]}"  # apart from modules that Python would find
    module = sys.modules.get(name)
    if module is None:
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(path)
        try:  # the very bytes that were hashed: Python's own loader might take a stale .pyc
            exec(compile(content, str(path), "exec"), vars(module))
        except BaseException as error:
            del sys.modules[name]
            raise _import_failed(kind, str(path), error) from error
    source = Source(kind, f"{path.name}:{cls}", str(path), cls, digest)
    return source, _class_of(module, source)


def _of_module(kind: Kind, module: ModuleType, cls: str, name: str) -> tuple[Source, type[Any]]:
    file = getattr(module, "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    source = Source(kind, name, module.__name__, cls, digest)
    return source, _class_of(module, source)


def _of_class(kind: Kind, cls: type[Any]) -> tuple[Source, type[Any]]:
    """Return a class that the library's user has passed, by where other processes find it."""
    for (known, _), (source, added) in _added.items():
        if known == kind and added is cls:
            return source, cls
    for name, reference in BUILT_IN[kind].items():
        if reference == f"{cls.__module__}:{cls.__name__}":
            return Source(kind, name, "", "", ""), cls
    module = sys.modules[cls.__module__]
    file = inspect.getsourcefile(cls) if hasattr(module, "__file__") else None
    if file is None or "." in cls.__qualname__:
        raise UsageError(
            f"{cls.__qualname__} cannot be found by other processes; define it at the top of a file"
        )
    if cls.__module__ == "__main__" or util.find_spec(cls.__module__) is None:
        return _of_file(kind, Path(file), cls.__name__)
    return _of_module(kind, module, cls.__name__, f"{cls.__module__}:{cls.__name__}")


def _class_of(module: ModuleType, source: Source) -> type[Any]:
    found = getattr(module, source.cls, None)
    if found is None:
        classes = [n for n, v in vars(module).items() if isinstance(v, type)]
        near = nearest(source.cls, classes)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"{source.location} has no class {source.cls!r}{hint}")
    cls: type[Any] = found
    return cls


def _import(kind: Kind, reference: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except BaseException as error:
        raise _import_failed(kind, reference, error) from error


def _import_failed(kind: Kind, what: str, error: BaseException) -> BaseException:
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


def _attribute(reference: str) -> type[Any]:
    module, _, name = reference.partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found


def _fold(kind: Kind, name: str) -> str:
    """Fold the spellings of a name of p2p's own: `HalfCheetah-v5`, `half_cheetah`, `Self_KL`."""
    low = name.lower()
    if kind == "method":
        return low.replace("_", "-")
    low = low.removeprefix("p2p/")
    head, dash, version = low.rpartition("-v")
    low = head if dash and version.isdecimal() else low
    return "".join(c for c in low if c not in " _-\t")


def _how_to_add(kind: Kind, name: str) -> str:
    """Say how a class of the user's is loaded."""
    if ".py:" in name:
        return f"name the same file: --{kind} PATH/{name}"
    return f"name it: --{kind} {name}"
