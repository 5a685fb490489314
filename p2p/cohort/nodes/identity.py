"""What nodes must have in common before they train together: settings and versions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from p2p.core.config import TrainConfig
from p2p.core.errors import UsageError
from p2p.exchange.place import Place
from p2p.runs.versions import PACKAGES, collect_versions

Identity = dict[str, Any]  # JSON

OF_NODE_0 = ("init_from", "track")  # it reads the policy and starts the trackers


def identity_of(place: Place, config: TrainConfig | None) -> Identity:
    """Return what a node tells the others of itself.

    Args:
        config: None: it takes over node 0's (`--resume`).
    """
    settings = None
    if config is not None:
        settings = {k: v for k, v in config.settings.items() if k not in OF_NODE_0}
        settings["source_sha256"] = sorted(config.source_sha256.values())
    versions = collect_versions()
    return {
        "host": place.host,
        "pid": os.getpid(),
        "nodes": place.num_nodes,
        "peer_timeout": None if config is None else config.peer_timeout,
        "settings": settings,
        "versions": {name: versions.get(name) for name in ("python", *PACKAGES)},
        "cpu": versions["cpu"],
    }


def name_of(node: int, identity: Identity) -> str:
    """Return what messages call a node."""
    return f"node {node} ({identity['host']})"


def check_equal(nodes: Sequence[Identity]) -> None:
    """Compare all nodes with node 0; every node comes to the same conclusion.

    Raises:
        UsageError: one differs; the message names it, and what differs.
    """
    first = nodes[0]
    for node, other in enumerate(nodes[1:], 1):
        differing = {"WORLD_SIZE": (first["nodes"], other["nodes"])}
        differing |= _pairs(first["versions"], other["versions"])
        if first["settings"] is not None and other["settings"] is not None:
            differing |= _pairs(first["settings"], other["settings"])
        found = [f"{name} {b!r}, not {a!r}" for name, (a, b) in differing.items() if a != b]
        if found:
            raise UsageError(
                f"{name_of(node, other)} has {'; '.join(found)} as {name_of(0, first)}; start all "
                "nodes with the same command and versions"
            )


def notes_on_processors(nodes: Sequence[Identity]) -> list[str]:
    """Return a note if processors differ: they may round differently."""
    found = list(dict.fromkeys(node["cpu"] for node in nodes))
    if len(found) < 2:
        return []
    return [
        f"the nodes' processors differ ({', '.join(found)}): should they round differently, the "
        "run stops and says so"
    ]


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one.get(name), other.get(name)) for name in {**one, **other}}
