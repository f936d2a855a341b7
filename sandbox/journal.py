"""Keep links and bookings across restarts in a file: one JSON object per line.

    {"link": {slug, meeting_sid, made_at}}      a link was made
    {"booking": {...}}                          a booking was made or changed; the last one counts

Each line is written with one call before the change is answered, so that a killed process
loses nothing that was answered (a machine that loses power may lose its last seconds).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Append lines to a file. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> Iterator[dict[str, Any]]:
        """Return every whole line, without those that a crash tore or that are not ours."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry

    def open(self, entries: Iterable[dict[str, Any]]) -> None:
        """Rewrite the file to `entries`, in one step, and append to it from now on.

        Raise OSError.
        """
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("w", encoding="utf-8") as lines:
            lines.writelines(_line(entry) for entry in entries)
            lines.flush()
            os.fsync(lines.fileno())
        fresh.replace(self._path)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line; it is in the file's cache when this returns."""
        if self._descriptor is not None:
            os.write(self._descriptor, _line(entry).encode())

    def close(self) -> None:
        """Write everything to the disk and close the file."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"
