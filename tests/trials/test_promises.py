"""Test the promises under any order of claims, stock, bookings, crashes and older files.

A model beside the product remembers what was answered to whom. Redis is real and is
killed, emptied and put back to older files; the ledger is SQLite, or PostgreSQL with `--ledger
postgresql`. Time that must pass is made to pass: bindings expire by hand, and the clock of recent
claims is the machine's own.

LINKPOOL_HYPOTHESIS_EXAMPLES says how many sequences of up to 30 steps are tried.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from pool.durability.recent_claims import KEPT_SECONDS, RecentClaims
from pool.durability.reopening import Recovered
from pool.errors import Fenced
from pool.ledger import Ledger
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.providers import NewLink
from pool.store import Store, key_names
from pool.store.records import AnsweredClaim, Outcome, payload
from pool.supply.pool_writer import PoolWriter
from tests.any_redis import SECRET_KEY, AnyRedis, copy_of_its_file, start_from_copy
from tests.aside import in_thread
from tests.redis_process import RedisServer
from tests.unit.recovery_stage import BASE, SID, stage_on

EXAMPLES = int(os.environ.get("LINKPOOL_HYPOTHESIS_EXAMPLES", "40"))
STEPS = 30
TTL_SECONDS = 3_600

T = TypeVar("T")
customers = st.sampled_from("abcdefgh")
numbers = st.integers(0, 10_000)  # one of several, whatever there is


class Promises(RuleBasedStateMachine):
    """One meeting, eight customers, and everything that can happen to them."""

    server: RedisServer
    directory: Path
    new_ledger: Callable[[], str]  # returns the address of one with tables and nothing in them
    links_given: ClassVar[int] = 0  # in all sequences

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        self.ledger_url = type(self).new_ledger()
        empty = self.directory / "empty"
        empty.mkdir()
        start_from_copy(self.server, empty)
        # The model.
        self.given: dict[str, str] = {}  # every slug that was ever answered, and to whom
        self.holds: dict[str, str] = {}  # the link that each customer must get
        self.recent: set[str] = set()  # slugs bound in the last seconds
        self.booked: set[str] = set()  # those of them that are consumed
        self.unsure: set[str] = set()  # customers whose claim nobody can vouch for
        self.bookings = 0
        self.stands = False
        self.sealed = False
        self.good_seal = ""  # the token of a seal that may still be adopted, once
        self.paused = False
        self.made = 0
        self.copies: list[Path] = []
        self.numbers = itertools.count()
        self.old_epoch = "an epoch before"
        self.now = 0.0

    def run(self, step: Awaitable[T]) -> T:
        return self.loop.run_until_complete(step)

    @initialize(after_booking=st.sampled_from(["same", "new"]), stock=st.integers(0, 12))
    def open(self, after_booking: Any, stock: int) -> None:
        meeting = Meeting(SID, claim_ttl_seconds=TTL_SECONDS, after_booking=after_booking)
        self.run(self._open(meeting, stock))

    async def _open(self, meeting: Meeting, stock: int) -> None:
        self.meeting = meeting
        self.ledger = Ledger.open(self.ledger_url)
        self.store = Store.open(self.server.url(), SECRET_KEY)
        self.bare = Redis.from_url(self.server.url(), protocol=2)
        self.stage = stage_on(
            AnyRedis(self.store, self.bare, self._nothing, self._nothing, lambda: self.store),
            self.ledger,
        )
        self.recent_claims = RecentClaims(clock=lambda: self.now)
        await self.ledger.meetings.put(meeting)
        assert await self.stage.recover() is Recovered.OPENED
        self.stands = True
        await self._top_up(stock)

    async def _nothing(self) -> None:
        """Do nothing: the machine restarts its server itself."""

    def teardown(self) -> None:
        try:
            if self.stands or self.sealed or hasattr(self, "stage"):
                self.run(self._final())
        finally:
            if hasattr(self, "stage"):
                self.run(self._close())
            self.loop.close()
            type(self).links_given += len(self.given)

    async def _close(self) -> None:
        await self.store.close()
        await self.bare.aclose()
        await self.ledger.close()

    # -- claims --------------------------------------------------------------------

    @rule(who=st.lists(customers, min_size=1, max_size=6))
    def claim(self, who: list[str]) -> None:
        self.run(self._claim(who, reply_lost=False))

    @rule(who=customers)
    def claim_one(self, who: str) -> None:
        self.run(self._claim([who], reply_lost=False))

    @rule(number=st.integers(1, 6), who=st.lists(customers, min_size=1, max_size=6))
    def top_up_and_claim(self, number: int, who: list[str]) -> None:
        self.run(self._top_up(number))
        self.run(self._claim(who, reply_lost=False))

    @rule(who=st.lists(customers, min_size=1, max_size=3))
    def claim_and_lose_the_reply(self, who: list[str]) -> None:
        self.run(self._claim(who, reply_lost=True))

    async def _claim(self, who: list[str], reply_lost: bool) -> None:
        batch = [(self.store.names.name(SID, each), payload(each)) for each in who]
        if not self.stands:
            with pytest.raises(Fenced):
                await self.store.claim(SID, batch)
            return
        answers = (await self.store.claim(SID, batch)).answers
        self.recent |= {
            answer.claim.slug
            for answer in answers
            if answer.claim is not None and answer.outcome is Outcome.NEW
        }
        for each, answer in zip(who, answers, strict=True):
            if reply_lost:
                # Nobody was told; the link may be bound all the same.
                self._doubt(each)
            elif answer.claim is None:
                assert self.due(each) is None or each in self.unsure, (
                    "a customer with a live link got none"
                )
                assert answer.outcome is (Outcome.PAUSED if self.paused else Outcome.EMPTY)
            else:
                self._answered(each, answer.claim.slug, answer.outcome)
                # As the desk does: bound now, or so lately that its first reply may be lost.
                if answer.outcome is Outcome.NEW or answer.claim.slug in self.recent:
                    self.recent_claims.remember(
                        SID, [AnsweredClaim(each, answer.claim, TTL_SECONDS * 1000, payload(each))]
                    )

    def due(self, who: str) -> str | None:
        """Return the link that a claim of this customer must be answered with, if it is known."""
        slug = self.holds.get(who)
        if slug in self.booked and self.meeting.after_booking == "new":
            return None
        return slug

    def _doubt(self, who: str) -> None:
        if self.due(who) is None:
            self.unsure.add(who)

    def _answered(self, who: str, slug: str, outcome: Outcome) -> None:
        """Check promises 1 and 2."""
        assert self.given.setdefault(slug, who) == who, "one link, two customers"
        due = self.due(who)
        if who in self.unsure:
            self.unsure.discard(who)
        elif due is not None:
            assert slug == due, "a customer with a live link got another"
            assert outcome is Outcome.REUSED
        else:
            assert slug != self.holds.get(who), "a booked link was given again"
            assert outcome is Outcome.NEW
        self.holds[who] = slug

    @rule(who=customers)
    def make_on_the_spot(self, who: str) -> None:
        self.run(self._direct(who))

    async def _direct(self, who: str) -> None:
        [level] = await self.store.look([SID])
        assert (level.fence == "stands") is self.stands
        if not self.stands:
            return
        [slug] = self._new_slugs(1)
        await self.ledger.links.insert_fresh([self._link(slug, level.epoch, "direct")])
        name = self.store.names.name(SID, who)
        answer = await self.store.bind(SID, level.epoch, slug, name, payload(who))
        if answer.claim is None:
            assert self.paused
        else:
            self._answered(who, answer.claim.slug, answer.outcome)
            if answer.outcome is Outcome.NEW:
                self.recent_claims.remember(
                    SID, [AnsweredClaim(who, answer.claim, TTL_SECONDS * 1000, payload(who))]
                )

    # -- stock -----------------------------------------------------------------------

    def _new_slugs(self, number: int) -> list[str]:
        self.made += number
        return [f"one-off-{n}" for n in range(self.made - number, self.made)]

    def _link(self, slug: str, epoch: str, source: Any = "pool") -> Link:
        return Link(
            slug=slug,
            url=f"{BASE}/{slug}",
            meeting_sid=SID,
            state=State.FRESH,
            source=source,
            epoch=epoch,
            created_at=datetime.now(UTC),
        )

    @rule(number=st.integers(1, 6))
    def top_up(self, number: int) -> None:
        self.run(self._top_up(number))

    async def _top_up(self, number: int) -> None:
        [level] = await self.store.look([SID])
        for slug in self._new_slugs(number):
            new = NewLink(slug, f"{BASE}/{slug}")
            pooled = await PoolWriter(self.store, self.ledger).put(SID, level.epoch, new)
            assert pooled == ("added" if self.stands else "quarantined")

    @rule()
    def a_slow_top_up_ends(self) -> None:
        """End a slow top-up, whose links carry the epoch from its beginning, such as one before a
        crash.
        """
        self.run(self._slow_top_up())

    async def _slow_top_up(self) -> None:
        [slug] = self._new_slugs(1)
        new = NewLink(slug, f"{BASE}/{slug}")
        pooled = await PoolWriter(self.store, self.ledger).put(SID, self.old_epoch, new)
        assert pooled == "quarantined"

    @rule()
    def die_between_ledger_and_pool(self) -> None:
        [level] = self.run(self.store.look([SID]))
        [slug] = self._new_slugs(1)
        self.run(self.ledger.links.insert_fresh([self._link(slug, level.epoch)]))

    @rule(repeated=numbers)
    def provider_repeats_a_slug(self, repeated: int) -> None:
        if self.made:
            self.run(self._repeat(f"one-off-{repeated % self.made}"))

    async def _repeat(self, slug: str) -> None:
        [level] = await self.store.look([SID])
        new = NewLink(slug, f"{BASE}/{slug}")
        assert await PoolWriter(self.store, self.ledger).put(SID, level.epoch, new) == "duplicate"

    # -- bookings --------------------------------------------------------------------

    def _held(self, number: int) -> tuple[str, str] | None:
        held = sorted((who, slug) for who, slug in self.holds.items() if who not in self.unsure)
        return held[number % len(held)] if held else None

    @rule(number=numbers)
    def book(self, number: int) -> None:
        if held := self._held(number):
            self.run(self._settle(held[1], State.CONSUMED))
            self.booked.add(held[1])

    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        if held := self._held(number):
            self.run(self._settle(held[1], State.CANCELLED))
            del self.holds[held[0]]

    @rule()
    def book_a_link_that_leaked(self) -> None:
        """Book a link that leaked: it leaves the pool, since no customer could book it again."""
        pooled = self.run(self.stage.pooled())
        if self.stands and pooled:
            self.run(self._settle(pooled[0], State.CONSUMED))

    async def _settle(self, slug: str, state: State) -> None:
        if self.good_seal:
            # A file from before this booking, but after the seal, would be believed.
            self.copies.clear()
        # Events may come before the claim is recorded; then the recorder tells Redis.
        await self.stage.book(slug, state)
        await self.stage.recorder.record(SID)

    # -- what workers and operators do -----------------------------------------------

    @rule()
    def record(self) -> None:
        self.run(self.stage.recorder.record(SID))

    @rule(paused=st.sampled_from([False, False, True]))
    def pause_or_resume(self, paused: bool) -> None:
        self.paused = paused
        self.run(self._publish())

    async def _publish(self) -> None:
        meeting = Meeting(
            SID,
            claim_ttl_seconds=TTL_SECONDS,
            after_booking=self.meeting.after_booking,
            paused=self.paused,
        )
        await self.ledger.meetings.put(meeting)
        await self.store.published.put([meeting])

    @precondition(lambda self: self.stands)
    @rule()
    def a_minute_passes(self) -> None:
        """Let a minute pass: the sweep has recorded everything, and no process remembers what it
        answered.
        """
        self.run(self.stage.recorder.record(SID))
        self.now += KEPT_SECONDS + 50
        self.recent.clear()

    @precondition(lambda self: self.stands)
    @rule()
    def claims_lapse(self) -> None:
        """Let time pass for everyone, also in the files that Redis may be put back to."""
        self.a_minute_passes()
        self.run(self._lapse())
        self.copies.clear()

    async def _lapse(self) -> None:
        await self.ledger.links.lapse(datetime.now(UTC) + timedelta(seconds=TTL_SECONDS + 60))
        for key in await self.bare.keys(key_names.binding(SID, "*").replace("{", "[{]")):
            if (await self.bare.get(key)).startswith(b"c"):
                await self.bare.delete(key)
        self.holds = {who: slug for who, slug in self.holds.items() if slug in self.booked}
        self.unsure.clear()

    @precondition(lambda self: self.stands)
    @rule(number=numbers)
    def forget(self, number: int) -> None:
        if held := self._held(number):
            self.a_minute_passes()
            self.run(self._forget(held[0]))
            del self.holds[held[0]]

    async def _forget(self, who: str) -> None:
        names = self.store.names
        for link in await self.ledger.links.forget(SID, who, names.name(SID, who), names.marks):
            await self.store.mark(SID, link.slug, who, None)

    @precondition(lambda self: self.stands)
    @rule()
    def drain(self) -> None:
        slugs = self.run(self.store.stock.take_out(SID, up_to_ms=None))
        self.run(self.ledger.links.move(slugs, State.RETIRED, at=datetime.now(UTC)))

    # -- what goes wrong -------------------------------------------------------------

    @rule()
    def keep_a_copy_of_the_file(self) -> None:
        copy = self.directory / f"copy-{next(self.numbers)}"
        copy.mkdir()
        copy_of_its_file(self.server, copy)
        self.copies.append(copy)

    @rule(
        how=st.sampled_from(["older file", "older file", "killed", "emptied", "master anew"]),
        number=numbers,
        healed=st.sampled_from(["at once", "at once", "at once, told late", "later"]),
    )
    def redis_crashes(self, how: str, number: int, healed: str) -> None:
        if self.stands:
            self.old_epoch = self.run(self.store.look([SID]))[0].epoch
        match how:
            case "older file" if self.copies:
                copy = self.copies[number % len(self.copies)]
                self._meanwhile(lambda: start_from_copy(self.server, copy))
            case "emptied":
                self.run(self.bare.flushall())
            case "master anew":
                self.run(self._fail_back())
            case _:
                self._meanwhile(self._kill)
        self.stands = self.sealed = False
        if healed == "later":
            self.run(self._claim(["a"], reply_lost=False))  # refused
        else:
            self.run(self._recover(late=healed.endswith("late")))

    @precondition(lambda self: self.stands)
    @rule(
        before=st.lists(customers, min_size=1, max_size=4),
        after=st.lists(customers, min_size=1, max_size=4),
        number=numbers,
        event=st.sampled_from(["booked", "cancelled", "a minute", "none"]),
        late=st.booleans(),
    )
    def redis_forgets_the_last_second(
        self, before: list[str], after: list[str], number: int, event: str, late: bool
    ) -> None:
        self.run(self._top_up(4))
        self.run(self._claim(before, reply_lost=False))
        self.keep_a_copy_of_the_file()
        copy = self.copies[-1]
        self.run(self._claim(after, reply_lost=False))
        match event:
            case "booked":
                self.book(number)
            case "cancelled":
                self.cancel(number)
            case "a minute":
                self.a_minute_passes()
        self._meanwhile(lambda: start_from_copy(self.server, copy))
        self.stands = False
        self.run(self._recover(late))

    def _kill(self) -> None:
        self.server.kill()
        self.server.start()

    def _meanwhile(self, step: Callable[[], None]) -> None:
        """Run it in a thread, so that clients notice the end of their connections."""
        self.run(asyncio.to_thread(step))

    async def _fail_back(self) -> None:
        await self.bare.replicaof("127.0.0.1", "1")
        await self.bare.replicaof("NO", "ONE")

    @rule()
    def scripts_are_forgotten(self) -> None:
        self.run(self.bare.script_flush())

    @rule()
    def the_api_dies(self) -> None:
        """Kill the API: claims that only it and Redis know of may be gone with the next crash."""
        self.run(self._api_dies())

    async def _api_dies(self) -> None:
        for who, slug in self.holds.items():
            link = await self.ledger.links.get(slug)
            if link is None or link.customer_id != who:
                self.unsure.add(who)
        self.recent_claims = RecentClaims(clock=lambda: self.now)

    # -- and is healed -----------------------------------------------------------------

    @precondition(lambda self: not self.stands)
    @rule(late=st.booleans())
    def recover(self, late: bool) -> None:
        self.run(self._recover(late))

    async def _recover(self, late: bool) -> None:
        if self.sealed:
            assert await self.stage.recover() is Recovered.SEALED
            assert await self.stage.fence.unseal([SID]) == [SID]
        else:
            if not late:
                await self.store.assert_again(SID, self.recent_claims.lately(SID))
            epoch = await self.store.recovery.epoch(SID)
            if self.good_seal and self.good_seal in epoch:
                expected = Recovered.ADOPTED
            elif epoch or self.made:
                expected = Recovered.QUARANTINED
            else:
                expected = Recovered.OPENED
            assert await self.stage.recover() is expected
            if expected is Recovered.QUARANTINED:
                counts = await self.ledger.counts.of(SID)
                assert State.FRESH not in counts, "a link that may have been shown is fresh"
            await self.store.assert_again(SID, self.recent_claims.lately(SID))
            await self.stage.recorder.record(SID)
        self.stands, self.sealed, self.good_seal = True, False, ""

    @precondition(lambda self: self.stands)
    @rule(restart=st.booleans())
    def seal(self, restart: bool) -> None:
        self.run(self._seal(restart))

    @precondition(lambda self: self.stands)
    @rule(who=st.lists(customers, min_size=1, max_size=4))
    def an_old_backup_is_put_back(self, who: list[str]) -> None:
        """Put back a backup made in the order of a planned stop, whose seal is spent."""
        self.run(self._top_up(3))
        self.run(self._seal(restart=True))
        copy = self.copies[-1]
        self.run(self._claim(who, reply_lost=False))
        self._meanwhile(lambda: start_from_copy(self.server, copy))
        self.stands = False
        self.run(self._recover(late=False))

    async def _seal(self, restart: bool) -> None:
        assert await self.stage.fence.seal([SID]) == [SID]
        self.stands, self.sealed = False, True
        self.good_seal = (await self.store.recovery.epoch(SID)).split(":")[1]
        if not restart:
            return
        pooled = await self.stage.pooled()
        await asyncio.to_thread(self._planned_stop)
        self.sealed = False
        assert await self.stage.recover() is Recovered.ADOPTED
        assert await self.stage.pooled() == pooled, "a planned stop costs nothing"
        self.stands, self.good_seal = True, ""

    def _planned_stop(self) -> None:
        """Stop as planned and copy the file: a later restore of it must not be believed."""
        self.server.stop()
        self.keep_a_copy_of_the_file()
        self.server.start()

    # -- what must always be so ----------------------------------------------------------

    @invariant()
    def links_in_an_open_pool_are_fresh(self) -> None:
        """Check that links in an open pool are fresh in the ledger, and were never shown."""
        if self.stands:
            self.run(self._pool_is_fresh())

    async def _pool_is_fresh(self) -> None:
        pooled = await self.stage.pooled()
        assert not set(pooled) & set(self.given), "a link that was shown is in the pool"
        links = await self.ledger.links.find(pooled)
        assert {link.slug: link.state for link in links} == dict.fromkeys(pooled, State.FRESH)

    @invariant()
    def no_link_is_known_to_have_two_customers(self) -> None:
        if hasattr(self, "stage"):
            assert self.stage.conflicts == []

    async def _final(self) -> None:
        """Check promise 4: once everything is healed and recorded, the ledger has every claim."""
        if not self.stands:
            await self._recover(late=False)
        await self.stage.recorder.record(SID)
        assert self.stage.conflicts == []
        for who, slug in self.holds.items():
            if who in self.unsure:
                continue
            link = await self.ledger.links.get(slug)
            assert link is not None
            assert link.customer_id == who, "an answered claim is not in the ledger"
            assert link.state is (State.CONSUMED if slug in self.booked else State.CLAIMED)
            held = await self.store.claim_of(SID, who)
            if held is None and self.due(who) is None:
                continue  # a later claim, which nobody was told of, lapsed; the next one is anew
            assert held is not None
            assert (held.slug, held.state) == (slug, link.state.value)
        for slug, who in self.given.items():
            link = await self.ledger.links.get(slug)
            assert link is not None
            assert link.customer_id in (who, None), "the ledger has another customer"


def _in_files(request: pytest.FixtureRequest, directory: Path) -> Callable[[], str]:
    """Return a function that makes a new ledger in a file, in place of the one before."""
    template = request.getfixturevalue("migrated_sqlite")

    def make() -> str:
        shutil.copy(template, directory / "ledger.sqlite3")
        return f"sqlite:///{directory}/ledger.sqlite3"

    return make


def _on_postgresql(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Return a function that makes a new ledger in a database, in place of the one before."""
    server = request.getfixturevalue("postgres")
    template = request.getfixturevalue("migrated_postgres")

    async def work() -> None:
        admin = await asyncpg.connect(server.url("postgres"))
        await admin.execute("DROP DATABASE IF EXISTS machine WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE machine TEMPLATE {template}")
        await admin.close()

    def make() -> str:
        in_thread(work())
        return str(server.url("machine"))

    return make


def test_the_promises_hold(
    redis_server: RedisServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The machine's rules and invariants hold under any events in any order."""
    on_files = request.config.getoption("--ledger") == "sqlite"
    place = tmp_path / "machine"

    class Machine(Promises):
        server = redis_server
        directory = place
        new_ledger = staticmethod(
            _in_files(request, place) if on_files else _on_postgresql(request)
        )

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
                report_multiple_bugs=False,
                phases=(Phase.generate, Phase.shrink),  # explaining would take minutes
            ),
        )
    finally:
        structlog.reset_defaults()
    assert Machine.links_given > EXAMPLES, "hardly a customer got a link, so little was tried"
