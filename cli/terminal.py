"""What the stream written to can show, and what ends a command that cannot write to it."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from p2p.core.errors import NoRoom

UNLIMITED = 10_000  # columns of a file or pipe


def can_redraw(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal that moves its cursor and knows bar glyphs."""
    utf8 = (stream.encoding or "").lower().startswith("utf")
    return stream.isatty() and utf8 and os.environ.get("TERM", "dumb") != "dumb"


def columns(otherwise: int = UNLIMITED) -> int:
    """Return how many columns stdout has, or `otherwise` if it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else otherwise


def unwritable(error: OSError, *said: str) -> NoRoom:
    """Return what ends a command whose output cannot be written, and what else is to be said."""
    return NoRoom("; ".join([f"cannot write the output: {error.strerror}", *said]))
