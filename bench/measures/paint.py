"""Measure how soon the server has drawn a page, and what an open page takes.

A thousand meetings, 90 days of history of each in the ledger, five weeks of the finer one in
Redis for some, and five hundred incidents. No page was looked at for a while: nothing is kept.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
from msgspec.structs import replace

from bench.loads.wrk import BadLoad
from bench.measures.base import Bench
from bench.measures.pages import open_pages, reading_key
from bench.processes import Process
from bench.rows import Goal, Row
from bench.stage import Stage, quiet_meeting
from pool.compose import Parts
from pool.ledger.hours import Hour
from pool.model.incidents import KEPT_DAYS, Incident, What
from pool.model.outcomes import EVERYWHERE, Outcomes
from pool.store.chunks import STEPS
from pool.store.records import Totals

MEETINGS = 1_000
PAGES = 50
SETTLED_SECONDS = 14.0  # until open pages have received what they will
_FORGOTTEN_SECONDS = 6.0  # after which nothing is kept of what was shown
_INCIDENTS_A_DAY = 6
_COPY = (
    "INSERT INTO hours SELECT meetings.sid, began_at, level, lowest, target, counts "
    "FROM hours, meetings WHERE hours.meeting_sid = ? AND meetings.sid != ?"
)


def measure(bench: Bench) -> list[Row]:
    """Measure milliseconds to the end of each page, and the memory of an open one."""
    quick = bench.options.quick
    sids = [f"painted-{number:04d}" for number in range(20 if quick else MEETINGS)]
    busy = sids[:PAGES]  # those that are looked at
    took: dict[str, list[float]] = {}
    with Stage() as stage:
        stage.open_meetings([quiet_meeting(sid) for sid in sids])
        stage.work(lambda parts: _past(parts, busy, sids))
        _copy_hours(stage, sids[0])
        key = reading_key(stage)
        process, port = stage.api(1)
        with process, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            client.post("/ops/sign-in", data={"key": key})
            for run in range(bench.options.runs):
                time.sleep(_FORGOTTEN_SECONDS)
                for name, path in _views(busy[run % len(busy)]):
                    took.setdefault(name, []).append(_milliseconds(client, path))
                said = ", ".join(f"{name} {values[-1]:.0f} ms" for name, values in took.items())
                bench.say(f"run {run + 1}: {said}")
            each = _memory_of_pages(process, port, key, busy)
    bench.say(f"an open page takes {each:.2f} MB")
    goals = {"overview": 300, "meeting": 500, "meeting.compared": 500, "meeting.90days": 500}
    rows = [
        Row(f"paint.{name}", f"until `{name}` is drawn, of {len(sids):,} meetings", "ms",
            tuple(values), Goal(at_most=goals[name]) if name in goals else None)
        for name, values in took.items()
    ]  # fmt: skip
    return [*rows, Row("paint.memory", "an open page", "MB", (each,), Goal(at_most=1))]


def _views(sid: str) -> list[tuple[str, str]]:
    meeting = f"/ops/meetings/{sid}"
    return [
        ("overview", "/ops"),
        ("meeting", f"{meeting}?span=hour"),
        ("meeting.compared", f"{meeting}?span=day&compare=yesterday,last-week"),
        ("meeting.90days", f"{meeting}?span=90days"),
        ("history", "/ops/history?span=hour"),
        ("inbox", "/ops/inbox"),
    ]


def _milliseconds(client: httpx.Client, path: str) -> float:
    """Return how long the whole page took. Raise BadLoad if it is none."""
    began = time.perf_counter()
    answer = client.get(path, timeout=30)
    took = 1000 * (time.perf_counter() - began)
    if answer.status_code != 200:
        raise BadLoad(f"{path} was answered {answer.status_code}")
    return took


# -- the past ----------------------------------------------------------------------


async def _past(parts: Parts, busy: list[str], sids: list[str]) -> None:
    now = int(time.time()) // 10 * 10
    levels = {each.sid: each for each in await parts.store.look(sids)}
    moments = set(range(now - 300, now, 10))
    for span in STEPS:
        moments |= set(range(now - span.seconds, now, span.step_seconds))
    for number, moment in enumerate(sorted(moments)):
        seen = sids if moment >= now - 300 else busy
        totals = Totals(3 * number, 3 * number, number)
        then = [
            replace(levels[sid], fresh=number % 50, now_ms=moment * 1000, totals=totals)
            for sid in seen
        ]
        await parts.store.history.sample(then, dict.fromkeys(seen, 50), sweep_seconds=5.0)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    counts = Outcomes({"claims": 400, "top_ups": 390, "bookings": 80, "empty": 4, "reused": 70})
    for sid in (sids[0], EVERYWHERE):
        await parts.ledger.hours.add(
            [
                Hour(sid, hour - timedelta(hours=ago), 40, 3, 50, counts)
                for ago in range(1, 24 * KEPT_DAYS)
            ]
        )
    for number in range(_INCIDENTS_A_DAY * KEPT_DAYS):
        began = hour - timedelta(days=number / _INCIDENTS_A_DAY)
        what = What.PROVIDER if number % 3 else What.BLOCKED
        about = (sids[number % len(sids)],)
        ended = began + timedelta(seconds=240)
        await parts.ledger.incidents.add(Incident(what, "default", began, ended, "why", about))


def _copy_hours(stage: Stage, sid: str) -> None:
    """Give all meetings the hours of one."""
    with closing(sqlite3.connect(stage.directory / "ledger.sqlite3")) as connection, connection:
        connection.execute(_COPY, (sid, sid))


# -- memory ------------------------------------------------------------------------


def _memory_of_pages(process: Process, port: int, key: str, sids: list[str]) -> float:
    """Return the megabytes that each of many open pages takes: overviews and meetings."""
    url = f"http://127.0.0.1:{port}"
    with open_pages(url, key, ["view=pools"]):  # what the first one takes, all share
        time.sleep(SETTLED_SECONDS / 2)
    before = process.rss_bytes()
    pages = [f"view=meeting&sid={sid}" for sid in sids[: PAGES // 2]]
    pages += ["view=pools"] * (PAGES - len(pages))
    with open_pages(url, key, pages):
        time.sleep(SETTLED_SECONDS)
        return (process.rss_bytes() - before) / len(pages) / 1e6
