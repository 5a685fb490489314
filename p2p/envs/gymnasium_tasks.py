"""Gymnasium's envs as tasks: which ids there are, and what is wrong with one.

Gymnasium is imported when an id is looked up, which a run of p2p's own tasks never does.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import re
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from p2p.core import env_names, loading, registry
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.names import did_you_mean
from p2p.core.registry import Source
from p2p.core.returns import MAX_EPISODE_STEPS
from p2p.envs.task import Task

if TYPE_CHECKING:
    import gymnasium

OWN = "gymnasium.envs.mujoco."  # entry points that a run folder may name
LOCATION = "gymnasium:"  # of a source: an id of Gymnasium's registry
NO_METHOD = "it is stepped by its own code"


class GymTask(Task):
    """An id of Gymnasium's registry with arguments; its env steps itself (`GymEnvs`).

    Attributes:
        name: in settings, with the arguments.
        env_id: in the registry.
        kwargs: for `gymnasium.make`.
        saves_state: whether a checkpoint can hold running episodes.
    """

    name: ClassVar[str]
    env_id: ClassVar[str]
    kwargs: ClassVar[Mapping[str, Any]]
    saves_state: ClassVar[bool] = False
    stepped_by: ClassVar[str] = "Gymnasium's own code"

    @classmethod
    def make(cls) -> gymnasium.Env[Any, Any]:
        """Return a new env, without wrappers that only check or count steps.

        Raises:
            UsageError: it cannot be made, or p2p cannot train in it.
        """
        import gymnasium

        spec = copy.deepcopy(gymnasium.registry[cls.env_id])
        spec.order_enforce, spec.disable_env_checker = False, True
        try:
            with warnings.catch_warnings():  # newer versions, deprecated attributes of models
                warnings.simplefilter("ignore")
                env = gymnasium.make(spec, max_episode_steps=-1, **cls.kwargs)
        except Exception as error:
            raise UsageError(f"task {cls.name!r}: {_reason(spec, error)}") from error
        if problem := _problem(env):
            raise UsageError(f"task {cls.name!r}: {problem}")
        return env

    @classmethod
    def problem(cls) -> str:
        """Return why p2p cannot train in the env, or nothing; makes one, once."""
        return _tried(cls.name)

    @classmethod
    def ends_early(cls) -> bool:
        """Whether an episode can terminate: nobody knows, so yes."""
        return True

    @classmethod
    def computed_anew(cls) -> list[str]:
        """Return nothing: no compiled code is thought to know the env."""
        return []

    @classmethod
    def model_path(cls) -> Path:
        """Raise UsageError: only Gymnasium's code knows."""
        raise UsageError(f"task {cls.name!r} has no model file of its own: {NO_METHOD}")


def name_of(task: type[Any]) -> str | type[Any]:
    """Return the name of a task of Gymnasium's; another class as it is."""
    return task.name if issubclass(task, GymTask) else task


def find(name: str) -> type[GymTask] | None:
    """Return the task of an id; None if there is no such id.

    Raises:
        BadArtefact: the id is of code that was not named in this process.
    """
    try:
        base, _ = env_names.split(name)
    except ValueError:
        return None
    if registry.is_added("task", base):
        return _task(name) if _is_id(base) else None
    if ":" in base or not _is_id(base):
        return None
    if not _is_own(base):
        raise BadArtefact(
            f"task {name!r} is code of another package, which no run folder has p2p run; name it: "
            f"--task {base}"
        )
    return _task(name)


def is_known(name: str) -> bool:
    """Say whether `find` would return a task."""
    try:
        return find(name) is not None
    except BadArtefact:
        return False


def choose(name: str) -> str | None:
    """Return the name in settings of what a user calls `name`; None if it is no id.

    Raises:
        ValueError: p2p cannot train in the env.
    """
    base, kwargs = env_names.split(name)
    own = registry.BUILT_IN["task"].get(registry.folded("task", base))
    if kwargs and own and not _is_id(base):  # `ant` with arguments is Gymnasium's
        base = own.rpartition(":")[2] + "-v5"
    if kwargs and ":" in base and not env_names.is_module_id(base):
        raise ValueError(f"task {base!r} is no env of Gymnasium's, so it takes no arguments")
    if not _is_id(base):
        return None
    chosen = env_names.with_kwargs(base, kwargs)
    if not is_known(chosen):
        if ":" in base or _is_gone(base):
            return None
        raise ValueError(
            f"task {name!r} is code of another package; name it: --task {base}, or in Python "
            f"p2p.register('task', {base!r})"
        )
    if problem := _task(chosen).problem():
        raise ValueError(problem)
    return chosen


def nearby() -> dict[str, str]:
    """Return Gymnasium's MuJoCo ids, the newest of each, by their folded names."""
    import gymnasium

    found: dict[str, tuple[int, str]] = {}
    for env_id, spec in gymnasium.registry.items():
        if _is_own(env_id):
            folded = registry.folded("task", registry.unversioned(env_id))
            found[folded] = max(found.get(folded, (0, "")), (spec.version or 0, env_id))
    return {folded: env_id for folded, (_, env_id) in found.items()}


