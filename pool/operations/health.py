"""Report the state of every part of the service, and since when, at /healthz.

`/readyz` says to a balancer whether claims can be served, and looks at Redis alone. This looks at
every part; one that is down here may not be missed for hours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pool.config.addresses import broker_url
from pool.config.redis_address import is_redis
from pool.config.settings import Settings
from pool.errors import LedgerError, LinkpoolError, StoreError
from pool.ledger import Ledger
from pool.ledger.deadline import within
from pool.model.times import from_ms
from pool.model.vitals import SILENT_SECONDS, Heard
from pool.nudges import QUEUE, SWEEP, TRANSPORT_OPTIONS, sweep_expires_seconds, try_amqp
from pool.operations.words import duration_words
from pool.store import Store
from pool.store.broker_queue import newest_expiry
from pool.store.capabilities import evicts

State = Literal["ok", "degraded", "down", "unknown"]
_WORST: tuple[State, ...] = ("down", "degraded")
KEPT_SECONDS = 2.0  # an answer is used again this long
_LEDGER_SECONDS = 3.0
NEVER_RAN = "no worker has ever run; start `linkpool worker` and `linkpool beat`"


@dataclass(frozen=True, slots=True)
class PartHealth:
    """One part at one moment."""

    name: str  # redis, ledger, broker, worker, beat, webhooks, or provider:<workspace>
    state: State
    detail: str = ""  # why, in a few words
    since: datetime | None = None  # when the state began; if unknown, as remembered


@dataclass(frozen=True, slots=True)
class Health:
    """All parts at one moment."""

    parts: tuple[PartHealth, ...]

    @property
    def state(self) -> State:
        """Return the worst state of a part; unknown states do not count."""
        states = {part.state for part in self.parts}
        return next((each for each in _WORST if each in states), "ok")

    def as_json(self) -> dict[str, object]:
        """Return the answer of /healthz."""
        return {
            "status": self.state,
            "parts": [
                {
                    "name": part.name,
                    "state": part.state,
                    "since": part.since.isoformat(timespec="seconds") if part.since else None,
                    "detail": part.detail,
                }
                for part in self.parts
            ],
        }


class HealthWatch:
    """Looks at all parts on request, and remembers since when each is in its state."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        settings: Settings,
        *,
        known: Iterable[PartHealth] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._settings = settings
        self._now = now
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looked_at = -KEPT_SECONDS
        self._known = {part.name: part for part in known}  # from an earlier look

    async def look(self) -> Health:
        """Return the state of all parts. Never raise, and take some seconds at most."""
        async with self._looking:
            if self._clock() - self._looked_at >= KEPT_SECONDS:
                found = await self._look()
                self._known = {part.name: self._dated(part) for part in found}
                self._looked_at = self._clock()
            return Health(tuple(self._known.values()))

    def _dated(self, part: PartHealth) -> PartHealth:
        before = self._known.get(part.name)
        since = part.since
        if before is not None and before.state == part.state:
            since = before.since
        return PartHealth(part.name, part.state, part.detail, since or self._now())

    async def _look(self) -> list[PartHealth]:
        (redis, heard), ledger, (broker, asked_at) = await asyncio.gather(
            self._redis(), self._look_at_ledger(), self._broker()
        )
        workers = [
            PartHealth(name, "unknown", "Redis does not answer") for name in ("worker", "beat")
        ]
        if heard is not None:
            workers = work(heard, self._settings.sweep_seconds, asked_at)
        return [redis, *ledger, broker, *workers, *await self._providers(heard)]

    async def _redis(self) -> tuple[PartHealth, Heard | None]:
        try:
            reason = max(evicts(info) for info in await self._store.infos())
            reason = reason or "; ".join(await self._store.masters_away())
            heard = await self._store.pulses.hear()
        except StoreError as error:
            return PartHealth("redis", "down", str(error)), None
        return PartHealth("redis", "degraded" if reason else "ok", reason), heard

    async def _look_at_ledger(self) -> list[PartHealth]:
        webhooks = [
            name for name, each in self._settings.workspaces.items() if not each.webhook_secret
        ]
        try:
            with within(_LEDGER_SECONDS):
                await self._ledger.ping()  # a standby, or a full disk, answers what is read
                dead = await self._ledger.inbox.count("dead")
                unmatched = await self._ledger.inbox.count("unmatched")
        except LedgerError as error:
            down = PartHealth("ledger", "down", str(error))
            return [down, PartHealth("webhooks", "down", "they cannot be kept")]
        details = []
        if webhooks:
            details.append(f"without a secret, none is accepted: {', '.join(sorted(webhooks))}")
        if dead:
            details.append(f"{dead:,} events could not be settled")
        if unmatched:
            details.append(f"{unmatched:,} events match no link")
        state: State = "degraded" if webhooks or dead else "ok"
        return [PartHealth("ledger", "ok"), PartHealth("webhooks", state, "; ".join(details))]

    async def _broker(self) -> tuple[PartHealth, datetime | None]:
        """Return the broker's state, and when beat last asked for a sweep that still waits."""
        try:
            url = broker_url(self._settings)
            if not is_redis(url):
                await asyncio.to_thread(try_amqp, url)
                return PartHealth("broker", "ok"), None
            prefix = TRANSPORT_OPTIONS["global_keyprefix"]
            expires = await newest_expiry(url, f"{prefix}{QUEUE}", SWEEP)
        except LinkpoolError as error:
            return PartHealth("broker", "down", str(error)), None
        except Exception as error:  # noqa: BLE001 - a broker's library raises what it likes
            return PartHealth("broker", "down", type(error).__name__), None
        usual = timedelta(seconds=sweep_expires_seconds(self._settings.sweep_seconds))
        return PartHealth("broker", "ok"), expires - usual if expires else None

    async def _providers(self, heard: Heard | None) -> list[PartHealth]:
        found = []
        for name in self._settings.workspaces:
            part = f"provider:{name}"
            try:
                block = await self._store.blocks.of_workspace(name)
            except StoreError:
                found.append(PartHealth(part, "unknown", "Redis does not answer"))
                continue
            silent = heard.unanswered_seconds(name) if heard else 0.0
            if block is not None:
                since = from_ms(block.since_ms)
                found.append(PartHealth(part, "down", block.reason, since))
            elif silent > SILENT_SECONDS:
                since = self._now() - timedelta(seconds=silent)
                found.append(PartHealth(part, "down", "it does not answer", since))
            else:
                found.append(PartHealth(part, "ok"))
        return found


