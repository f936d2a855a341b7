"""Notice within three seconds, in every API process, that a part is silent.

A part that says something every second is silent after two and a quarter, so while somebody watches
there is a look every quarter of a second.

One pipeline to Redis and a short question to the ledger show the state of all parts: Redis and the
ledger answer; workers have pulses; providers are known by the calls under way in any process.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pool.errors import LedgerError, StoreError
from pool.ledger import Ledger
from pool.model.incidents import What
from pool.model.vitals import Heard
from pool.operations.vitals import (
    Name,
    Over,
    Trouble,
    Vitals,
    has_answered,
    heard_troubles,
    turned_away,
    with_cost,
)
from pool.store import Store

_EVERY_SECONDS = 1.0
_WATCHED_EVERY_SECONDS = 0.25
_REDIS_PATIENCE_SECONDS = 1.0
_LEDGER_EVERY_SECONDS = 0.5
_LEDGER_IDLE_SECONDS = 5.0
_WATCHED_SECONDS = 5.0  # after somebody last wanted to know
_LEDGER_PATIENCE_SECONDS = 1.5
OVER_SHOWN_SECONDS = 60.0  # the end of a trouble is shown for this long
_GRACE_SECONDS = 3.0  # for pulses to come back after Redis has
_NOTHING = "no answer"  # the problem of a part that says nothing at all


class VitalsWatch:
    """Looks at all parts, every second or more often. `step` is one look; it never raises."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        sweep_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = now
        self._sweep_seconds = sweep_seconds
        self._ledger = _LedgerLook(ledger, clock, now)
        self._heard: Heard | None = None
        self._heard_at = now()
        self._redis_problem = ""
        self._redis_back_at = -_GRACE_SECONDS
        self._standing: dict[Name, Trouble] = {}
        self._over: list[Over] = []
        self.looked_at = -1.0e9  # when somebody last asked
        self.latest = Vitals(now())
        self.news = asyncio.Event()

    @property
    def _watched(self) -> bool:
        return self._clock() - self.looked_at < _WATCHED_SECONDS

    def every_seconds(self) -> float:
        """Return the seconds until the next look is due."""
        return _WATCHED_EVERY_SECONDS if self._watched else _EVERY_SECONDS

    async def step(self) -> None:
        """Look at every part once, and note what has changed."""
        self._ledger.look(_LEDGER_EVERY_SECONDS if self._watched else _LEDGER_IDLE_SECONDS)
        try:
            async with asyncio.timeout(_REDIS_PATIENCE_SECONDS):
                self._heard = await self._store.pulses.hear()
        except TimeoutError:
            self._redis_problem = _NOTHING
        except StoreError as error:
            self._redis_problem = str(error)
        else:
            if self._redis_problem:
                self._redis_back_at = self._clock()
            self._redis_problem, self._heard_at = "", self._now()
        self._judge(self._now())
        waited_for, self.news = self.news, asyncio.Event()
        waited_for.set()

    async def close(self) -> None:
        """End the question to the ledger that is under way."""
        await self._ledger.close()

    def _judge(self, now: datetime) -> None:
        found: dict[Name, Trouble] = {}
        if self._redis_problem:
            text = _silent("Redis", self._redis_problem)
            found[What.REDIS, ""] = Trouble(What.REDIS, "", self._heard_at, text)
            # Without Redis there are no pulses, so the troubles that they showed before stay.
            unknown = (What.WORKER, What.PROVIDER)
            found |= {name: each for name, each in self._standing.items() if name[0] in unknown}
        elif self._heard is not None:
            graced = self._clock() - self._redis_back_at < _GRACE_SECONDS
            # Workers whose tasks wait for the ledger run nothing, which proves nothing about beat.
            # A worker that was in trouble before the ledger still is.
            stands = (What.WORKER, "") in self._standing
            answers_seconds = math.inf if stands else self._ledger.answers_seconds()
            for trouble in heard_troubles(
                self._heard, now, self._sweep_seconds, ledger_answers_seconds=answers_seconds
            ):
                if not graced or (trouble.what, trouble.about) in self._standing:
                    found[trouble.what, trouble.about] = trouble
            for name, trouble in self._standing.items():
                if trouble.what is What.PROVIDER and not has_answered(self._heard, trouble, now):
                    found.setdefault(name, trouble)
        if ledger := self._ledger.trouble():
            found[What.LEDGER, ""] = ledger
        self._note(found, now)
        self.latest = Vitals(
            now, tuple(found.values()), tuple(self._over), self._heard, self._ledger.unmatched
        )

    def _note(self, found: dict[Name, Trouble], now: datetime) -> None:
        totals = self._heard.totals if self._heard else {}
        for name, trouble in found.items():
            before = self._standing.get(name)
            if before is None:
                away = turned_away(totals) if self._heard else None
                lost = totals.get("quarantined", 0)
                found[name] = replace(trouble, turned_away=away, quarantined=lost)
            else:
                # It began when it was first noticed, whatever clocks say later.
                found[name] = replace(before, text=trouble.text)
        for name, trouble in self._standing.items():
            if name not in found:
                self._over.append(Over(trouble, now, None, 0))
        begun = [each.since for each in (*found.values(), *(over.trouble for over in self._over))]
        self._over = [
            with_cost(each, totals, now, alone=all(since < each.ended_at for since in begun))
            for each in self._over
            if now - each.ended_at < timedelta(seconds=OVER_SHOWN_SECONDS)
            and (each.trouble.what, each.trouble.about) not in found
        ]
        self._standing = found


def _silent(name: str, problem: str) -> str:
    return f"{name} does not answer{'' if problem == _NOTHING else f': {problem}'}"


class _LedgerLook:
    """Asks the ledger a short question now and then, and never waits for its answer."""

    def __init__(
        self, ledger: Ledger, clock: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._now = now
        self._asked = -1.0e9
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._answered_at = now()
        self._silent_at = -math.inf  # when it was last silent
        self.unmatched: int | None = None

    def look(self, every_seconds: float) -> None:
        """Ask again if the last answer is so old."""
        if self._task is not None and not self._task.done():
            if self._clock() - self._asked > _LEDGER_PATIENCE_SECONDS:
                self._problem = _NOTHING
                self.unmatched = None
            return
        if self._clock() - self._asked >= every_seconds or self._problem:
            self._asked = self._clock()
            self._task = asyncio.create_task(self._ask())

    def answers_seconds(self) -> float:
        """Return for how many seconds the ledger has answered; infinity if always."""
        if self._problem:
            self._silent_at = self._clock()
        return self._clock() - self._silent_at

    def trouble(self) -> Trouble | None:
        """Return what is wrong, or None."""
        if not self._problem:
            return None
        text = _silent("The ledger", self._problem)
        return Trouble(What.LEDGER, "", self._answered_at, text)

    async def close(self) -> None:
        """End the question that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _ask(self) -> None:
        try:
            self.unmatched = await self._ledger.inbox.count("unmatched")
        except LedgerError as error:
            self._problem, self.unmatched = str(error), None
        else:
            self._problem, self._answered_at = "", self._now()
