"""The console script `p2p`: takes over Ctrl-C, then imports the rest."""

from __future__ import annotations

from .interrupt import interrupts

TYPE_CHECKING = False  # as in p2p/__init__.py

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    interrupts.install()
    from .main import main

    main()
