"""A wire between two network namespaces, for `benchmarks/nodes.py`: needs root, `ip` and `tc`.

    python benchmarks/wire.py 10gbit    # or 1gbit: a pair of veth, held to the rate
    python benchmarks/wire.py 10ms      # or 1ms: each way takes so long
    python benchmarks/wire.py down

The nodes are `ip netns exec wire-a` with 10.88.0.1 and `wire-b` with 10.88.0.2. Distance is made by
a process that holds each packet back, for kernels without netem. It ends with the namespaces.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

import click

NODES = {"wire-a": "10.88.0.1/24", "wire-b": "10.88.0.2/24"}
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 9000


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True)


def plug(node: str, device: str) -> None:
    """Move a device into a node, and give it the node's address."""
    ip("link", "set", device, "netns", node)
    ip("-n", node, "addr", "add", NODES[node], "dev", device)
    for name in (device, "lo"):
        ip("-n", node, "link", "set", name, "up")


def limit_rate(rate: str) -> None:
    """Join the nodes by a pair of veth that sends so many bits a second."""
    ip("link", "add", "wire-a", "type", "veth", "peer", "name", "wire-b")
    for node in NODES:
        plug(node, node)
        shape = f"ip netns exec {node} tc qdisc add dev {node} root tbf rate {rate}"
        subprocess.run([*shape.split(), "burst", "256kb", "latency", "50ms"], check=True)


def open_tun(name: str) -> int:
    """Return the descriptor of a new TUN device."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def relay(ends: list[int], delay: float) -> None:
    """Pass packets on between two TUN devices, `delay` s late, until one is gone."""
    late: dict[int, deque[tuple[float, bytes]]] = {end: deque() for end in ends}
    while True:
        now = time.monotonic()
        for end, packets in late.items():
            while packets and packets[0][0] <= now:
                os.write(end, packets.popleft()[1])
        due = [packets[0][0] for packets in late.values() if packets]
        ready, _, _ = select.select(ends, [], [], max(0.0, min(due) - now) if due else None)
        for end in ready:
            other = ends[1 - ends.index(end)]
            try:
                while True:
                    packet = os.read(end, MTU)
                    late[other].append((time.monotonic() + delay, packet))
            except BlockingIOError:
                pass


def hold_back(delay: float) -> None:
    """Join the nodes by two TUN devices and a process that this leaves behind.

    It has the cores before all others when a packet is due, since a wire waits for no core.
    """
    ends = [open_tun(node) for node in NODES]
    for node in NODES:
        ip("link", "set", node, "mtu", str(MTU), "txqueuelen", "10000")
        plug(node, node)
    if os.fork():
        return
    os.setsid()
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    try:
        relay(ends, delay)
    except OSError:  # the namespaces are gone
        os._exit(0)


@click.command()
@click.argument("kind")
def main(kind: str) -> None:
    """Make a wire: a rate as `tc` writes it, a delay such as 10ms, or `down` for none."""
    for node in NODES:
        subprocess.run(["ip", "netns", "del", node], check=False, stderr=subprocess.DEVNULL)
    if kind == "down":
        return
    time.sleep(0.3)  # until the devices are gone, too
    for node in NODES:
        ip("netns", "add", node)
    if kind.endswith("ms"):
        hold_back(float(kind.removesuffix("ms")) / 1000)
    else:
        limit_rate(kind)


if __name__ == "__main__":
    sys.exit(main())
