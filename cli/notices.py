"""What is said on stderr beside the output: notes, and what takes longer than one expects."""

from __future__ import annotations

import sys

from .text.layout import message_lines
from .text.terminal import columns


def note(message: str) -> None:
    """Print a note on stderr, wrapped on a terminal."""
    say(f"note: {message}")


def say(message: str) -> None:
    """Print a message on stderr, wrapped on a terminal."""
    for line in message_lines(message, columns(stream=sys.stderr)):
        print(line, file=sys.stderr, flush=True)


def say_if_compiling(engine: str) -> None:
    """Say on stderr that it will take a while, if it will."""
    if engine == "fused":
        from p2p.core import jit

        if not jit.can_cache():
            say(
                "compiling the engine: some 20 s, at each start, as no folder can keep it; "
                "NUMBA_CACHE_DIR names one that is writable"
            )
        elif not jit.is_cached():
            say("compiling the engine, once for this machine: some 20 s")
