"""What an output stream can show, and the error if it cannot be written."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from p2p.core.errors import NoRoom

UNLIMITED = 10_000  # columns of a file or pipe


def can_redraw(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor and show bar glyphs."""
    utf8 = (stream.encoding or "").lower().startswith("utf")
    return stream.isatty() and utf8 and os.environ.get("TERM", "dumb") != "dumb"


def columns(otherwise: int = UNLIMITED, stream: TextIO | None = None) -> int:
    """Return the number of columns of a stream; `otherwise` if it is not a terminal.

    Args:
        stream: default stdout.
    """
    terminal = (sys.stdout if stream is None else stream).isatty()
    return shutil.get_terminal_size().columns if terminal else otherwise


def unwritable(error: OSError, *said: str) -> NoRoom:
    """Return the error of a command whose output cannot be written; `said` is appended."""
    return NoRoom("; ".join([f"cannot write the output: {error.strerror}", *said]))
