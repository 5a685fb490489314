"""How the parents of all nodes find one another: through torch's store at node 0.

The store holds JSON that p2p writes and addresses that gloo writes; nothing in it is unpickled.
p2p's own listens on MASTER_ADDR alone. (torchrun's agent, where there is one, has a store already,
which listens on all addresses: docs/nodes.md.)
"""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Callable
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from p2p.cohort.nodes.identity import Identity
from p2p.core.errors import PeerLost, UsageError
from p2p.exchange.nodes import connect
from p2p.exchange.place import Place

POLL = 0.05  # s
MEETING = 300.0  # s for all nodes to come
BACKLOG = 1024  # connections
FAREWELL = 5.0  # s, for others to read why nodes do not fit


def open_store(place: Place, timeout: float = MEETING) -> Store:
    """Return the store: its server on node 0, a client elsewhere.

    Raises:
        UsageError: node 0 cannot listen at MASTER_ADDR and MASTER_PORT.
        PeerLost: node 0 does not answer.
    """
    if place.node > 0 or place.agent_has_store:
        _await_port(place, timeout)
        return connect(place, timeout)
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((place.address, place.port))
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        where = f"MASTER_ADDR={place.address}, MASTER_PORT={place.port}"
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"{where}: not an address of this machine, which is node 0 (RANK=0)"
            ) from None
        raise UsageError(f"node 0 cannot listen at {where} ({error.strerror})") from None
    return TCPStore(
        place.address, place.port, is_master=True, wait_for_workers=False,
        timeout=timedelta(seconds=timeout), master_listen_fd=server.detach(),
    )  # fmt: skip


def _await_port(place: Place, timeout: float) -> None:
    """Wait until node 0 listens; a signal can end this, as torch's own waiting it cannot."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((place.address, place.port), timeout=1.0).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise PeerLost(
                    f"node 0 does not answer at {place.address}:{place.port} ({error}; waited "
                    f"{timeout:g} s)"
                ) from None
            time.sleep(POLL)
        else:
            return


def introduce(
    store: Store,
    place: Place,
    own: Identity,
    check: Callable[[list[Identity]], None],
    timeout: float = MEETING,
) -> list[Identity]:
    """Tell the others who this is, and return who all are, by node.

    Args:
        check: compares them; what it raises is raised here, once the others could read it, too.

    Raises:
        UsageError: another p2p has this RANK.
        PeerLost: some never came.
    """
    store = PrefixStore(f"p2p/{place.attempt}", store)
    if store.add(f"taken/{place.node}", 1) > 1:
        raise UsageError(f"another p2p has RANK={place.node}; each node has its own")
    store.set(f"node/{place.node}", json.dumps(own))
    nodes = range(place.num_nodes)
    missing = _await(store, [f"node/{node}" for node in nodes], timeout)
    if missing:
        names = ", ".join(key.partition("/")[2] for key in missing)
        raise PeerLost(f"waited {timeout:g} s for nodes {names} of {place.num_nodes} (RANK)")
    found = [json.loads(store.get(f"node/{node}")) for node in nodes]
    store.set(f"read/{place.node}", "")
    try:
        check(found)
    except UsageError:
        if place.node == 0:
            _await(store, [f"read/{node}" for node in nodes], FAREWELL)
        raise
    return found


def _await(store: Store, keys: list[str], timeout: float) -> list[str]:
    """Wait until the store has all keys; return those that are still missing after `timeout` s."""
    deadline = time.monotonic() + timeout
    while missing := [key for key in keys if not store.check([key])]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL)
    return missing
