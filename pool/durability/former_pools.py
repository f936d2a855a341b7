"""Close the pools that a meeting had before its number of shards was changed.

Each customer is served by one pool, and another number of shards makes that another pool. So no
pool of the new number may hand out links before all pools of any other number are closed for good
and the ledger has all that they handed out. The new pools are loaded from there.

This rests on the ledger's fact `opened:<pool>`. A process that opens a pool takes its lock, then
writes the fact, and only then reads the meeting's number of shards. If it read the old number, a
process that opens pools of the new one finds the fact and closes the pool. Closing takes the lock
away, which the first process notices at its next step.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from pool.durability.rebinding import CALL, drop_forgotten, drop_served, keep
from pool.durability.recorder import Recorder
from pool.durability.strangers import OPENED
from pool.ledger import Ledger
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.model.pools import SHARDS_MOST, pool_names, pool_of_epoch, shards_of, sid_of
from pool.store import Store, key_names
from pool.store.locks import Held
from pool.store.recovery import RecoveryLost

log = structlog.get_logger()

_SPREAD = "spread:"  # `spread:sid/shards`: the meeting once had this number of shards
OPENING = "opening"  # the fact of a pool that is being opened for the first time
_CLOSED, _CLEARED = "closed:", "cleared"  # `closed:<milliseconds since 1970>`
CLEAR_AFTER_SECONDS = 300.0  # by then every process knows of the change
GRACE_SECONDS = 1.0  # for API processes to assert again what they answered


def is_open(fact: str) -> bool:
    """Return True if this fact is of a pool that may hand out links."""
    return not fact.startswith(_CLOSED) and fact != _CLEARED


def was_opened(fact: str | None) -> bool:
    """Return True if this fact is of a pool that had been opened and was not closed since."""
    return fact is not None and fact != OPENING and is_open(fact)


def reshaped(opened: Mapping[str, str], pools: Sequence[str]) -> set[str]:
    """Return the SIDs of meetings that may still have open pools of another number of shards.

    `opened` are the ledger's facts on opened pools. This release opens no such pool once the new
    ones are open, but a worker of an older release may.
    """
    spread: dict[str, set[int]] = {}
    for pool, fact in opened.items():
        if ":" in pool and was_opened(fact):
            spread.setdefault(sid_of(pool), set()).add(shards_of(pool))
    found = set()
    for pool in pools:
        sid, shards = sid_of(pool), shards_of(pool)
        if spread.get(sid, set()) - {shards} or (shards > 1 and was_opened(opened.get(sid))):
            found.add(sid)
    return found


class FormerPools:
    """Closes former pools, and later clears what is left of them in Redis."""

    def __init__(self, store: Store, ledger: Ledger, recorder: Recorder) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        # Pools of one meeting that are opened at the same time close its former pools once.
        self._closing: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def in_the_way(self, pools: Sequence[str]) -> set[str]:
        """Return the SIDs of these pools' meetings whose former pools are not all closed."""
        if not pools:
            return set()
        return reshaped(await self._ledger.facts.beginning_with(OPENED), pools)

    async def make_way(self, pool: str) -> str | None:
        """Close all pools that this one replaces, before it may be opened.

        The caller holds the lock of its recovery. Return the fact on this pool as it was. Raise
        RecoveryLost if the meeting has another number of shards by now, or is gone.
        """
        sid = sid_of(pool)
        known = await self._facts(sid)
        # A pool named by the SID that has no fact at all is closed in any case, below.
        if not was_opened(known.get(pool)) and (pool != sid or pool in known):
            if pool != sid:
                await self._ledger.facts.put(f"{_SPREAD}{sid}/{shards_of(pool)}", "")
            await self._ledger.facts.put(f"{OPENED}{pool}", OPENING)
        meeting = await self.check(pool)
        async with self._closing[sid]:
            # Read once more: another pool may have been opened or closed since.
            facts = await self._facts(sid)
            former = [each for each in facts if each not in meeting.pools and is_open(facts[each])]
            if meeting.shards > 1 and sid not in facts:
                former.append(sid)  # its pool may be older than these facts
            if former:
                await self._close(sid, former, facts)
        return known.get(pool)

    async def check(self, pool: str) -> Meeting:
        """Return the meeting of a pool. Raise RecoveryLost if it has other pools by now."""
        sid = sid_of(pool)
        meeting = await self._ledger.meetings.get(sid)
        if meeting is None or pool not in meeting.pools:
            raise RecoveryLost(f"meeting {sid} has another number of shards by now")
        return meeting

    async def _facts(self, sid: str) -> dict[str, str]:
        """Return the facts on the meeting's pools, by their names.

        They are asked for by name: to search all facts for each of thousands of meetings would
        take too long.
        """
        numbers = [f"{_SPREAD}{sid}/{shards}" for shards in range(2, SHARDS_MOST + 1)]
        pools = [sid]
        for name in await self._ledger.facts.named(numbers):
            pools += pool_names(sid, int(name.rpartition("/")[2]))
        found = await self._ledger.facts.named([f"{OPENED}{pool}" for pool in pools])
        return {name.removeprefix(OPENED): fact for name, fact in found.items()}

    async def _close(self, sid: str, former: Sequence[str], facts: Mapping[str, str]) -> None:
        unseen = set()  # epochs of pools that forgot nothing, so nobody has seen their fresh links
        forgetful = False
        for pool in former:
            # A file of Redis that bears a seal of this pool must not be believed later.
            await self._ledger.meetings.seal(pool, secrets.token_hex(16))
            closed = await self._store.recovery.close(pool)
            await self._store.recovery.carry(sid, closed.totals)
            if closed.stood and facts.get(pool, closed.epoch) == closed.epoch:
                unseen.add(closed.epoch)
            elif closed.epoch or was_opened(facts.get(pool)):
                forgetful = True
        if forgetful:
            # API processes assert again what they answered.
            await asyncio.sleep(GRACE_SECONDS)
        for pool in former:
            await self._recorder.record_pool(pool)
        epochs: dict[bool, list[str]] = {True: [], False: []}
        for epoch in await self._ledger.links.fresh_epochs(sid):
            if pool_of_epoch(sid, epoch) in former:
                epochs[epoch in unseen].append(epoch)
        now, gone = datetime.now(UTC), 0
        for were_unseen, some in epochs.items():
            state = State.RETIRED if were_unseen else State.QUARANTINED
            gone += await self._ledger.links.quarantine_fresh(sid, at=now, epochs=some, state=state)
        closed_now = f"{_CLOSED}{int(time.time() * 1000)}"
        for pool in former:
            name = f"{OPENED}{pool}"
            if not await self._ledger.facts.replace(name, facts.get(pool), closed_now):
                # It was closed by another process, or is being opened again, and then stays open.
                fact = await self._ledger.facts.get(name)
                if fact is None or is_open(fact):
                    raise RecoveryLost(f"{pool} is opened again")
        log.info("former pools closed", meeting=sid, pools=len(former), links=gone)

    # -- clearing ------------------------------------------------------------------

    async def clear(self, *, after_seconds: float = CLEAR_AFTER_SECONDS) -> int:
        """Clear the pools that were closed a while ago out of Redis. Return their number.

        A pool that cannot be cleared now is tried again by the next call.
        """
        facts = await self._ledger.facts.beginning_with(OPENED)
        until_ms = (time.time() - after_seconds) * 1000
        cleared = 0
        for pool, fact in facts.items():
            if fact.startswith(_CLOSED) and int(fact.removeprefix(_CLOSED)) <= until_ms:
                name = key_names.recovery_lock(pool)
                async with self._store.locks.held(name) as lock:
                    if lock is None:
                        continue
                    try:
                        cleared += await self._clear(pool, fact, lock)
                    except RecoveryLost as lost:
                        log.warning("former pool not cleared", pool=pool, reason=str(lost))
        return cleared

    async def _clear(self, pool: str, fact: str, lock: Held) -> bool:
        sid = sid_of(pool)
        if await self._ledger.facts.get(f"{OPENED}{pool}") != fact:
            return False  # it was opened again
        await self._recorder.record_pool(pool)
        await self._check_former(pool)
        name_of = self._store.names.name
        async for bindings in self._ledger.links.live_bindings(sid):
            for start in range(0, len(bindings), CALL):
                some = bindings[start : start + CALL]
                named = ((name_of(sid, each.customer_id), each.slug) for each in some)
                await drop_served(self._store, pool, lock, named)
            await keep(lock, pool)
            await self._check_former(pool)
        await drop_forgotten(self._store, self._ledger, pool, lock)
        await self._store.recovery.clear(pool, lock.token)
        await self._ledger.facts.put(f"{OPENED}{pool}", _CLEARED)
        return True

    async def _check_former(self, pool: str) -> None:
        """Raise RecoveryLost if the pool is one of the meeting's again: it must not wait."""
        meeting = await self._ledger.meetings.get(sid_of(pool))
        if meeting is not None and pool in meeting.pools:
            raise RecoveryLost(f"{pool} is opened again")
