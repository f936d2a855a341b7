"""Claim links, and keep each customer's claim in Redis true."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterDownError, NoScriptError

from pool.errors import StoreUnavailable, UnknownMeeting
from pool.model.links import Claim
from pool.store import key_names, scripts
from pool.store.bindings import CustomerNames, pack, unpack
from pool.store.cluster.wire import ClusterWire
from pool.store.connect import store_errors
from pool.store.records import BATCH_LIMIT, Answer, AnsweredClaim, Batch, Replacing
from pool.store.replies import as_answer, as_batch, as_replacing, expect
from pool.store.together import Together
from pool.store.wire import Abandon, Wire

# After these errors, which mean that nothing was run, `claim` may still succeed: it sends the
# script's text along, or finds the slot on another master of the Redis Cluster.
_NOT_RUN = (NoScriptError, AskError, ClusterDownError)


class Claims:
    """The script calls for customers. Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, names: CustomerNames, wire: Wire | ClusterWire | None) -> None:
        self._redis = redis
        self._wire = wire
        self._claim_script = "claim"
        self._together: list[Together] | None = None  # within a block of `claims_together`
        self.names = names
        process = secrets.token_hex(8)
        self._echoes = (f"{process}{n:x}" for n in itertools.count())

    async def claim(self, sid: str, customers: Sequence[tuple[str, bytes]]) -> Batch:
        """Claim for up to BATCH_LIMIT customers, given as (customer name, payload).

        It may be repeated after a lost reply: no customer gets a second link. Raise Fenced, or
        UnknownMeeting if the meeting is not published in this Redis.
        """
        echo = next(self._echoes)
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
        connection was lost, this Redis does not know the script or the meeting, or the
        meeting's slot has moved.
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
                again = error.connection_lost or isinstance(reply, _NOT_RUN)
                result = None if again else error
            except Exception as error:  # noqa: BLE001 - passed on, like every other
                result = error
            on_result(result)

        if self._together is not None:
            return self._joined(len(customers)).add(names, args, replied)
        command = ("EVALSHA", scripts.sha1(self._claim_script), len(names), *names, *args)
        return self._wire.call_at_once(command, replied)

    @contextmanager
    def claims_together(self) -> Iterator[None]:
        """Make the claims that are made at once within the block by few script calls.

        Where pools have different slots, as on a Redis Cluster, only the writes are few.
        """
        if not isinstance(self._wire, Wire) or self._wire.has_slots:
            with nullcontext() if self._wire is None else self._wire.together():
                yield
            return
        together: list[Together] = []
        self._together = together
        try:
            yield
        finally:
            self._together = None
            for each in together:
                each.send()

    def _joined(self, customers: int) -> Together:
        """Return the script call of this block that has room for so many customers more."""
        assert isinstance(self._wire, Wire) and self._together is not None  # noqa: PT018, S101
        if not self._together or self._together[-1].customers + customers > BATCH_LIMIT:
            self._together.append(Together(self._wire, self._claim_script))
        return self._together[-1]

    def master_of(self, pool: str) -> object:
        """Return a value that identifies the master of a pool; always None on a single Redis."""
        if isinstance(self._wire, ClusterWire):
            return self._wire.master_of(pool)
        return None

    async def bind(self, sid: str, epoch: str, slug: str, name: str, payload: bytes) -> Answer:
        """Bind a link made on the spot, or put it into the pool if the customer has one by now.

        It must not be repeated after a lost reply: the link may have entered the pool.
        """
        echo = next(self._echoes)
        reply = await scripts.run(
            self._redis,
            "bind",
            _keys(sid, name),
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
        reply = await scripts.run(
            self._redis,
            "replace",
            _keys(sid, name),
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

    async def mark(
        self,
        sid: str,
        slug: str,
        customer_id: str | None,
        claim: Claim | None,
        *,
        instead_of: str = "",
    ) -> bool:
        """Make Redis agree with the ledger on a link that is booked (`claim`) or gone (None).

        A customer who holds another link by now keeps it, unless it is `instead_of` and not
        booked. Return True if the link was in the pool, from which it is taken. Repeating is
        harmless.
        """
        name = self.names.name(sid, customer_id) if customer_id is not None else "nobody"
        booked = customer_id is not None and claim is not None
        was_fresh, _ = await scripts.run(
            self._redis,
            "mark",
            [key_names.fresh(sid), key_names.binding(sid, name)],
            [
                slug,
                "consumed" if booked else "gone",
                pack(claim) if booked and claim else "",
                instead_of,
            ],
        )
        return bool(was_fresh == 1)

    async def count_booking(self, sid: str) -> None:
        """Count a booking of this meeting, for the history."""
        with store_errors():
            await self._redis.hincrby(key_names.demand(sid), "booked", 1)


def _keys(sid: str, name: str) -> list[str]:
    """Return the keys of scripts that give one customer a link."""
    *keys, _nudged = _keys_of_pool(sid)
    return [*keys, key_names.binding(sid, name)]


def _claim_call(
    sid: str, customers: Sequence[tuple[str, bytes]], echo: str
) -> tuple[list[str], list[Any]]:
    """Return the claim script's keys and arguments."""
    return [
        *_keys_of_pool(sid),
        *[key_names.binding(sid, name) for name, _ in customers],
    ], [echo, *[payload for _, payload in customers]]


@lru_cache(maxsize=16_384)
def _keys_of_pool(sid: str) -> tuple[str, ...]:
    """Return the keys that are the same for all customers of a pool."""
    return (
        key_names.epoch(sid),
        key_names.fresh(sid),
        key_names.claims(sid),
        key_names.meeting(sid),
        key_names.demand(sid),
        key_names.nudged(sid),
    )
