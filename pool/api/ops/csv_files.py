"""Write what charts show as comma-separated values."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

from fastapi import Response

from pool.api.ops.buckets import buckets
from pool.api.ops.pasts import Past
from pool.api.ops.rendering import HEADERS
from pool.api.ops.windows import Window
from pool.model.outcomes import COUNTED


def csv_text(past: Past, window: Window) -> str:
    """Return a line per stretch, the oldest first. Stretches without data have empty fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["from", "seconds", "level", "lowest", "target", "claims", "top_ups", "bookings", *COUNTED]
    )
    seconds = window.bucket_seconds
    begin = past.series.begin_ms // 1000 // seconds * seconds
    found = buckets(past.series, seconds, whole=True, counted=past.counted)
    for index, each in enumerate(found):
        at = datetime.fromtimestamp(begin + index * seconds, UTC).isoformat()
        if each is None:
            writer.writerow([at, seconds])
            continue
        flow = [round(value) for value in (each.claims, each.top_ups, each.bookings)]
        counts = [each.counts.get(name, 0) for name in COUNTED]
        writer.writerow([at, seconds, each.level, each.lowest, each.target, *flow, *counts])
    return text.getvalue()


def csv_answer(name: str, text: str) -> Response:
    """Return a file to save."""
    headers = HEADERS | {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, 200, headers, "text/csv; charset=utf-8")
