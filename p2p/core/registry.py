"""Tasks, methods and terms by name: p2p's own, those of packages, and those of users' files.

What there is to know of a task or method (defaults, limits, label, colour) is in its class, so
that this is the only table of them. A class that is not p2p's own has a *reference*:

    ./slow_hopper.py:SlowHopper        a class in a file
    my_package.tasks:SlowHopper        a class in a module that Python can import
    slow-hopper                        a name that an installed package registers as an entry
                                       point in the group `p2p.tasks` or `p2p.methods`

Tasks are also the ids of Gymnasium's registry (`p2p.envs.gymnasium_tasks`), with arguments: its own
`Pusher-v5`, `Ant-v5?frame_skip=10`, and `my_package:MyEnv-v0` of a module that registers them.

A term of the catalogue of domains (`p2p.envs.terms`) is no class but a function that `p2p.term`
has decorated; else all this holds for it too.

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
from typing import Any

from p2p.core import env_names
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.loading import Kind as Kind
from p2p.core.loading import Source as Source
from p2p.core.loading import folded as folded
from p2p.core.loading import how_to_add, import_failed, import_module_of, options
from p2p.core.loading import unversioned as unversioned
from p2p.core.names import nearest

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
    "term": {},  # p2p's own are in p2p.envs.terms
}
BASES: Mapping[Kind, str] = {
    "task": "p2p.envs.task:Task",
    "method": "p2p.methods.base:Method",
    "term": "p2p.envs.terms.term:Term",
}
GROUPS: Mapping[Kind, str] = {"task": "p2p.tasks", "method": "p2p.methods", "term": "p2p.terms"}


_stored: set[str] = set()  # names that run folders have, and that nobody has loaded
_added: dict[tuple[Kind, str], tuple[Source, Any]] = {}


def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of p2p's own, then of what was added in this process."""
    return (*BUILT_IN[kind], *(name for k, name in _added if k == kind))


def choose(kind: Kind, name: str) -> str:
    """Return the name in settings of what a user calls `name`; load nothing.

    Raises:
        ValueError: there is none; with the nearest names.
    """
    short = folded(kind, name)
    own = {known: known for known in names(kind)}
    for known in (name, short):
        if known in own and not _is_gymnasiums(kind, known):
            return known
    if kind == "task" and (found := _gymnasium().choose(name)):
        return str(found)
    if ":" in env_names.base_of(name):
        raise ValueError(f"{kind} {name!r} is not loaded; {how_to_add(kind, name)}")
    others, more = (
        (_gymnasium().nearby(), ", and Gymnasium's ids such as Pusher-v5")
        if kind == "task"
        else ({}, "")
    )
    near = nearest(folded(kind, unversioned(name)), {**others, **own})
    hint = f"did you mean {({**others, **own})[near]!r}? " if near else ""
    known = f"known: {', '.join(sorted(own))}{more}"
    raise ValueError(f"unknown {kind} {name!r}; {hint}{known}")


def note_stored(kind: Kind, name: str) -> str:
    """Take note of a name that a run folder has; `find` then says how to load its class."""
    if not is_known(kind, name):
        _stored.add(name)
    return name


def is_known(kind: Kind, name: str) -> bool:
    """Say whether `find` would return a class."""
    return name in names(kind) or (kind == "task" and bool(_gymnasium().is_known(name)))


def _is_gymnasiums(kind: Kind, name: str) -> bool:
    return (kind, name) in _added and _added[kind, name][0].location.startswith("gymnasium:")


def is_added(kind: Kind, name: str) -> bool:
    """Say whether it was added in this process."""
    return (kind, name) in _added


