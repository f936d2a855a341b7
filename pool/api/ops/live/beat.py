"""Keep open pages up to date: each second for all of them, and at once when a part is silent.

A page shows the latest reading of the pools, joined with the present state of the parts: a reading
takes as long as Redis takes to answer, while silence is known without it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

from pool.model.incidents import What
from pool.operations.reader import Reader
from pool.operations.snapshot import LedgerHealth, Snapshot
from pool.operations.vitals import Vitals
from pool.operations.vitals_watch import VitalsWatch
from pool.store.ending import end_tasks

BEAT_SECONDS = 1.0
# While no page is in sight the pools are read for titles and icons only.
UNSEEN_SECONDS = 4.0


class Live:
    """The moments that pages show, the same for all pages of a process."""

    def __init__(self, reader: Reader, vitals: VitalsWatch) -> None:
        self._reader = reader
        self._vitals = vitals
        self._followers = 0
        self._seen = 0  # the followers of which somebody sees a page
        self._closed = False
        self._reading: Snapshot | None = None
        self._moment = joined(None, vitals.latest)
        self._made_at = -BEAT_SECONDS
        self._news = asyncio.Event()
        self._readings: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None

    @property
    def known(self) -> Snapshot:
        """Return the latest moment without asking anybody; pools may be missing."""
        self._vitals.looked_at = time.monotonic()
        reading = self._reading if self._followers else None
        return joined(reading or self._reader.recent, self._vitals.latest)

    def forget(self) -> None:
        """Have the next moment hold a reading made after an action that has changed the pools."""
        self._reader.forget()

    async def moment(self) -> Snapshot:
        """Return this moment, with a reading of the pools made now if Redis answers."""
        self._vitals.looked_at = time.monotonic()
        if self._vitals.latest.trouble(What.REDIS) is None:
            self._reading = await self._reader.latest()
        return joined(self._reading, self._vitals.latest)

    def is_silent(self, what: What) -> bool:
        """Return True if a part is known to be silent, without asking it."""
        return self._vitals.latest.trouble(what) is not None

    async def follow(self, *, unseen: bool = False) -> AsyncIterator[Snapshot]:
        """Yield moments as they come, the first at once. End when `stop` is called.

        The pools are read less often while every follower is `unseen`.
        """
        self._followers += 1
        self._seen += not unseen
        self._reader.rests_seconds = 0.0 if self._seen else UNSEEN_SECONDS
        try:
            first = await self.moment()
            # Each ends at its own next step after the last page has left: of a page that comes
            # in between, one may have ended already while the other goes on.
            if self._readings is None or self._readings.done():
                self._readings = asyncio.create_task(self._follow_readings())
            if self._beats is None or self._beats.done():
                self._beats = asyncio.create_task(self._beat())
            if not self._closed:
                yield first
            while not self._closed:
                news = self._news
                await news.wait()
                if not self._closed:
                    yield self._moment
        finally:
            self._followers -= 1
            self._seen -= not unseen
            self._reader.rests_seconds = 0.0 if self._seen else UNSEEN_SECONDS

    def stop(self) -> None:
        """End every `follow`, for good."""
        self._closed = True
        self._reader.stop()
        self._announce()

    async def close(self) -> None:
        """Stop, and wait for what is under way."""
        self.stop()
        await end_tasks([each for each in (self._readings, self._beats) if each is not None])
        await self._reader.close()

    async def _follow_readings(self) -> None:
        async for reading in self._reader.follow():
            self._reading = reading
            if not self._followers or self._closed:
                return

    async def _beat(self) -> None:
        while self._followers and not self._closed:
            await self._vitals.news.wait()
            self._vitals.looked_at = time.monotonic()
            vitals, before = self._vitals.latest, self._moment.vitals
            turned = before is None or _names(vitals) != _names(before)
            if turned or time.monotonic() - self._made_at >= BEAT_SECONDS - 0.1:
                self._moment, self._made_at = joined(self._reading, vitals), time.monotonic()
                self._announce()

    def _announce(self) -> None:
        waited_for, self._news = self._news, asyncio.Event()
        waited_for.set()


def _names(vitals: Vitals) -> list[object]:
    return [(each.what, each.about) for each in vitals.troubles]


def joined(reading: Snapshot | None, vitals: Vitals) -> Snapshot:
    """Return a reading with the present state of the parts. Without Redis it has no pools."""
    if reading is None:
        reading = Snapshot(datetime.now(UTC), 2.0, is_read=False)
    ledger = vitals.trouble(What.LEDGER)
    redis = vitals.trouble(What.REDIS)
    reading = replace(
        reading,
        vitals=vitals,
        ledger=LedgerHealth(ledger.text, None) if ledger else LedgerHealth("", vitals.unmatched),
    )
    if redis is not None:
        return replace(reading, store_problem=redis.text, found=(), workspaces=())
    return reading
