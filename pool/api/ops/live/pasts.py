"""Read the past that charts show, once every few seconds for all pages that show the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from pool.api.ops.charts.earlier import Before, Earlier, moved
from pool.api.ops.charts.windows import HOUR, Window
from pool.errors import LedgerError, LinkpoolError
from pool.ledger import Ledger
from pool.ledger.deadline import within as bounded
from pool.ledger.hours import Hour
from pool.model.incidents import Incident
from pool.model.outcomes import EVERYWHERE, FLOW, Outcomes
from pool.store import Store
from pool.store.records import Sample, Series, Span
from pool.store.tallies import Counted

log = structlog.get_logger()

KEPT_SECONDS = 5.0
KEPT_LONG_SECONDS = 60.0  # of windows of a day and more
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Past:
    """The history of a meeting, or of all, in a window. The latest incident comes first."""

    series: Series
    counted: tuple[Counted, ...]
    incidents: tuple[Incident, ...] | None  # None while the ledger does not answer


class Pasts:
    """The pasts that are being viewed."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._kept: dict[tuple[str, str], tuple[float, Past]] = {}
        self._before: dict[tuple[str, str, str], tuple[float, Series | None]] = {}
        self._reading = asyncio.Lock()

    async def of(self, sid: str, window: Window) -> Past:
        """Return a meeting's past; `EVERYWHERE` stands for all meetings.

        Raise StoreUnavailable; or LedgerUnavailable, for windows that only the ledger has.
        """
        async with self._reading:
            now = time.monotonic()
            self._kept = {name: kept for name, kept in self._kept.items() if now < kept[0]}
            if (sid, window.name) not in self._kept:
                keeps = KEPT_SECONDS if window.seconds < _DAY else KEPT_LONG_SECONDS
                with bounded():
                    self._kept[sid, window.name] = now + keeps, await self._read(sid, window)
            return self._kept[sid, window.name][1]

    async def before(
        self, sid: str, window: Window, wanted: Sequence[Earlier]
    ) -> tuple[Before, ...]:
        """Return the history of these earlier stretches, as far as it is known.

        Its steps are those in which that time is kept: a minute for a day and a half, then an hour.
        A stretch that cannot be read now is left out: the present is shown anyway.
        """
        found = []
        async with self._reading:
            now = time.monotonic()
            self._before = {name: kept for name, kept in self._before.items() if now < kept[0]}
            for one in wanted:
                key = (sid, window.name, one.name)
                if key not in self._before:
                    try:
                        with bounded():
                            read = await self._read_before(sid, window, one)
                        self._before[key] = now + KEPT_LONG_SECONDS, read
                    except LinkpoolError as error:
                        log.warning("an earlier past not read", reason=str(error))
                        self._before[key] = now + KEPT_SECONDS, None
                series = self._before[key][1]
                if series is not None and series.samples:
                    found.append(Before(one, series))
        return tuple(found)

    async def _read_before(self, sid: str, window: Window, one: Earlier) -> Series:
        until = datetime.now(UTC) - timedelta(seconds=one.ago_seconds)
        since = until - timedelta(seconds=window.seconds)
        for span in one.spans(window):
            # The sample after the end covers the time before it.
            step = timedelta(seconds=span.step_seconds)
            found = within(await self._from_store(sid, span, one), since, until + step)
            if found.samples:
                break
        else:
            found, _ = await self._from_ledger(sid, since - timedelta(seconds=HOUR), until)
        found = replace(found, begin_ms=_ms(since), end_ms=_ms(until))
        return moved(found, one.ago_seconds)

    async def _from_store(self, sid: str, span: Span, one: Earlier) -> Series:
        ago = one.ago_seconds - span.step_seconds
        if sid != EVERYWHERE:
            return await self._store.history.read(sid, span, ago_seconds=ago)
        series = await self._store.history.taken(span, ago_seconds=ago)
        [tally] = await self._store.tallies.past([sid], span, ago_seconds=ago)
        return with_flow(series, tally.counted)

    async def _read(self, sid: str, window: Window) -> Past:
        now = datetime.now(UTC)
        since = now - timedelta(seconds=window.seconds)
        if window.span is None:
            series, counted = await self._from_ledger(sid, since, now)
        else:
            history = self._store.history
            read = (
                history.taken(window.span) if sid == EVERYWHERE else history.read(sid, window.span)
            )
            series = within(await read, since, now)
            [tally] = await self._store.tallies.past([sid], window.span, seconds=window.seconds)
            counted = tally.counted
            if sid == EVERYWHERE:
                series = with_flow(series, counted)
        try:
            found = await self._ledger.incidents.since(since)
        except LedgerError as error:
            log.warning("incidents not read", reason=str(error))
            return Past(series, counted, None)
        concerned = (each for each in found if sid == EVERYWHERE or each.concerns(sid))
        return Past(series, counted, tuple(concerned))

    async def _from_ledger(
        self, sid: str, since: datetime, until: datetime
    ) -> tuple[Series, tuple[Counted, ...]]:
        kept = self._ledger.hours
        looked = [each.began_at for each in await kept.of(EVERYWHERE, since, until)]
        hours = {each.began_at: each for each in await kept.of(sid, since, until)}
        samples = list(_samples(looked, hours))
        series = Series(sid, HOUR, _ms(since), _ms(until), tuple(samples))
        return series, tuple(
            Counted(_ms(each.began_at) + HOUR * 1000, each.outcomes) for each in hours.values()
        )