def work(heard: Heard, sweep_seconds: float, asked_at: datetime | None) -> list[PartHealth]:
    """Return the state of worker and beat, by pulses, by the last sweep, and by waiting sweeps.

    `asked_at` is when beat asked for the newest sweep that no worker has taken yet.
    """
    patience = 3 * sweep_seconds + 10
    now = from_ms(heard.now_ms)
    swept = from_ms(heard.swept_ms) if heard.swept_ms else None
    swept_lately = swept is not None and (now - swept).total_seconds() <= patience
    speaking = len(heard.speaking("worker"))
    if speaking or (swept_lately and not heard.always):
        said = f"{speaking} process{'es' if speaking != 1 else ''}" if speaking else ""
        worker = PartHealth("worker", "ok", said)
    elif swept is None:
        worker = PartHealth("worker", "down", NEVER_RAN)
    else:
        ages = [each.age_seconds for each in heard.pulses if each.pulse.role == "worker"]
        since = max(swept, now - timedelta(seconds=min(ages))) if ages else swept
        worker = PartHealth("worker", "down", "no worker is running", since)
    if swept_lately:
        beat = PartHealth("beat", "ok")
    elif asked_at is not None and (now - asked_at).total_seconds() <= patience:
        beat = PartHealth("beat", "ok", "it schedules work, but no worker takes it")
    elif swept is None:
        beat = PartHealth("beat", "down", "it has never scheduled work")
    else:
        quiet = duration_words((now - swept).total_seconds())
        beat = PartHealth("beat", "down", f"it has scheduled no work for {quiet}", swept)
    return [worker, beat]
