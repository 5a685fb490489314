"""How each method and task is drawn and called, wherever it appears: as its class says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from p2p.core import registry
from p2p.envs.task import find_task
from p2p.methods import find_method

FREE = ("#999999", "#882255", "#44AA99", "#332288", "#DDCC77", "#117733")  # for others' methods


class MethodStyle(NamedTuple):
    """How a method is drawn.

    Attributes:
        colour: from Okabe and Ito's palette, which colour-blind people tell apart.
        dash, marker: matplotlib's; they tell methods apart without any colour.
    """

    label: str
    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


class _MethodStyles(Mapping[str, MethodStyle]):
    """The styles of all methods that are loaded; another one gets a plain one."""

    def __getitem__(self, name: str) -> MethodStyle:
        if not registry.is_known("method", name):
            if ":" not in name:
                raise KeyError(name)
            return MethodStyle(name.rpartition(":")[2], FREE[0], "-", "*")
        method = find_method(name)
        others = [n for n in registry.names("method") if find_method(n).colour is None]
        colour = method.colour or FREE[others.index(name) % len(FREE)]
        return MethodStyle(method.label or method.__name__, colour, method.dash, method.marker)

    def __iter__(self) -> Iterator[str]:
        return iter(registry.names("method"))

    def __len__(self) -> int:
        return len(registry.names("method"))


class _Labels(Mapping[str, str]):
    """What tasks are called in figures."""

    def __getitem__(self, name: str) -> str:
        if not registry.is_known("task", name):
            return name.rpartition(":")[2]
        task = find_task(name)
        return getattr(task, "label", task.__name__)

    def __iter__(self) -> Iterator[str]:
        return iter(registry.names("task"))

    def __len__(self) -> int:
        return len(registry.names("task"))


METHODS: Mapping[str, MethodStyle] = _MethodStyles()
TASKS: Mapping[str, str] = _Labels()


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


def group_styles(groups: Mapping[str, str]) -> list[MethodStyle]:
    """Return how each group of runs is drawn.

    Args:
        groups: what each is called in the figure, by its label, which begins with the method.
    """
    looks = {look.colour: look for look in METHODS.values()}
    colours = group_colours(list(groups))
    return [
        looks[colour]._replace(label=label)
        for label, colour in zip(groups.values(), colours, strict=True)
    ]
