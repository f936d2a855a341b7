"""Check bookings as a state machine: any events happen, and are reported in any order.

A customer's link at a provider that makes bookings, children, reschedules in both styles,
cancels, confirms and rejects; each tells an event, which is delivered at once, late, again
hours later, or all in a row at the end. Then the ledger and Redis say what the provider's own
truth is.

    nice python -m tests.bookings_machine --sequences 5000 --seeds 7,8
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pool.ledger import EventState
from pool.model.links import State
from tests.any_redis import SECRET_KEY, AnyRedis
from tests.fake_redis import FakeRedisServer
from tests.in_process import InProcess, in_process

T = TypeVar("T")
SID = "intro"
STANDS = {"confirmed": True, "pending": True, "no_show": True}


def _id_of(sid: str) -> str:
    """Return the provider's own id of a booking."""
    return f"id-of-{sid}"


@dataclass
class Truth:
    """A booking as the provider has it."""

    sid: str
    status: str
    made: int
    changed: int
    starts: int
    parent: str | None
    held: bool = False  # whether it was ever more than a form that was not paid


class Product:
    """One product for all sequences: each has customers of its own."""

    def __init__(self, database_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.number = 0
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[InProcess] = self.loop.create_future()
        self._running = self.loop.create_task(self._serve(database_url))
        self.product = self.run(self._wait())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self._stop.set()
        self.run(asyncio.wait_for(self._running, 30))
        self.loop.close()

    async def _wait(self) -> InProcess:
        return await asyncio.wait_for(asyncio.shield(self._ready), 60)

    async def _serve(self, database_url: str) -> None:
        from pool.store import Store
        from pool.store.bindings import CustomerNames

        server = FakeRedisServer()

        def open_store() -> Store:
            return Store(server.client(), CustomerNames(SECRET_KEY))

        async def nothing() -> None:
            return None

        redis = AnyRedis(open_store(), server.client(), nothing, nothing, open_store)
        try:
            async with in_process(redis, database_url) as product:
                await product.ledger.upgrade()
                await product.meeting(SID)
                self._ready.set_result(product)
                await self._stop.wait()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise
        finally:
            await redis.close()


def machine(host: Product) -> type[RuleBasedStateMachine]:
    """Return the machine over this product."""

    class Bookings(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            host.number += 1
            self.name = f"{host.number}x{random.getrandbits(32):08x}"
            self.truths: list[Truth] = []
            self.told: list[bytes] = []
            self.waiting: list[int] = []
            self.second = 10

        @initialize()
        def claim(self) -> None:
            """Bind a link for the customer, and one for a bystander, which nothing may change."""
            host.run(self._claim())

        @rule(
            status=st.sampled_from(["confirmed", "pending", "incomplete", "no_show"]),
            slug=st.booleans(),
        )
        def create(self, status: str, slug: bool) -> None:
            self._make(status, parent=None, slug=slug)

        @precondition(lambda self: self.truths)
        @rule(data=st.data(), slug=st.booleans(), by_id=st.booleans())
        def child(self, data: st.DataObject, slug: bool, by_id: bool) -> None:
            parent = data.draw(st.sampled_from(self.truths))
            # Without a slug it is known by its parent alone, by the one name or the other.
            name = _id_of(parent.sid) if by_id else parent.sid
            self._make("confirmed", parent=name, slug=slug, email=slug)

        @precondition(lambda self: self._any(standing=True))
        @rule(data=st.data(), slug=st.booleans())
        def reschedule(self, data: st.DataObject, slug: bool) -> None:
            """Move the booking, which keeps its SID."""
            truth = self._draw(data, standing=True)
            truth.starts += 3_600
            self._change(truth, truth.status, "booking_rescheduled", slug=slug)

        @precondition(lambda self: self._any(standing=True))
        @rule(data=st.data(), slug=st.booleans())
        def reschedule_anew(self, data: st.DataObject, slug: bool) -> None:
            """Move the booking to a new SID, and cancel the old one."""
            old = self._draw(data, standing=True)
            self._make(old.status, parent=None, slug=slug)
            self._change(old, "cancelled", "booking_cancelled", slug=False)

        @precondition(lambda self: self._any(standing=True))
        @rule(data=st.data(), slug=st.booleans(), sid=st.booleans())
        def cancel(self, data: st.DataObject, slug: bool, sid: bool) -> None:
            truth = self._draw(data, standing=True)
            self._change(truth, "cancelled", "booking_cancelled", slug=slug, sid=sid)

        @precondition(lambda self: self._any("incomplete", "pending"))
        @rule(data=st.data(), slug=st.booleans())
        def confirm(self, data: st.DataObject, slug: bool) -> None:
            truth = self._draw(data, "incomplete", "pending")
            self._change(truth, "confirmed", "booking_created", slug=slug)

        @precondition(lambda self: self._any("pending"))
        @rule(data=st.data(), slug=st.booleans())
        def reject(self, data: st.DataObject, slug: bool) -> None:
            self._change(self._draw(data, "pending"), "rejected", "booking_created", slug=slug)

        @precondition(lambda self: self.told)
        @rule(data=st.data())
        def deliver(self, data: st.DataObject) -> None:
            """Deliver any event ever reported: one that waits, or one that came long ago."""
            number = data.draw(st.integers(0, len(self.told) - 1))
            if number in self.waiting:
                self.waiting.remove(number)
            host.run(self._receive(number))

        @rule(days=st.sampled_from([0, 30]))
        def settle(self, days: int) -> None:
            host.run(self._settle(days))

        def teardown(self) -> None:
            host.run(self._end())

        # -- at the provider

        def _make(self, status: str, *, parent: str | None, slug: bool, email: bool = True) -> None:
            self.second += 1
            truth = Truth(
                f"b{self.name}-{len(self.truths)}",
                status,
                self.second,
                self.second,
                86_400 + self.second,
                parent,
            )
            truth.held = status != "incomplete"
            self.truths.append(truth)
            self._tell(truth, "booking_created", slug=slug, email=email)

        def _change(
            self, truth: Truth, status: str, event: str, *, slug: bool, sid: bool = True
        ) -> None:
            self.second += 1
            truth.status, truth.changed = status, self.second
            truth.held |= status != "incomplete"
            self._tell(truth, event, slug=slug, email=False, sid=sid)

        def _tell(
            self, truth: Truth, event: str, *, slug: bool, email: bool, sid: bool = True
        ) -> None:
            def iso(second: int) -> str:
                return (self.claimed + timedelta(seconds=second)).isoformat()

            booking: dict[str, Any] = {
                "sid": truth.sid if sid else None,  # then its id alone says which one it is
                "id": _id_of(truth.sid),
                "status": truth.status,
                "created_at": iso(truth.made),
                "updated_at": iso(truth.changed),
                "starts_at": iso(truth.starts),
                "parent_booking_id": truth.parent,
                "email": f"{self.name}@x.test" if email else None,
                "form_responses": [{"field_code": "ref", "value": self.slug}] if slug else [],
            }
            self.waiting.append(len(self.told))
            self.told.append(json.dumps({"event": event, "booking": booking}).encode())

        def _any(self, *statuses: str, standing: bool = False) -> bool:
            return bool(self._those(statuses, standing=standing))

        def _draw(self, data: st.DataObject, *statuses: str, standing: bool = False) -> Truth:
            return data.draw(st.sampled_from(self._those(statuses, standing=standing)))

        def _those(self, statuses: tuple[str, ...], *, standing: bool) -> list[Truth]:
            return [
                each
                for each in self.truths
                if each.status in statuses or (standing and STANDS.get(each.status, False))
            ]

        # -- at linkpool

        async def _claim(self) -> None:
            from pool.store.records import payload

            product = host.product
            self.slug, self.other = f"one-off-{self.name}a", f"one-off-{self.name}b"
            await product.stock(SID, self.slug, self.other)
            for who in (self.name, f"other-{self.name}"):
                name = product.store.names.name(SID, who)
                batch = await product.store.claim(SID, [(name, payload(who, f"{who}@x.test"))])
                assert batch.answers[0].claim is not None
            await product.parts.recorder.record(SID)
            link = await product.ledger.links.get(self.slug)
            assert link is not None
            assert link.claimed_at is not None
            # Hours ago, so that what happens at the provider is not ahead of our clock.
            self.claimed = link.claimed_at - timedelta(hours=6)
            await product.ledger.links._database.change(_claimed_earlier(self.slug, self.claimed))

        async def _receive(self, number: int) -> None:
            body = self.told[number]
            signature = _sign(body)
            await host.product.parts.bookings.receive("default", body, [signature])

        async def _settle(self, days: int) -> bool:
            """Settle what is due after this time. Return True if there was anything."""
            product = host.product
            later = datetime.now(UTC) + timedelta(days=days)
            anything = bool(await product.ledger.inbox.reopen_unmatched(later))
            while await product.parts.bookings.settle_due():
                anything = True
            return anything

        async def _end(self) -> None:
            if not hasattr(self, "slug"):
                return
            product = host.product
            for number in reversed(self.waiting):
                await self._receive(number)
            for _ in range(len(self.truths) + 2):
                if not await self._settle(30):
                    break
            assert await product.ledger.inbox.count(EventState.PENDING) == 0
            assert await product.ledger.inbox.count(EventState.UNMATCHED) == 0
            kept = await product.ledger.bookings.of_link(self.slug)
            found = {each.sid: (each.state, each.starts_at, each.parent_sid) for each in kept}
            assert found == {
                each.sid: (
                    each.status,
                    self.claimed + timedelta(seconds=each.starts),
                    each.parent,
                )
                for each in self.truths
            }
            await self._check_link()

        async def _check_link(self) -> None:
            product = host.product
            standing = [each for each in self.truths if STANDS.get(each.status, False)]
            expected = State.CLAIMED
            if any(each.held for each in self.truths):
                expected = State.CONSUMED if standing else State.CANCELLED
            link = await product.ledger.links.get(self.slug)
            assert link is not None
            assert link.state is expected
            held = await product.store.claim_of(SID, self.name)
            if expected is State.CANCELLED:
                assert held is None
            else:
                assert held is not None
                assert held.state == expected.value
            if standing:
                first = min(standing, key=lambda each: (each.starts, each.made, each.sid))
                assert link.booking_sid == first.sid
                assert held is not None
                assert held.booked is not None
                assert (held.booked.sid, held.booked.state) == (first.sid, first.status)
            other = await product.ledger.links.get(self.other)
            assert other is not None
            assert other.state is State.CLAIMED

    return Bookings


def _claimed_earlier(slug: str, at: datetime) -> Any:
    from sqlalchemy import update

    from pool.ledger.tables import links

    return update(links).where(links.c.slug == slug).values(claimed_at=at)


def _sign(body: bytes) -> str:
    import hashlib
    import hmac

    secret = b"a secret of the tests, long enough"
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def play(database_url: str, sequences: int, number: int | None, *, steps: int = 12) -> None:
    """Play this many sequences. Raise at the first that ends wrongly, made as short as can be."""
    host = Product(database_url)
    try:
        made = machine(host)
        chosen = seed(number)(made) if number is not None else made
        run_state_machine_as_test(
            chosen,
            settings=settings(
                max_examples=sequences,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            ),
        )
    finally:
        host.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--sequences", type=int, default=5_000)
    parser.add_argument("--seeds", default="7,8", help="comma-separated")
    parser.add_argument("--databases", default="sqlite,postgresql", help="comma-separated")
    options = parser.parse_args()
    for database in options.databases.split(","):
        for number in map(int, options.seeds.split(",")):
            started = time.monotonic()
            with ExitStack() as stack:
                play(_database(database, stack.callback), options.sequences, number)
            taken = time.monotonic() - started
            print(f"{database}, seed {number}: {options.sequences} sequences, {taken:.0f} s")


def _database(kind: str, at_end: Callable[..., object]) -> str:
    if kind == "sqlite":
        directory = Path(tempfile.mkdtemp(prefix="bookings-"))
        at_end(shutil.rmtree, directory, ignore_errors=True)
        return f"sqlite:///{directory}/ledger.sqlite3"
    from tests.postgres import start_postgres

    server = start_postgres()
    at_end(shutil.rmtree, server.directory, ignore_errors=True)
    at_end(server.stop)
    return server.url("postgres")


if __name__ == "__main__":
    main()
