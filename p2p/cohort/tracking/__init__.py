"""Trackers: TensorBoard, Weights & Biases, MLflow and trackio follow a run, each in a process.

The parent starts a process for each tracker that `track` names. It reads the journal as that
grows, and passes it on. So a tracker that is slow, hangs, fails or prints cannot hold up a run,
and nothing is lost while it does: the journal has it all. Libraries of trackers are imported
there alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from p2p.core.errors import UsageError

MODULES = {  # by the name of the tracker, which is that of the extra as well
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}


def check_installed(trackers: Iterable[str]) -> None:
    """Raise UsageError if the package of a tracker is not installed; none is imported."""
    for name in trackers:
        spec = find_spec(MODULES[name])
        if spec is None or spec.origin is None:  # without one it is a folder of that name
            raise UsageError(
                f"tracking with {name} needs {MODULES[name]}; install it with: "
                f"pip install 'p2pdrl[{name}]' (or give --track none)"
            )