def find(kind: Kind, name: str) -> Any:
    """Return the class called `name` in settings.

    Raises:
        BadArtefact: a class of the user's that was not loaded here: a run folder names it.
        UsageError: there is no such name.
    """
    if (kind, name) in _added:
        return _added[kind, name][1]
    if name in BUILT_IN[kind]:
        return resolve(BUILT_IN[kind][name])
    if kind == "task" and (task := _gymnasium().find(name)) is not None:
        return task
    if ":" in env_names.base_of(name) or name in _stored:
        raise BadArtefact(
            f"{kind} {name!r} is code of its user's, which no run folder has p2p import; "
            f"{how_to_add(kind, name)}"
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
    if isinstance(reference, type) and kind == "task":
        reference = _gymnasium().name_of(reference)
    if isinstance(reference, type):
        source, found = _of_class(kind, reference)
        return source.name if source.name in BUILT_IN[kind] else _register(source, found)
    if not isinstance(reference, str):
        raise UsageError(f"{kind}={reference!r} is no name; write a name or path.py:Class")
    if folded(kind, reference) in BUILT_IN[kind] or (kind, reference) in _added:
        return choose(kind, reference)
    location, colon, cls = reference.rpartition(":")
    if env_names.is_module_id(reference) and kind == "task":
        return _add_id(reference)
    if not colon or "?" in reference:
        for point in metadata.entry_points(group=GROUPS[kind], name=reference):
            module = import_module_of(kind, reference, point.module)
            return _register(*_of_module(kind, module, point.attr, reference))
        return _add_id(reference) if kind == "task" else reference
    if not location or not cls:
        raise UsageError(f"{kind} {reference!r} is no reference; write path.py:Class")
    if location.endswith(".py") or "/" in location:
        return _register(*_of_file(kind, Path(location), cls))
    return _register(*_of_module(kind, import_module_of(kind, reference, location), cls, reference))


def _add_id(reference: str) -> str:
    """Load an id of Gymnasium's, if it is one: settings are judged by `choose`."""
    if (found := _gymnasium().load(reference)) is not None:
        _added.setdefault(("task", found[0].name), found)
    return reference


def sha256(kind: Kind, name: str) -> str | None:
    """Return the hash of the source of what was added under `name`; None for p2p's own.

    For a task with arguments, also of the files that these name.
    """
    base = env_names.base_of(name) if kind == "task" else name
    found = _added.get((kind, base))
    source = found[0].sha256 if found else None
    return env_names.digest(name, source) if base != name else source


def sources() -> list[Source]:
    """Return what was added in this process, to be added in another one."""
    return [source for source, _ in _added.values()]


def loading_options(task: str = "", method: str = "") -> str:
    """Return the options that load what was added in this process; see `loading.options`."""
    return options(sources(), {"task": env_names.base_of(task), "method": method})


def add_sources(given: Iterable[Source]) -> None:
    """Add what another process of this run has added.

    Raises:
        UsageError: a file has changed since.
    """
    for source in given:
        if (source.kind, source.name) in _added:
            continue
        if source.location.startswith("gymnasium:"):
            found, cls = _gymnasium().load_source(source)
        elif source.location.endswith(".py"):
            found, cls = _of_file(source.kind, Path(source.location), source.cls)
        else:
            module = import_module_of(source.kind, source.name, source.location)
            found, cls = _of_module(source.kind, module, source.cls, source.name)
        if found.sha256 != source.sha256:
            raise UsageError(f"{source.location} has changed while p2p was starting; start again")
        if source.location.startswith("gymnasium:"):
            _added[found.kind, found.name] = found, cls
        else:
            _register(found, cls)


def _register(source: Source, cls: type[Any]) -> str:
    base = resolve(BASES[source.kind])
    if source.kind == "term":
        if not isinstance(cls, base):
            raise UsageError(f"{source.name} is no term: decorate the function with p2p.term(...)")
    elif not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(
            f"{source.name} is no {source.kind}: let the class inherit from p2p.{base.__name__}"
        )
    if source.kind == "method":
        _check_method(source, cls)
    elif source.kind == "task":
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
    taken = resolve("p2p.core.config:TrainConfig").model_fields.keys()
    clash = sorted(taken & cls.Settings.model_fields.keys())
    if clash:
        raise UsageError(
            f"{source.name} has a setting {clash[0]!r}, which all runs have; call it otherwise"
        )


def _check_task(source: Source, cls: type[Any]) -> None:
    """Refuse a task that cannot be one, before it leaves a run folder behind."""
    if problem := cls.problem():
        raise UsageError(f"task {source.name}: {problem}")


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
            raise import_failed(kind, str(path), error) from error
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
        base = type if source.kind != "term" else resolve(BASES["term"])
        classes = [n for n, v in vars(module).items() if isinstance(v, base)]
        near = nearest(source.cls, classes)
        hint = f"; did you mean {near!r}?" if near else ""
        what = "term" if source.kind == "term" else "class"
        raise UsageError(f"{source.location} has no {what} {source.cls!r}{hint}")
    cls: type[Any] = found
    return cls


def _gymnasium() -> Any:
    return import_module("p2p.envs.gymnasium_tasks")


def resolve(reference: str) -> Any:
    """Return what `module:name` names; so the core reaches what lies above it, by name alone."""
    module, _, name = reference.partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found