def load(reference: str) -> tuple[Source, type[GymTask]] | None:
    """Return the task of an id that the user names, with its source; None if it is no id.

    Raises:
        UsageError: the module cannot be imported, or registers no such id.
    """
    import gymnasium

    base = env_names.base_of(reference)
    module, colon, env_id = base.partition(":")
    if colon and not env_names.is_module_id(base):
        return None
    if colon:
        loading.import_module_of("task", base, module)
        if env_id not in gymnasium.registry:
            ids = [i for i in gymnasium.registry if not _is_own(i)]
            raise UsageError(
                f"module {module} registers no env {env_id!r}{did_you_mean(env_id, ids)}"
            )
    elif not _is_id(base) or _is_own(base) or _is_gone(base):
        return None
    spec = gymnasium.registry[_id_of(base)]
    try:
        given = base if colon else spec.to_json()
    except (TypeError, ValueError):
        raise UsageError(
            f"task {base!r} cannot be found by other processes; register it in a module, with "
            "entry_point='module:Class', and name it module:Id"
        ) from None
    source = Source("task", base, LOCATION + (module if colon else ""), given, _sha256(spec))
    return source, _task(base)


def load_source(source: Source) -> tuple[Source, type[GymTask]]:
    """Return what another process of this run has loaded.

    Raises:
        UsageError: it cannot be loaded here.
    """
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    if source.name not in gymnasium.registry and source.cls.startswith("{"):
        spec = EnvSpec.from_json(source.cls)
        gymnasium.registry[spec.id] = spec
    found = load(source.name)
    if found is None:
        raise UsageError(f"task {source.name!r} is no env of Gymnasium's in another process")
    return found


def _id_of(base: str) -> str:
    return base.partition(":")[2] if env_names.is_module_id(base) else base


def _is_id(base: str) -> bool:
    import gymnasium

    return _id_of(base) in gymnasium.registry


def _is_own(env_id: str) -> bool:
    """Say whether an id is of Gymnasium's own MuJoCo envs, whose code takes no code."""
    import gymnasium

    entry = gymnasium.registry[env_id].entry_point
    return isinstance(entry, str) and entry.startswith(OWN)


def _is_gone(env_id: str) -> bool:
    """Say whether Gymnasium keeps the id only to say that it is no more."""
    import gymnasium

    return getattr(gymnasium.registry[env_id].entry_point, "__module__", "").startswith("gymnasium")


def _sha256(spec: Any) -> str:
    """Return the hash of the file that defines the env, hex; empty if there is none."""
    entry = spec.entry_point
    try:
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = getattr(import_module(module), attribute)
        return hashlib.sha256(Path(inspect.getfile(entry)).read_bytes()).hexdigest()
    except (ImportError, AttributeError, TypeError, OSError):
        return ""


@cache
def _task(name: str) -> type[GymTask]:
    """Return the class of a name; its id is registered."""
    import gymnasium

    base, kwargs = env_names.split(name)
    spec = gymnasium.registry[_id_of(base)]
    limit = kwargs.pop("max_episode_steps", spec.max_episode_steps or MAX_EPISODE_STEPS)
    attributes = {
        "__module__": __name__, "name": name, "env_id": spec.id,
        "kwargs": MappingProxyType(kwargs), "label": env_names.label(name),
        "max_episode_steps": limit,
    }  # fmt: skip
    return type(spec.name or "Env", (GymTask,), attributes)


@cache
def _tried(name: str) -> str:
    task = _task(name)
    if "render_mode" in task.kwargs:
        return f"task {task.name!r}: training shows no pictures; leave render_mode out"
    if type(task.max_episode_steps) is not int or task.max_episode_steps < 1:
        return f"task {task.name!r}: max_episode_steps must be a whole number, at least 1"
    try:
        task.make().close()
    except UsageError as error:
        return str(error)
    return ""


def _reason(spec: Any, error: Exception) -> str:
    """Return in one line why an env cannot be made."""
    text = " ".join(str(error).split())
    text = re.sub(r" was raised from the environment creator for .*", "", text)
    if unknown := re.search(r"unexpected keyword argument '(\w+)'", text):
        module, _, attribute = str(spec.entry_point).partition(":")
        try:
            known = list(inspect.signature(getattr(import_module(module), attribute)).parameters)
        except (ImportError, AttributeError, TypeError, ValueError):
            known = []
        return f"the env has no argument {unknown[1]!r}{did_you_mean(unknown[1], known)}"
    return f"it cannot be made: {type(error).__name__}: {text}"


def _problem(env: gymnasium.Env[Any, Any]) -> str:
    """Return why p2p cannot train in an env, and what to do, or nothing."""
    import mujoco
    from gymnasium.spaces import Box

    core, seen, acts = env.unwrapped, env.observation_space, env.action_space
    model, data = getattr(core, "model", None), getattr(core, "data", None)
    if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData):
        return (
            "it has no MuJoCo model (env.unwrapped.model and .data), and it is the model that "
            "domains change; choose an env of MuJoCo's"
        )
    if not isinstance(seen, Box):
        return (
            f"its observation is a {type(seen).__name__}, and p2p takes a flat Box; register it "
            "with gymnasium.wrappers.FlattenObservation"
        )
    if len(seen.shape) != 1 or not np.issubdtype(seen.dtype, np.floating):
        return (
            f"its observation is {seen.dtype} of shape {list(seen.shape)}, and p2p takes "
            "floating-point numbers in one row; register it with a wrapper that flattens them"
        )
    if (
        not isinstance(acts, Box)
        or len(acts.shape) != 1
        or not np.issubdtype(acts.dtype, np.floating)
    ):
        return (
            f"its action is a {type(acts).__name__}, and p2p takes a flat Box of floating-point "
            "numbers; choose an env of continuous actions"
        )
    finite = np.isfinite(acts.low) & np.isfinite(acts.high)
    wrong = np.flatnonzero(~(finite & (acts.low < acts.high)))
    if wrong.size:
        n = int(wrong[0])
        return (
            f"action {n} lies in [{acts.low[n]:g}, {acts.high[n]:g}]: give the env's action_space "
            "finite bounds, or its actuator a ctrlrange"
        )
    return "" if model.nu else "its model has no actuator, so there is nothing to act by"
