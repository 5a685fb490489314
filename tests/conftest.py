"""What all tests start from."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start, also from a job in the background.

    A shell starts such a job with SIGINT ignored, which processes inherit.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
