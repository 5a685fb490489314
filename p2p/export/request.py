"""What is asked for, checked before anything slow is imported."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.core.errors import UsageError

WAYS = ("best", "all", "mean")
FORMATS = ("onnx", "c")
DOMAIN_SEED = 1  # not the 0 of `p2p eval`: what that shows was not chosen by


def check_request(peer: str, formats: Sequence[str]) -> None:
    """Raise UsageError for a way to choose, or a format, that there is not."""
    if peer not in WAYS and not peer.isdecimal():
        raise UsageError(f"--peer {peer}: give {', '.join(WAYS)} or a rank")
    if not formats or not set(formats) <= set(FORMATS):
        raise UsageError(
            f"--format {','.join(formats)}: give one or several of {', '.join(FORMATS)}"
        )
