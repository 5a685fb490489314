"""How each method is drawn, wherever it appears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Look(NamedTuple):
    """How a method is drawn wherever it appears.

    Attributes:
        colour: from Okabe and Ito's palette, which colour-blind people tell apart.
        dash, marker: matplotlib's; they tell methods apart without any colour.
    """

    label: str
    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


METHODS = {
    "p2pdrl": Look("P2PDRL", "#0072B2", "-", "o"),
    "ppo": Look("PPO", "#D55E00", (0, (5, 1.5)), "s"),
    "dppo": Look("Distributed PPO", "#009E73", (0, (3, 1, 1, 1)), "^"),
    "distral": Look("Distral", "#CC79A7", (0, (1, 1)), "D"),
    "dnc": Look("DnC", "#E69F00", (0, (6, 1, 1, 1, 1, 1)), "v"),
    "self-kl": Look("PPO, self-KL", "#56B4E9", (0, (4, 2)), "P"),
    "entropy": Look("PPO, entropy", "#000000", (0, (2, 2)), "X"),
}


def group_colours(labels: Sequence[str]) -> list[str]:
    """Return a colour for each group of runs, by its label, which begins with the method.

    That of its method, for the first group of it; for others one that is free, and once there
    is none, those of all methods in turn.
    """
    colours: dict[int, str] = {}
    for n, label in enumerate(labels):
        look = METHODS.get(label.split()[0])
        if look is not None and look.colour not in colours.values():
            colours[n] = look.colour
    free = [look.colour for look in METHODS.values() if look.colour not in colours.values()]
    free = free or [look.colour for look in METHODS.values()]
    rest = [n for n in range(len(labels)) if n not in colours]
    colours.update({n: free[i % len(free)] for i, n in enumerate(rest)})
    return [colours[n] for n in range(len(labels))]
