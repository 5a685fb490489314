"""A wire between two network namespaces, for `benchmarks/nodes.py`: needs root, `ip` and `tc`.

    python benchmarks/wire.py 10gbit    # or 1gbit: a pair of veth, held to the rate
    python benchmarks/wire.py 10ms      # or 1ms: each way takes so long
    python benchmarks/wire.py down

The nodes are `ip netns exec wire-a` with 10.88.0.1 and `wire-b` with 10.88.0.2. Distance is made by
a process that holds each packet back, for kernels without netem. It ends with the namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from typing import Any

import click
import numba
import numpy as np

NODES = {"wire-a": "10.88.0.1/24", "wire-b": "10.88.0.2/24"}
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 9000
ROOM = 4096  # packets on their way, each way
SECOND = 1_000_000_000  # ns


def of_libc(name: str, *types: object) -> Any:
    """Return a function of the C library, as compiled code calls it."""
    function = getattr(ctypes.CDLL(None), name)
    function.argtypes, function.restype = types, ctypes.c_ssize_t
    return function


WORD, POINTER, SIZE = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
read, write = (of_libc(name, WORD, POINTER, SIZE) for name in ("read", "write"))
clock_gettime = of_libc("clock_gettime", WORD, POINTER)
ppoll = of_libc("ppoll", POINTER, SIZE, POINTER, SIZE)


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


@numba.njit
def relay(ends, delay):  # type: ignore[no-untyped-def] # numba has no types
    """Pass packets on between two TUN devices, `delay` ns late, until one is gone.

    Compiled, since what it takes of the cores is not the nodes'.

    Args:
        ends: [2], descriptors that do not block.
    """
    packets = np.empty((2, ROOM, MTU), np.uint8)
    sizes, due = np.empty((2, ROOM), np.int64), np.empty((2, ROOM), np.int64)
    first, last = np.zeros(2, np.int64), np.zeros(2, np.int64)
    asked, clock, left = np.zeros(4, np.int32), np.empty(2, np.int64), np.zeros(2, np.int64)
    polled = asked.view(np.int16)  # struct pollfd: the descriptor; what is asked, what is found
    while True:
        clock_gettime(1, clock.ctypes.data)  # monotonic
        now = clock[0] * SECOND + clock[1]
        soonest = now + SECOND
        for n in range(2):
            while first[n] < last[n] and due[n, first[n] % ROOM] <= now:
                slot = first[n] % ROOM
                write(ends[1 - n], packets[n, slot].ctypes.data, sizes[n, slot])
                first[n] += 1
            if first[n] < last[n]:
                soonest = min(soonest, due[n, first[n] % ROOM])
            asked[2 * n] = ends[n] if last[n] - first[n] < ROOM else -1
            polled[4 * n + 2] = select.POLLIN
        left[0], left[1] = (soonest - now) // SECOND, (soonest - now) % SECOND
        ppoll(asked.ctypes.data, 2, left.ctypes.data, 0)
        clock_gettime(1, clock.ctypes.data)
        for n in range(2):
            if polled[4 * n + 3] & ~select.POLLIN:
                return
            while last[n] - first[n] < ROOM:
                slot = last[n] % ROOM
                size = read(ends[n], packets[n, slot].ctypes.data, MTU)
                if size <= 0:
                    break
                sizes[n, slot], due[n, slot] = size, clock[0] * SECOND + clock[1] + delay
                last[n] += 1


def hold_back(delay: float) -> None:
    """Join the nodes by two TUN devices and a process that this leaves behind.

    It has the cores before all others when a packet is due, since a wire waits for no core.
    """
    ends = [open_tun(node) for node in NODES]
    for node in NODES:
        ip("link", "set", node, "mtu", str(MTU), "txqueuelen", "10000")
        plug(node, node)
    relay.compile((numba.int64[::1], numba.int64))
    if os.fork():
        return
    os.setsid()
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    relay(np.array(ends), round(delay * SECOND))  # until the namespaces are gone
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
