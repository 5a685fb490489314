"""What the fork server imports first: it makes the server and its peers ignore signals.

A terminal, `systemd` and batch systems send a signal to all processes of a job. Only the parent
may act on it: it requests a stop, and the peers finish the iteration and write a checkpoint. The
server and the peers ignore the signal, and end when the parent ends.
"""

import signal

from p2p.core.platform import STOP_SIGNALS

for _number in STOP_SIGNALS:
    signal.signal(_number, signal.SIG_IGN)
