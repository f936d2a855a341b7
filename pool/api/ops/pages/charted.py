"""Give pages with charts what they say about their window, and the address of their stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from pool.api.ops.charts.earlier import EARLIER, Before, Earlier, names_of
from pool.api.ops.charts.windows import WINDOWS, Window


def charted(
    window: Window, compared: Sequence[Earlier], before: Sequence[Before], **view: str
) -> dict[str, Any]:
    """Return the values of the templates. `view` is what the stream is asked for besides them."""
    asked = view | {"span": window.name, "compare": names_of(compared)}
    known = [each.earlier for each in before]
    return {
        "windows": WINDOWS,
        "window": window,
        "earlier": EARLIER,
        "compared": compared,
        "missing": [each for each in compared if each not in known],
        "stream": f"/ops/stream?{urlencode({name: text for name, text in asked.items() if text})}",
    }
