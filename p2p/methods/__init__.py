"""The methods: what each peer shows the others, and what that adds to its loss.

A method is a small strategy object; the training loop (`p2p.algorithm`) is the same for all.
`p2p.core.registry` finds one by its name; docs/add-a-method.md adds one from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p.core import registry
from p2p.methods.base import Method

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig
    from p2p.engine import Engine
    from p2p.exchange.base import Exchange

__all__ = ["Method", "build_method", "find_method"]


def find_method(name: str) -> type[Method]:
    """Return the class of a method by its name in settings.

    Raises:
        UsageError: there is none.
        BadArtefact: it is code of a user's that was not named in this process.
    """
    found: type[Method] = registry.find("method", name)
    return found


def build_method(config: TrainConfig, engine: Engine, exchange: Exchange) -> Method:
    """Return the strategy that `config.method` names."""
    return find_method(config.method)(config, engine, exchange)
