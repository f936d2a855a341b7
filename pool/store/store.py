"""Serve the pools of all meetings in one Redis: claims, stock and bookkeeping."""

from __future__ import annotations

import copy
import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from pool.errors import StoreUnavailable, UnknownMeeting
from pool.model.links import Claim
from pool.store import key_names, scripts
from pool.store.alerts import Alerts
from pool.store.bindings import CustomerNames, pack, unpack
from pool.store.blocks import Blocks
from pool.store.budget import Budget
from pool.store.claims_stream import ClaimsStream
from pool.store.connect import open_redis, store_errors
from pool.store.erasing import Erasing
from pool.store.history import History
from pool.store.locks import Locks
from pool.store.outlooks import Outlooks
from pool.store.published import Published
from pool.store.pulses import Pulses
from pool.store.records import (
    Answer,
    AnsweredClaim,
    Batch,
    Level,
    Replacing,
)
from pool.store.recovery import RecoverySteps
from pool.store.replies import as_answer, as_batch, as_level, as_replacing, expect
from pool.store.set_aside import SetAsides
from pool.store.stock import Stock
from pool.store.tallies import Tallies
from pool.store.wire import Abandon, Wire

_LOOK_AT = 25  # pools per script call


class Store:
    """Claims, stock and bookkeeping in Redis. A method takes one round trip unless it says more.

    Every method raises StoreUnavailable when Redis does not answer in time or refuses.
    """

    def __init__(self, redis: Redis, names: CustomerNames, wire: Wire | None = None) -> None:
        self._redis = redis
        self._wire = wire
        self._claim_script = "claim"
        self.names = names
        process = secrets.token_hex(8)
        self._echoes = (f"{process}{n:x}" for n in itertools.count())
        self.published = Published(redis)
        self.recovery = RecoverySteps(redis, names, wire)
        self.blocks = Blocks(redis)
        self.budget = Budget(redis)
        self.locks = Locks(redis)
        self.set_aside = SetAsides(redis)
        self.stock = Stock(redis)
        self.stream = ClaimsStream(redis, self.set_aside)
        self.tallies = Tallies(redis)
        self.pulses = Pulses(redis)
        self.history = History(redis, self.tallies)
        self.alerts = Alerts(redis)
        self.outlooks = Outlooks(redis)
        self.erasing = Erasing(redis)

    @classmethod
    def open(
        cls,
        url: str,
        secret_key: bytes,
        *,
        timeout_seconds: float = 2.0,
        max_connections: int = 32,
        **parts: Any,
    ) -> Self:
        """Return a store that connects when first used. A subclass's constructor gets `parts`."""
        redis = open_redis(url, timeout_seconds=timeout_seconds, max_connections=max_connections)
        return cls(redis, CustomerNames(secret_key), Wire(redis), **parts)

    def above_reserve(self) -> Self:
        """Return a store on the same connections whose claims leave each meeting's reserve."""
        other = copy.copy(self)
        other._claim_script = "public_claim"
        return other

    async def close(self) -> None:
        """Close all connections."""
        if self._wire is not None:
            self._wire.close()
        # A client does not close a pool that was passed to it unless asked to.
        await self._redis.aclose(close_connection_pool=True)

    async def ping(self) -> None:
        """Return if Redis answers."""
        with store_errors():
            await self._redis.ping()

    async def info(self) -> dict[str, Any]:
        """Return what Redis's INFO says."""
        with store_errors():
            return dict(await self._redis.info())

    async def replicas_to_write(self) -> tuple[int | None, int | None]:
        """Return how many replicas a master must reach to write, and within how many seconds.

        Both are None where this Redis does not say.
        """
        try:
            found: Any = await self._redis.config_get("min-replicas-*")
        except RedisError:
            return None, None
        names = "min-replicas-to-write", "min-replicas-max-lag"
        least, lag = (int(found[name]) if name in found else None for name in names)
        return least, lag

    async def now_ms(self) -> int:
        """Return milliseconds since 1970 by Redis's clock, which all processes share."""
        with store_errors():
            seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def heartbeat(self, now_ms: int) -> None:
        """Note that a worker ran a sweep."""
        with store_errors():
            await self._redis.set(key_names.HEARTBEAT, now_ms)

    async def last_heartbeat_ms(self) -> int | None:
        """Return when a worker last ran a sweep, or None if none did."""
        with store_errors():
            value = await self._redis.get(key_names.HEARTBEAT)
        return int(value) if value else None

    # -- claims ----------------------------------------------------------------

    async def claim(self, sid: str, customers: Sequence[tuple[str, bytes]]) -> Batch:
        """Claim for up to BATCH_LIMIT customers, given as (customer name, payload).

        It may be repeated after a lost reply: no customer gets a second link. Raise Fenced, or
        UnknownMeeting if the meeting is not published in this Redis.
        """
        echo = next(self._echoes)
        with store_errors():
            reply = await scripts.run(
                self._redis if self._wire is None else self._wire,
                self._claim_script,
                *_claim_call(sid, customers, echo),
            )
        return as_batch(reply, echo, sid)

    def claim_at_once(
        self,
        sid: str,
        customers: Sequence[tuple[str, bytes]],
        on_result: Callable[[Batch | Exception | None], None],
    ) -> Abandon | None:
        """Claim as `claim` does, but without waiting.

        Return None, with nothing done, if no connection is ready. Otherwise `on_result`, which must
        not raise, is called once with what `claim` returns or raises, unless the call is
        abandoned first. It is called with None where asking again by `claim` may help: the
        connection was lost, or this Redis does not know the script or the meeting.
        """
        if self._wire is None:
            return None
        echo = next(self._echoes)
        names, args = _claim_call(sid, customers, echo)

        def replied(reply: Any) -> None:
            result: Batch | Exception | None
            try:
                result = as_batch(reply, echo, sid)
            except UnknownMeeting:
                result = None
            except StoreUnavailable as error:
                again = error.connection_lost or isinstance(reply, NoScriptError)
                result = None if again else error
            except Exception as error:  # noqa: BLE001 - passed on, like every other
                result = error
            on_result(result)

        command = ("EVALSHA", scripts.sha1(self._claim_script), len(names), *names, *args)
        return self._wire.call_at_once(command, replied)

    async def bind(self, sid: str, epoch: str, slug: str, name: str, payload: bytes) -> Answer:
        """Bind a link made on the spot, or put it into the pool if the customer has one by now.

        It must not be repeated after a lost reply: the link may have entered the pool.
        """
        echo = next(self._echoes)
        with store_errors():
            reply = await scripts.run(
                self._redis,
                "bind",
                [
                    key_names.epoch(sid),
                    key_names.fresh(sid),
                    key_names.claims(sid),
                    key_names.meeting(sid),
                    key_names.demand(sid),
                    key_names.binding(sid, name),
                ],
                [echo, epoch, slug, payload],
            )
        expect(reply, echo, sid)
        return as_answer(reply[2])

    async def replace(
        self, sid: str, name: str, old: str, payload: bytes, reason: str, *, made: str = ""
    ) -> Replacing:
        """Give a customer another link instead of `old`: the oldest of the pool, or `made`.

        The ledger has the row of `made` already. It may be repeated after a lost reply. Raise
        Fenced or UnknownMeeting.
        """
        echo = next(self._echoes)
        with store_errors():
            reply = await scripts.run(
                self._redis,
                "replace",
                [
                    key_names.epoch(sid),
                    key_names.fresh(sid),
                    key_names.claims(sid),
                    key_names.meeting(sid),
                    key_names.demand(sid),
                    key_names.binding(sid, name),
                ],
                [echo, old, payload, reason, made],
            )
        expect(reply, echo, sid)
        return as_replacing(reply[2])

    async def claim_of(self, sid: str, customer_id: str) -> Claim | None:
        """Return the customer's binding, or None if there is none."""
        with store_errors():
            value: Any = await self._redis.get(
                key_names.binding(sid, self.names.name(sid, customer_id))
            )
        return unpack(value.decode()) if value else None

    async def assert_again(self, sid: str, claims: Sequence[AnsweredClaim]) -> int:
        """Assert claims that were answered before a fence fell. Return the number of conflicts."""
        names = [self.names.name(sid, redo.customer_id) for redo in claims]
        args: list[Any] = []
        for redo in claims:
            args += [pack(redo.claim), redo.ttl_ms, redo.payload]
        with store_errors():
            conflicts = await scripts.run(
                self._redis,
                "redo",
                [
                    key_names.fresh(sid),
                    key_names.claims(sid),
                    key_names.demand(sid),
                    *(key_names.binding(sid, name) for name in names),
                ],
                args,
            )
        return int(conflicts)

    async def mark(self, sid: str, slug: str, customer_id: str | None, claim: Claim | None) -> bool:
        """Make Redis agree with the ledger on a link that is booked (`claim`) or gone (None).

        Return True if the link was in the pool, from which it is taken. Repeating is harmless.
        """
        name = self.names.name(sid, customer_id) if customer_id is not None else "nobody"
        booked = customer_id is not None and claim is not None
        with store_errors():
            was_fresh, _ = await scripts.run(
                self._redis,
                "mark",
                [key_names.fresh(sid), key_names.binding(sid, name)],
                [slug, "consumed" if booked else "gone", pack(claim) if booked and claim else ""],
            )
        return bool(was_fresh == 1)

    async def count_booking(self, sid: str) -> None:
        """Count a booking of this meeting, for the history."""
        with store_errors():
            await self._redis.hincrby(key_names.demand(sid), "booked", 1)

    # -- stock -----------------------------------------------------------------

    async def add(self, sid: str, epoch: str, slugs: Sequence[str], made_at_ms: int) -> int:
        """Put links whose ledger rows carry `epoch` into the pool. Return the level after that.

        It must never be repeated: when its outcome is in doubt, the links must be quarantined.
        Raise Fenced if the pool is of another epoch by now.
        """
        echo = next(self._echoes)
        with store_errors():
            reply = await scripts.run(
                self._redis,
                "add",
                [key_names.epoch(sid), key_names.fresh(sid), key_names.demand(sid)],
                [echo, epoch, made_at_ms, *slugs],
            )
        expect(reply, echo, sid)
        return int(reply[3])

    async def newest_ms(self, sid: str) -> int | None:
        """Return when the pool's youngest link was made (ms), or None if the pool is empty."""
        with store_errors():
            newest: Any = await self._redis.zrange(key_names.fresh(sid), -1, -1, withscores=True)
        return int(newest[0][1]) if newest else None

    async def look(self, sids: Sequence[str]) -> list[Level]:
        """Return the levels of these pools, in their order, in one pipeline."""
        if not sids:
            return []
        with store_errors():
            levels = await self._look(sids)
            if levels is None:  # this server does not know the script yet
                await self._redis.script_load(scripts.source("look"))
                levels = await self._look(sids)
        if levels is None:
            raise StoreUnavailable("Redis does not keep the scripts it is given")
        return levels

    async def _look(self, sids: Sequence[str]) -> list[Level] | None:
        pipe = self._redis.pipeline(transaction=False)
        sha = scripts.sha1("look")
        # Some pools per call: a call for each would find out anew which server it is on, and one
        # call for all would make claims wait.
        for start in range(0, len(sids), _LOOK_AT):
            named = [name for sid in sids[start : start + _LOOK_AT] for name in _looked_at(sid)]
            pipe.evalsha(sha, len(named), *named)
        replies = await pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                if "NOSCRIPT" in str(reply) or type(reply).__name__ == "NoScriptError":
                    return None
                raise reply
        parts = (
            (int(now_ms), identity.decode(), part)
            for now_ms, identity, *parts in replies
            for part in parts
        )
        return [as_level(sid, *part) for sid, part in zip(sids, parts, strict=True)]


def _claim_call(
    sid: str, customers: Sequence[tuple[str, bytes]], echo: str
) -> tuple[list[str], list[Any]]:
    """Return the claim script's keys and arguments."""
    return [
        key_names.epoch(sid),
        key_names.fresh(sid),
        key_names.claims(sid),
        key_names.meeting(sid),
        key_names.demand(sid),
        key_names.nudged(sid),
        *[key_names.binding(sid, name) for name, _ in customers],
    ], [echo, *[payload for _, payload in customers]]


def _looked_at(sid: str) -> tuple[str, ...]:
    return (
        key_names.epoch(sid),
        key_names.fresh(sid),
        key_names.claims(sid),
        key_names.demand(sid),
        key_names.block(sid),
        key_names.meeting(sid),
    )
