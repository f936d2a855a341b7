"""Seal pools before a planned stop, and recover them after Redis may have forgotten claims.

This says which pools must be recovered, recovers several at a time, and notes what it cost;
pool/durability/reopening.py has the steps for each pool.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence

import structlog

from pool.durability.former_pools import GRACE_SECONDS, FormerPools, reshaped
from pool.durability.recorder import Recorder
from pool.durability.reopening import Recovered, Reopening
from pool.durability.strangers import OPENED, Strangers
from pool.errors import LinkpoolError, StoreUnavailable, is_away
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from pool.model.pools import sid_of
from pool.store import Store, key_names
from pool.store.records import Level
from pool.store.recovery import RecoveryLost

log = structlog.get_logger()

AT_ONCE = 8  # pools that are recovered at the same time


class PoolRecovery:
    """Seals and recovers pools."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        *,
        redis_forgets: bool,
        fallen: Callable[[int], object],
        counted: Callable[[str, str, int], object] = lambda _sid, _name, _links: None,
    ) -> None:
        self._fallen = fallen
        self._counted = counted
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self.strangers = Strangers(store, ledger)
        self.former = FormerPools(store, ledger, recorder)
        self._reopening = Reopening(
            store, ledger, recorder, self.former, redis_forgets=redis_forgets
        )

    async def seal(self, pools: Iterable[str]) -> list[str]:
        """Stop handing out links of these pools until Redis is restarted.

        Return the pools whose seal the ledger knows; they survive a planned stop.
        """
        sealed = []
        for pool in pools:
            token = secrets.token_hex(16)
            try:
                if await self._store.recovery.seal(pool, token):
                    await self._recorder.record_pool(pool)
                    await self._ledger.meetings.seal(pool, token)
                    sealed.append(pool)
            except LinkpoolError as error:
                if is_away(error):
                    raise
                log.warning("not sealed", pool=pool, reason=str(error))
        return sealed

    async def unseal(self, pools: Iterable[str]) -> list[str]:
        """Remove the seals set on this very server, which has forgotten nothing since.

        Return the pools that serve again.
        """
        results = [(pool, await self._recover(pool, 0.0, unseal=True)) for pool in pools]
        await self._note(results)
        return [pool for pool, (result, _) in results if result is Recovered.ADOPTED]

    async def fallen(self, levels: Sequence[Level]) -> list[str]:
        """Return the names of the pools that must be recovered, the busiest first.

        Of thousands of pools the last waits for minutes. A fence also counts as fallen if the pool
        has been opened on another server since. In a failover that is reverted, the first master
        may never learn that there was another, although the other answered customers and the ledger
        set the first one's links aside. The same holds if the meeting has had a pool of another
        number of shards since.
        """
        opened = await self._ledger.facts.beginning_with(OPENED)
        again = reshaped(opened, [level.sid for level in levels])
        return [
            level.sid
            for level in sorted(levels, key=lambda each: -each.claims_per_second)
            if level.fence in ("fallen", "foreign")
            or (
                level.fence == "stands"
                and (
                    opened.get(level.sid, level.epoch) != level.epoch or sid_of(level.sid) in again
                )
            )
        ]

    async def recover(self, pool: str, *, grace_seconds: float = GRACE_SECONDS) -> Recovered:
        """Make a pool serve again if its fence has fallen. Safe to call at any time."""
        return (await self.recover_all([pool], grace_seconds=grace_seconds, failed=_raise))[pool]

    async def recover_all(
        self,
        pools: Iterable[str],
        *,
        grace_seconds: float = GRACE_SECONDS,
        failed: Callable[[str, Exception], object] | None = None,
        costs: dict[str, int] | None = None,
    ) -> dict[str, Recovered]:
        """Recover many pools, some at a time. Return the results by the pools' names.

        All of them together are one entry of the audit log. `costs`, if given, gets the number
        of links that were quarantined, by SID of the meetings whose pools lost theirs.

        A pool that fails does not stop the others; it is passed to `failed`, and the next call
        tries it again. Raise StoreUnavailable or LedgerUnavailable when several pools in a row fail
        with it, since Redis or the ledger is then away.
        """
        slots = asyncio.Semaphore(AT_ONCE)
        report = failed or _log_failure
        away = 0
        results: list[tuple[str, tuple[Recovered, int]]] = []

        async def one(pool: str) -> None:
            nonlocal away
            async with slots:
                try:
                    recovered = await self._recover(pool, grace_seconds, unseal=False)
                except Exception as error:
                    away = away + 1 if is_away(error) else away
                    if away > AT_ONCE:
                        raise
                    report(sid_of(pool), error)
                    recovered = Recovered.FAILED, 0
                else:
                    away = 0
                results.append((pool, recovered))

        try:
            async with asyncio.TaskGroup() as group:
                for pool in pools:
                    group.create_task(one(pool))
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        finally:
            await self._note(results, costs)
        return {pool: result for pool, (result, _) in results}

    async def _note(
        self,
        results: Sequence[tuple[str, tuple[Recovered, int]]],
        costs: dict[str, int] | None = None,
    ) -> None:
        """Write what recoveries cost to the audit log, in one entry for all pools."""
        noted = {
            pool: (result, quarantined)
            for pool, (result, quarantined) in sorted(results)
            if result in (Recovered.ADOPTED, Recovered.QUARANTINED)
        }
        if not noted:
            return
        quarantined = sum(links for _, links in noted.values())
        if costs is not None:
            for pool, (result, links) in noted.items():
                if result is Recovered.QUARANTINED:
                    costs[sid_of(pool)] = costs.get(sid_of(pool), 0) + links
        all_adopted = all(result is Recovered.ADOPTED for result, _ in noted.values())
        outcome = Recovered.ADOPTED if all_adopted else Recovered.QUARANTINED
        detail: dict[str, object] = {"quarantined": quarantined}
        if len(noted) > 1:
            detail = {"pools": len(noted), **detail}
        sids = {sid_of(pool) for pool in noted}
        sid = next(iter(sids)) if len(sids) == 1 else None
        await self._ledger.audit.add("linkpool", "recover", sid, outcome.value, detail)

    async def _recover(
        self, pool: str, grace_seconds: float, *, unseal: bool
    ) -> tuple[Recovered, int]:
        """Recover one pool. Return the result, and how many links it cost."""
        sid = sid_of(pool)
        level = (await self._store.look([pool]))[0]
        if level.fence == "stands" and not await self.fallen([level]):
            return Recovered.STANDS, 0
        if level.fence == "unreadable":
            log.error("not recovered", meeting=sid, reason=level.problem)
            return Recovered.FAILED, 0
        if level.fence == "sealed" and not unseal:
            return Recovered.SEALED, 0
        meeting = await self._ledger.meetings.get(sid)
        if meeting is None:
            return Recovered.UNKNOWN, 0
        async with self._store.locks.held(key_names.recovery_lock(pool)) as lock:
            if lock is None:
                return Recovered.BUSY, 0
            try:
                await self._publish(meeting)
                before = await self.former.make_way(pool)
                result, quarantined = await self._reopening.reopen(
                    pool, lock, grace_seconds, before
                )
            except RecoveryLost as lost:
                log.warning("recovery gave way", meeting=sid, reason=str(lost))
                return Recovered.BUSY, 0
        log.info("recovered", pool=pool, result=result.value, quarantined=quarantined)
        if result is Recovered.QUARANTINED:
            self._fallen(quarantined)
            await self._store.blocks.probe_now(sid, meeting.workspace)
            await self._store.alerts.fence_fell()
            self._counted(sid, "quarantined", quarantined)
            if pool == sid:
                # It is refilled before the next sweep sees that it was empty.
                await self._store.history.note_dip(sid, 0)
        return result, quarantined

    async def _publish(self, meeting: Meeting) -> None:
        try:
            await self._store.published.put([meeting])
        except StoreUnavailable as error:
            # Of several pools, one may be on a master that is away; this one need not wait for it.
            if meeting.shards == 1 or not error.of_one_master:
                raise


def _raise(_sid: str, error: Exception) -> None:
    raise error


def _log_failure(sid: str, error: Exception) -> None:
    log.error("pool not recovered yet", meeting=sid, reason=str(error))
