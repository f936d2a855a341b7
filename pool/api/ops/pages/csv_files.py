"""Write what charts show as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import Response

from pool.api.ops.charts.buckets import Bucket, buckets
from pool.api.ops.charts.earlier import Before, Earlier
from pool.api.ops.charts.windows import Window
from pool.api.ops.frame.rendering import HEADERS
from pool.api.ops.live.pasts import Past, Pasts
from pool.model.outcomes import COUNTED

_QUANTITIES = ("level", "claims", "top_ups", "bookings")  # of earlier stretches


def csv_text(past: Past, window: Window, before: Sequence[Before] = ()) -> str:
    """Return a line per stretch, the oldest first. Stretches without data have empty fields.

    Each earlier stretch that is compared adds columns such as `claims_yesterday`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["from", "seconds", "level", "lowest", "target", "claims", "top_ups", "bookings"]
    columns += COUNTED
    for compared in before:
        suffix = compared.earlier.name.replace("-", "_")
        columns += [f"{name}_{suffix}" for name in _QUANTITIES]
    writer.writerow(columns)
    seconds = window.bucket_seconds
    earlier = [
        {b.begin_seconds: b for b in buckets(each.series, seconds, whole=True) if b is not None}
        for each in before
    ]
    begin = past.series.begin_ms // 1000 // seconds * seconds
    found = buckets(past.series, seconds, whole=True, counted=past.counted)
    for index, each in enumerate(found):
        at = datetime.fromtimestamp(begin + index * seconds, UTC).isoformat()
        values = [value for of in earlier for value in _compared(of.get(begin + index * seconds))]
        if each is None:
            empty = [""] * (6 + len(COUNTED)) if values else []
            writer.writerow([at, seconds, *empty, *values])
            continue
        flow = [round(value) for value in (each.claims, each.top_ups, each.bookings)]
        counts = [each.counts.get(name, 0) for name in COUNTED]
        writer.writerow(
            [at, seconds, each.level, each.lowest, each.target, *flow, *counts, *values]
        )
    return text.getvalue()


def _compared(bucket: Bucket | None) -> list[object]:
    """Return the values of an earlier stretch. Its counts may be shares of a coarser step."""
    if bucket is None:
        return [""] * len(_QUANTITIES)
    counts = (bucket.claims, bucket.top_ups, bucket.bookings)
    return [bucket.level, *(f"{value:.6g}" for value in counts)]


async def csv_answer(
    pasts: Pasts, sid: str, window: Window, compared: Sequence[Earlier], name: str
) -> Response:
    """Return a meeting's past, or that of `EVERYWHERE`, as a file to save."""
    past = await pasts.of(sid, window)
    text = csv_text(past, window, await pasts.before(sid, window, compared))
    file = f"{name}-{window.name}.csv"
    headers = HEADERS | {"content-disposition": f'attachment; filename="{file}"'}
    return Response(text, 200, headers, "text/csv; charset=utf-8")