async def incidents_of(ledger: Ledger, window: Window) -> tuple[Incident, ...] | None:
    """Return the incidents of a window, the latest first; None while the ledger is silent."""
    try:
        with bounded():
            return tuple(
                await ledger.incidents.since(datetime.now(UTC) - timedelta(seconds=window.seconds))
            )
    except LedgerError as error:
        log.warning("incidents not read", reason=str(error))
        return None


def within(series: Series, since: datetime, now: datetime) -> Series:
    """Return the part of a series from `since` to `now`."""
    begin_ms = max(series.begin_ms, _ms(since))
    end_ms = max(begin_ms + 1000 * series.step_seconds, min(series.end_ms, _ms(now)))
    samples = tuple(each for each in series.samples if begin_ms <= each.at_ms <= end_ms)
    return replace(series, begin_ms=begin_ms, end_ms=end_ms, samples=samples)


def with_flow(series: Series, counted: Sequence[Counted]) -> Series:
    """Return the series of all meetings with what was counted of all of them."""
    flow = {each.at_ms: each.outcomes for each in counted}
    samples = tuple(
        replace(sample, **_flow_of(flow[sample.at_ms])) if sample.at_ms in flow else sample
        for sample in series.samples
    )
    return replace(series, samples=samples)


def _samples(looked: Sequence[datetime], hours: dict[datetime, Hour]) -> list[Sample]:
    """Return a sample per hour in which a worker looked. Hours without a row are as before."""
    found: list[Sample] = []
    level = target = 0
    before: datetime | None = None
    for began_at in looked:
        hour = hours.get(began_at)
        if hour is not None:
            level, target = hour.level, hour.target
        found.append(
            Sample(
                at_ms=_ms(began_at) + HOUR * 1000,  # a sample is taken as its hour is over
                level=level,
                lowest=hour.lowest if hour else level,
                target=target,
                **_flow_of(hour.outcomes if hour else Outcomes({})),
                covers_seconds=HOUR,
                after_gap=before is not None and began_at - before > timedelta(hours=1),
            )
        )
        before = began_at
    return found


def _flow_of(outcomes: Outcomes) -> dict[str, Any]:
    """Return the counts that a sample has, by its fields."""
    return {name: outcomes[name] for name in FLOW}


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
