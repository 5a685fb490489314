"""The ids under which Gymnasium knows the tasks; importing this loads neither.

`import p2p` registers them, as Gymnasium's users expect. But Gymnasium takes as long to
import as `p2p --help` may take in all, so if it is not there yet, they wait for it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from p2p.core.returns import MAX_EPISODE_STEPS

IDS = {  # Gymnasium's own names and versions
    "p2p/Hopper-v5": "hopper",
    "p2p/Walker2d-v5": "walker2d",
    "p2p/HalfCheetah-v5": "halfcheetah",
    "p2p/Ant-v5": "ant",
    "p2p/Humanoid-v5": "humanoid",
}


def register_envs() -> None:
    """Make `gymnasium.make("p2p/Hopper-v5", eps=0.2)` work; a second call does nothing."""
    import gymnasium

    for env_id, task in IDS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="p2p.envs.gym:RandomisedEnv",
                max_episode_steps=MAX_EPISODE_STEPS,
                kwargs={"task": task},
            )


def register_with_gymnasium() -> None:
    """Register the ids now if Gymnasium is imported, else as soon as it is."""
    if "gymnasium" in sys.modules:
        register_envs()
    else:
        sys.meta_path.insert(0, _OnImport())


class _OnImport:
    """Finds Gymnasium where it would be found anyway, and has it followed by the ids.

    It stays until Gymnasium is imported: who only asks where it lies throws the spec away.
    """

    def __init__(self) -> None:
        self._asking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "gymnasium" or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)
            register_envs()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
