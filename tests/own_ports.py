"""Give each process of the tests ports of its own.

Between the moment in which a port is chosen and the one in which a server listens there, others
find it free: with hundreds of servers, some two would meet sooner or later. These ports lie below
those that linkpool chooses by itself; the one above each is left for the sandbox of a
`linkpool up` that is started on it.
"""

from __future__ import annotations

import itertools
import os
import random
import re

from pool.up import ports

_FIRST, _EACH, _PROCESSES = 10_000, 1_000, 10


def keep_apart() -> None:
    """Make `ports.choose` give this process each port once, and none that another process may
    choose.
    """
    number = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % _PROCESSES
    first = _FIRST + number * _EACH
    own = list(range(first, first + _EACH, 2))
    start = random.randrange(len(own))
    order = itertools.cycle(own[start:] + own[:start])

    def choose(*preferred: int | None) -> int:
        for port in preferred:
            if port and port <= 65_535 and ports.is_free(port):
                return port
        tried = itertools.islice(order, len(own))
        return next(port for port in tried if ports.is_free(port) and ports.is_free(port + 1))

    ports.choose = choose
