"""The version of p2p, and the name under which package indexes know it."""

from importlib.metadata import version

DISTRIBUTION = "p2pdrl"  # `p2p` there is somebody else's


def p2p_version() -> str:
    """Return the installed version."""
    return version(DISTRIBUTION)
