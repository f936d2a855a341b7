"""Run a browser that nothing drives; its page reports its state itself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unwatched(home: Path, *command: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that opens an address in a new browser; end the browsers at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def open_one(url: str) -> None:
        started.append(
            subprocess.Popen(
                [*command, url],
                env=os.environ | {"HOME": str(home), "MOZ_HEADLESS_WIDTH": "1280"},
                start_new_session=True,
                cwd=home,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    try:
        yield open_one
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)  # its own session, started above
            process.wait()
