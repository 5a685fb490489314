"""What a term of the catalogue is: how one kind of number of a simulation is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Of = Literal["", "body", "geom", "joint", "actuator", "tendon", "site", "observation", "axis"]
Acts = Literal["model", "start", "force", "push", "obs_noise", "obs_bias", "action_noise"]


class Edit:
    """A factor's values, on their way into a model.

    Attributes:
        model: to change in place. The fields that the term names hold nominal values, but for what
            factors earlier in the file have changed.
        ids: [n], indices of the bodies, geoms, joints, ... that the factor acts on.
        values: [n], one each: factors if `scales`, else numbers to add.
        options: the term's, by name.
    """

    def __init__(
        self, model: mujoco.MjModel, ids: Ints, values: Floats, scales: bool,
        options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.model, self.ids, self.values = model, ids, values
        self.scales, self.options = scales, options

    def change(self, array: Any, rows: Any = None, owner: Any = slice(None)) -> None:
        """Scale the rows of `array`, or add to them, in place.

        Args:
            array: [n], or [n, width], of which all columns change alike.
            rows: of `array`; None: `ids`.
            owner: which of the values each of these rows takes; by default one after the other.
        """
        rows = self.ids if rows is None else rows
        values = self.values[owner]
        if array.ndim > 1:
            values = values[:, None]
        array[rows] = array[rows] * values if self.scales else array[rows] + values

    def dofs(self) -> tuple[Ints, Ints]:
        """Return the degrees of freedom of the joints `ids`, and which joint each is of."""
        first = self.model.jnt_dofadr[self.ids]
        counts = DOFS[self.model.jnt_type[self.ids]]
        owner = np.repeat(np.arange(len(self.ids)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return first[owner] + within, owner


DOFS = np.array([6, 3, 1, 1])  # of a free, ball, slide and hinge joint


@dataclass(frozen=True)
class Term:
    """A row of the catalogue.

    Attributes:
        name: in the `vary` of a domains file.
        about: what it changes, in a line.
        apply: writes a factor's values into a model, or None if `acts` is another than "model".
        of: what the names in `of` are names of; "" if it acts on the world as a whole.
        fields: of MuJoCo's model that it writes, as attributes of `MjModel` (`opt.gravity`).
        shows: the number of the model that stands for its nominal value, such as
            `actuator_biasprm[2]`, by its size; None: the first of `fields`, "": none.
        positive: what it changes cannot be below 0.
        unit: of what is added.
        acts: on the model, the start of an episode, as a force, or on what goes through wires.
        scales, adds: whether `scale`, `add` make sense.
        one_sided: values are levels: a single number x means [0, x].
        options: further keys of its table, with their defaults.
        links: None takes all; else returns what a factor without `of` acts on.
        refuse: returns why it cannot work on these ids of a model, or "".
        prepare: changes the model's description before it is compiled, given the factor.
    """

    name: str
    about: str
    apply: Callable[[Edit], None] | None
    of: Of = ""
    fields: tuple[str, ...] = ()
    shows: str | None = None
    positive: bool = True
    unit: str = "1"
    acts: Acts = "model"
    scales: bool = True
    adds: bool = True
    one_sided: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    links: Callable[[mujoco.MjModel], Ints] | None = None
    refuse: Callable[[mujoco.MjModel, Ints], str] = lambda model, ids: ""
    prepare: Callable[[mujoco.MjSpec, Any], None] | None = None


def term(**facts: Any) -> Callable[[Callable[[Edit], None]], Term]:
    """Make a term of a function; its name and the first line of its docstring are the term's.

    Args:
        facts: the other attributes of `Term`.
    """

    def make(function: Callable[[Edit], None]) -> Term:
        about = (function.__doc__ or "").strip().splitlines()
        return Term(function.__name__, about[0] if about else "", function, **facts)

    return make
