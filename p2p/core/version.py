"""The version of p2p, and the name under which package indexes know it."""

from functools import cache
from importlib.metadata import version

DISTRIBUTION = "p2pdrl"  # `p2p` there is somebody else's


@cache
def installed_version(distribution: str) -> str:
    """Return the version of a distribution; read once, since a study asks for it for each run."""
    return version(distribution)


def p2p_version() -> str:
    """Return the installed version."""
    return installed_version(DISTRIBUTION)
