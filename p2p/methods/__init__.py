"""The methods: what each peer shows the others, and what that adds to its loss.

A method is a small strategy object; the training loop (`p2p.algorithm`) is the same for all.
Adding one is a file with a subclass of `Method`, and a row in `METHOD_CLASSES`, in
`p2p.core.method_facts.METHODS` and in `p2p.core.looks.METHODS`.
"""

from __future__ import annotations

from p2p.core.config import TrainConfig
from p2p.engine import Engine
from p2p.exchange.shared_memory import Exchange
from p2p.methods.base import Method
from p2p.methods.distral import Distral
from p2p.methods.dnc import DnC
from p2p.methods.dppo import DPPO
from p2p.methods.entropy import Entropy
from p2p.methods.p2pdrl import P2PDRL
from p2p.methods.ppo import PPO
from p2p.methods.self_kl import SelfKL

__all__ = ["METHOD_CLASSES", "Method", "build_method"]

METHOD_CLASSES: dict[str, type[Method]] = {
    "p2pdrl": P2PDRL,
    "ppo": PPO,
    "dppo": DPPO,
    "distral": Distral,
    "dnc": DnC,
    "self-kl": SelfKL,
    "entropy": Entropy,
}


def build_method(config: TrainConfig, engine: Engine, exchange: Exchange) -> Method:
    """Return the strategy that `config.method` names."""
    return METHOD_CLASSES[config.method](config, engine, exchange)
