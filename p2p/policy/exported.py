"""A policy that was exported as ONNX, run by onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from p2p.core.errors import UsageError
from p2p.policy.acting import check_deterministic
from p2p.policy.parameters import Floats

INPUT, OUTPUT = "obs", "actions"
FATAL_ONLY = 4  # severity of onnxruntime's log: it warns of GPUs that it lacks, and raises errors
MOST = 1 << 20  # numbers in an observation


class ExportedPolicy:
    """The ONNX graph of a bundle; see `ActingPolicy`. Travels to other processes.

    Args:
        task: name of the task it was trained on.
        onnx: the file's bytes.
        low, high: [A], bounds of its actions.
        meta: further facts about its training.

    Raises:
        UsageError: onnxruntime is not installed.
        ValueError: it is no graph that maps `obs` [batch, n] to `actions` [batch, A].
    """

    def __init__(
        self, task: str, onnx: bytes, low: Floats, high: Floats,
        meta: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.task, self.onnx, self.low, self.high = task, onnx, low, high
        self.meta = dict(meta or {})
        self._session = new_session(onnx)
        self.obs_dim, actions = _widths(self._session)
        if not low.shape == high.shape == (actions,):
            raise ValueError(f"it gives {actions} actions, with {low.size} and {high.size} bounds")
        if self.obs_dim > MOST:
            raise ValueError(f"it takes observations of {self.obs_dim} numbers")
        try:
            self.act(np.zeros(self.obs_dim))  # whether its products fit shows only now
        except Exception as error:  # as in `new_session`
            raise ValueError(" ".join(str(error).split())) from None

    def act(
        self,
        obs: ArrayLike,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        noise: Floats | None = None,
    ) -> Floats:
        """Return the action for raw observations, [n] or [B, n]: [A] or [B, A], float32.

        An action is bit-identical whether its observation comes alone or in a batch.

        Raises:
            UsageError: actions are to be sampled, or the last axis is not `obs_dim` long.
        """
        check_deterministic(deterministic, "an exported policy")
        raw = np.asarray(obs, np.float32)
        if raw.ndim not in (1, 2) or raw.shape[-1] != self.obs_dim:
            raise UsageError(
                f"policy for {self.task} takes observations [{self.obs_dim}] or "
                f"[B, {self.obs_dim}], got {list(raw.shape)}"
            )
        # One run a row: onnxruntime orders the sums of a product by its size.
        rows = [self._session.run([OUTPUT], {INPUT: row[None]})[0] for row in np.atleast_2d(raw)]
        action: Floats = np.concatenate(rows)
        return action if raw.ndim == 2 else action[0]

    def digest(self) -> str:
        """Return the SHA-256 of all that determines its actions."""
        return hashlib.sha256(self.onnx).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._session = new_session(self.onnx)


def new_session(onnx: bytes) -> Any:
    """Return an onnxruntime session on one thread of the CPU.

    Raises:
        UsageError: onnxruntime is not installed.
        ValueError: it is no ONNX graph.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "an exported policy needs onnxruntime; install it with: pip install 'p2pdrl[export]'"
        ) from None
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )  # whose fallback is the same again, with four lines on stdout
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise ValueError(" ".join(str(error).split())) from None


def _widths(session: Any) -> tuple[int, int]:
    """Return how many numbers an observation and an action have."""
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    sizes = taken.shape[1:], given.shape[1:]
    whole = all(len(size) == 1 and isinstance(size[0], int) for size in sizes)
    if (taken.name, given.name) != (INPUT, OUTPUT) or not whole:
        raise ValueError(f"it maps {taken.name} to {given.name}, not {INPUT} to {OUTPUT}")
    return int(sizes[0][0]), int(sizes[1][0])
