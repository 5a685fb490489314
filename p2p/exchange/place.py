"""This machine's place among those that a launcher has started p2p on.

A launcher says so in environment variables, as torch.distributed's `env://` reads them:
MASTER_ADDR and MASTER_PORT of node 0, RANK and WORLD_SIZE. torchrun, Kubeflow and SkyPilot set
them; in a batch script of Slurm's they are four lines (docs/nodes.md). One p2p runs on each node
and starts its own peers.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from p2p.core.errors import UsageError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Which node this is, of how many, and where node 0 is.

    Attributes:
        node: 0 leads: it writes the run folder.
        address: of node 0, numeric; `port` is that of its store.
        own: this node's address in the network of node 0: all that p2p listens on.
        interface: listened on instead, if GLOO_SOCKET_IFNAME names it.
        agent_has_store: whether torchrun's agent on node 0 holds the store already.
        attempt: of a launcher that starts all nodes again; what an earlier one left is not read.
        host: this machine's name.
    """

    node: int
    num_nodes: int
    address: str
    port: int
    own: str
    interface: str = ""
    agent_has_store: bool = False
    attempt: str = "0"
    host: str = ""

    def spans(self, num_peers: int) -> list[range]:
        """Return the ranks on each node: contiguous, the first nodes with one more.

        Raises:
            UsageError: there are fewer peers than nodes.
        """
        if num_peers < self.num_nodes:
            raise UsageError(
                f"{num_peers} peers cannot be shared out over {self.num_nodes} nodes; "
                f"use --peers {self.num_nodes} or more"
            )
        size, more = divmod(num_peers, self.num_nodes)
        ends = [node * size + min(node, more) for node in range(self.num_nodes + 1)]
        return [range(*pair) for pair in pairwise(ends)]


def find_place(environ: Mapping[str, str] = os.environ) -> Place | None:
    """Return this node's place; None if no launcher has set the variables.

    Raises:
        UsageError: they contradict one another, or name no address of one interface.
    """
    if "RANK" not in environ or "WORLD_SIZE" not in environ:
        return None
    missing = [name for name in VARIABLES if not environ.get(name)]
    if missing:
        raise UsageError(f"RANK and WORLD_SIZE are set, but not {', '.join(missing)}")
    per_node = _number(environ, "LOCAL_WORLD_SIZE", 1)
    if per_node != 1:
        raise UsageError(
            f"LOCAL_WORLD_SIZE={per_node}, but one p2p a node starts that node's peers itself: "
            "use torchrun --nproc-per-node 1 (or one task a node), and --peers for their number"
        )
    node, num_nodes = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    if not 0 <= node < num_nodes:
        raise UsageError(f"RANK={node} is none of 0..{num_nodes - 1} (WORLD_SIZE={num_nodes})")
    port = _number(environ, "MASTER_PORT")
    if num_nodes == 1:  # nobody to connect with
        return Place(0, 1, environ["MASTER_ADDR"], port, environ["MASTER_ADDR"])
    address = _resolved(environ["MASTER_ADDR"], port, leads=node == 0)
    return Place(
        node,
        num_nodes,
        address,
        port,
        own=address if node == 0 else _address_towards(address, port),
        interface=environ.get("GLOO_SOCKET_IFNAME", ""),
        agent_has_store=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
        host=socket.gethostname(),
    )


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environ.get(name, default)
    try:
        return int(str(value))
    except ValueError:
        raise UsageError(f"{name}={value!r} is no whole number") from None


def _resolved(name: str, port: int, *, leads: bool) -> str:
    """Return the numeric address of MASTER_ADDR.

    Args:
        leads: this is node 0, which has to listen there.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"MASTER_ADDR={name} cannot be resolved ({error})") from None
    address = str(sorted(found, key=lambda one: one[0] != socket.AF_INET)[0][4][0])
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        raise UsageError(
            f"MASTER_ADDR={name} means all interfaces; name one address of node 0, in a network "
            "that only machines of yours reach"
        )
    if leads and parsed.is_loopback and name != "localhost" and name != address:
        raise UsageError(
            f"MASTER_ADDR={name} is {address} on this machine, which no other one reaches; "
            "give its address in the network"
        )
    return address


def _address_towards(address: str, port: int) -> str:
    """Return the address that this machine has in the network of `address`; sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, port))
        except OSError as error:
            raise UsageError(f"MASTER_ADDR={address} cannot be reached ({error})") from None
        return str(probe.getsockname()[0])
