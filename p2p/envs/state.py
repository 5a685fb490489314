"""What a task sees of N simulations: named views of what was read after the last step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.core.names import did_you_mean

Floats = NDArray[np.float64]


def read_field(data: mujoco.MjData, name: str) -> Floats:
    """Return the field of MjData that a task calls `name`, in its shape.

    Raises:
        UsageError: there is none, or it holds no floating-point numbers.
    """
    if name == "torso_xpos":
        torso: Floats = data.xpos[1]
        return torso
    field = getattr(data, name, None)
    if isinstance(field, np.ndarray) and field.dtype == np.float64:
        return field
    known = [n for n in dir(data) if isinstance(getattr(data, n, None), np.ndarray)]
    raise UsageError(
        f"reads {name!r}: MuJoCo's MjData has no such array of numbers{did_you_mean(name, known)}"
    )


def columns_of(data: mujoco.MjData, reads: tuple[str, ...]) -> dict[str, slice]:
    """Return where each field of `reads` lies in a row of numbers that strings them together."""
    columns, end = {}, 0
    for name in reads:
        columns[name] = slice(end, end := end + read_field(data, name).size)
    return columns


class State:
    """N simulations as columns; each field of `Task.reads` and `Task.memory` is an attribute.

    A field has its shape in MuJoCo behind the axis of envs: `qpos` [N, nq], `xpos` [N, nbody, 3].
    `qpos` and `qvel` are of now; what MuJoCo computes from them, such as `xpos` and `sensordata`,
    is that of the last physics step's start, as in Gymnasium.

    Attributes:
        num_envs: N.
        dt: seconds a step.
        model: MuJoCo's, nominal; to look up names: `s.model.body("trunk").id`.
        start: qpos that episodes start from, [nq].
        sensor: by its name, what a sensor measured, [N, width]; needs "sensordata" in `reads`.
        before: the same before the step, without memory.
    """

    before: State

    def __init__(
        self, raw: Floats, columns: Mapping[str, slice], data: mujoco.MjData,
        model: mujoco.MjModel, start: Floats, dt: float, memory: Mapping[str, Floats],
    ) -> None:  # fmt: skip
        self.num_envs, self.dt, self.model, self.start = len(raw), dt, model, start
        for name, column in columns.items():
            shape = (len(raw), *read_field(data, name).shape)
            setattr(self, name, raw[:, column].reshape(shape))
        for name, values in memory.items():
            setattr(self, name, values)
        self.sensor: dict[str, Floats] = {}
        if "sensordata" in columns:
            first = columns["sensordata"].start
            for n in range(model.nsensor):
                at = first + int(model.sensor_adr[n])
                name = model.sensor(n).name or f"sensor {n}"
                self.sensor[name] = raw[:, at : at + int(model.sensor_dim[n])]

    def __getattr__(self, name: str) -> Any:
        """Say how to have a field that is not there."""
        fields = [n for n in vars(self) if not n.startswith("_")]
        raise AttributeError(
            f"the state has no {name!r}{did_you_mean(name, fields)}; add it to `reads`, or to "
            "`memory`"
        )


@contextmanager
def blaming(task: str, what: str) -> Iterator[None]:
    """Turn what goes wrong in a task's own code into one line.

    Raises:
        UsageError: an exception in the block, with its last line in the task's file.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        trace, line = error.__traceback__, 0
        while trace is not None:
            if not trace.tb_frame.f_code.co_filename.startswith(_OWN):
                line = trace.tb_lineno
                file = trace.tb_frame.f_code.co_filename
                if "p2p_user" in trace.tb_frame.f_globals.get("__name__", ""):
                    break
            trace = trace.tb_next
        where = f" ({file}, line {line})" if line else ""
        text = " ".join(str(error).split())
        raise UsageError(
            f"task {task}: {what} fails: {type(error).__name__}: {text}{where}"
        ) from error


_OWN = __file__.rpartition("/envs/")[0]
