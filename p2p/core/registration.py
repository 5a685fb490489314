"""Registers the tasks with Gymnasium, without importing Gymnasium or a task.

`import p2p` registers them, as Gymnasium's users expect. Importing Gymnasium takes as long as
`p2p --help` may take in all, so if it is not imported yet, registration waits until it is.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in p2p/__init__.py

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    IDS: dict[str, str]  # Gymnasium's own names and versions, by task


def __getattr__(name: str) -> dict[str, str]:
    """Make `IDS` when it is asked for: the registry takes longer to import than all the rest."""
    if name != "IDS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _ids()


def _ids() -> dict[str, str]:
    from p2p.core.registry import BUILT_IN

    return {f"p2p/{cls.rpartition(':')[2]}-v5": task for task, cls in BUILT_IN["task"].items()}


def register_envs() -> None:
    """Register all tasks: `gymnasium.make("p2p/Hopper-v5", eps=0.2)`. May be called twice."""
    import gymnasium

    from p2p.core.returns import MAX_EPISODE_STEPS

    for env_id, task in _ids().items():
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="p2p.envs.gym:RandomisedEnv",
                max_episode_steps=MAX_EPISODE_STEPS,
                kwargs={"task": task},
            )


def register_with_gymnasium() -> None:
    """Register the tasks now if Gymnasium is imported, else as soon as it is."""
    if "gymnasium" in sys.modules:
        register_envs()
    else:
        sys.meta_path.insert(0, _OnImport())


class _OnImport:
    """An import hook that registers the tasks after Gymnasium has been imported.

    It stays until then, since `importlib.util.find_spec` asks for a spec and imports nothing.
    """

    def __init__(self) -> None:
        self._searching = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "gymnasium" or self._searching:
            return None
        import importlib.util

        self._searching = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)
            register_envs()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
