"""Let the child in which an embedded Redis rewrites its file step back behind everything else.

The child computes for seconds with all of a core. At the same priority, claims wait meanwhile
for what it leaves of the machine (docs/performance.md, "The tail").
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICENESS = 19  # the lowest priority: it gets what nobody else wants, and a sliver when all is busy


def step_back(redis_pid: int) -> None:
    """Lower the priority of this Redis's children. Do nothing where the system names none."""
    with contextlib.suppress(OSError):  # Linux alone says so, and the child may have ended
        children = Path(f"/proc/{redis_pid}/task/{redis_pid}/children").read_text()
        for child in map(int, children.split()):
            if os.getpriority(os.PRIO_PROCESS, child) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, child, NICENESS)
