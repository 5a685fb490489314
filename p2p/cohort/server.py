"""What the fork server imports first: it makes it deaf.

A terminal, `systemd` and batch systems signal all processes of a job. Only the one that
trains may act on it: it asks the peers to finish the iteration and writes a checkpoint. The
server and its peers are deaf, and go when it goes.
"""

import signal

for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_IGN)
