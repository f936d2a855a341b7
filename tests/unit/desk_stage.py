"""Give a desk fakes to work with: a store, a ledger, links on demand, and a listener.

A test module imports the fixtures by the names of their functions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from pool.claims.desk import Desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.queue import Receipt
from pool.durability.recent_claims import RecentClaims
from pool.errors import (
    StoreUnavailable,
    UnknownMeeting,
)
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store.bindings import CustomerNames
from pool.store.records import Answer, Batch, Outcome

SID = "intro"
LOST = StoreUnavailable("Redis: connection lost", connection_lost=True)
Call = tuple[str, list[tuple[str, bytes]]]


class FakePublished:
    """Meetings as Redis would have them: all, until the test takes them away."""

    def __init__(self) -> None:
        self.lost = False
        self.loses_again = False
        self.put_again: list[str] = []

    async def put(self, meetings: Sequence[Meeting]) -> None:
        self.put_again += [meeting.sid for meeting in meetings]
        self.lost = self.loses_again


class FakeStore:
    """Pools of as many links as wanted; each call takes a turn, or as long as the test says.

    `script` holds what the next calls come to: an error to raise, or a function to await.
    """

    def __init__(self, *, ready: bool) -> None:
        self.ready = ready  # whether a connection is: then nobody has to wait for one
        self.names = CustomerNames(b"key")
        self.published = FakePublished()
        self.calls: list[Call] = []
        self.script: list[Any] = []
        self.bound: dict[str, Claim] = {}
        self.stock = 1_000_000
        self.paused = False
        self.nudge = False
        self.under_way = Counter[str]()
        self.most_under_way = Counter[str]()
        self.gate: asyncio.Event | None = None

    def claims_together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def claim_at_once(
        self,
        sid: str,
        customers: Sequence[tuple[str, bytes]],
        told: Callable[[Batch | Exception | None], None],
    ) -> Callable[[], object] | None:
        async def ask() -> None:
            result: Batch | Exception | None
            try:
                result = await self.claim(sid, customers)
            except UnknownMeeting:
                result = None
            except StoreUnavailable as error:
                result = None if error.connection_lost else error
            except Exception as error:  # noqa: BLE001 - as the store does it
                result = error
            told(result)

        return asyncio.create_task(ask()).cancel if self.ready else None

    async def claim(self, sid: str, customers: Sequence[tuple[str, bytes]]) -> Batch:
        self.calls.append((sid, list(customers)))
        self.under_way.update([sid, "all"])
        for key in (sid, "all"):
            self.most_under_way[key] = max(self.most_under_way[key], self.under_way[key])
        try:
            if self.script:
                step = self.script.pop(0)
                if isinstance(step, Exception):
                    raise step
                await step()
            if self.published.lost:
                raise UnknownMeeting("not here")
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        finally:
            self.under_way.subtract([sid, "all"])
        return Batch([self._answer(name, payload) for name, payload in customers], 9, self.nudge)

    def _answer(self, name: str, payload: bytes) -> Answer:
        if name in self.bound:
            return Answer(Outcome.REUSED, self.bound[name])
        if not payload:
            return Answer(Outcome.LIMITED, None)
        if self.paused:
            return Answer(Outcome.PAUSED, None)
        if not self.stock:
            return Answer(Outcome.EMPTY, None)
        self.stock -= 1
        self.bound[name] = made(len(self.bound))
        return Answer(Outcome.NEW, self.bound[name])

    def sizes(self) -> list[int]:
        return [len(customers) for _, customers in self.calls]


def made(number: int) -> Claim:
    return Claim(slug=f"a-{number}", state="claimed", source="pool", claimed_at_ms=number)


class FakeLedgerMeetings:
    def __init__(self, *sids: str) -> None:
        self._meetings = {sid: Meeting(sid, pause_reason="holiday") for sid in sids}

    async def get(self, sid: str) -> Meeting | None:
        return self._meetings.get(sid)


class FakeLedger:
    def __init__(self, *sids: str) -> None:
        self.meetings = FakeLedgerMeetings(*sids)


@dataclass
class FakeOnDemandLinks:
    """A stand-in that makes a link for everyone, unless it is set to fail."""

    asked: list[str] = field(default_factory=list)
    error: Exception | None = None
    made: bool = True

    async def make_and_bind(
        self, meeting: Meeting, name: str, payload: bytes
    ) -> tuple[Claim, bool]:
        self.asked.append(msgspec.msgpack.decode(payload)[0])
        claim = made(9_000 + len(self.asked))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return msgspec.structs.replace(claim, source="direct"), self.made


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.batches: list[int] = []
        self.outcomes = Counter[str]()
        self.outcomes_at = Counter[tuple[str, str]]()

    def claimed(self, meeting: Meeting) -> None:
        self.told.append(("claimed", meeting.sid))

    def low(self, meeting: Meeting) -> None:
        self.told.append(("low", meeting.sid))

    def fenced(self, sid: str) -> None:
        self.told.append(("fenced", sid))

    def batch(self, size: int) -> None:
        self.batches.append(size)

    def outcome(self, sid: str, outcome: str, count: int) -> None:
        self.outcomes[outcome] += count
        self.outcomes_at[sid, outcome] += count


@dataclass
class Stage:
    """A desk and everything around it."""

    desk: Desk
    store: FakeStore
    on_demand: FakeOnDemandLinks
    heard: Heard
    recent_claims: RecentClaims

    async def claim(self, sid: str, who: str, *details: Any, **options: Any) -> Receipt:
        """Claim, and fail the test if no answer ever comes."""
        async with asyncio.timeout(90):
            return await self.desk.claim(sid, who, *details, **options)

    async def claims(self, *who: str) -> list[Receipt | BaseException]:
        """Claim all at once, in this order."""
        return await asyncio.gather(
            *(self.claim(SID, each) for each in who), return_exceptions=True
        )


MakeStage = Callable[..., Stage]


@pytest.fixture(name="make_stage", params=[True, False], ids=["connection-ready", "none-ready"])
async def open_stages(request: pytest.FixtureRequest) -> AsyncIterator[MakeStage]:
    """Make desks, and wait at the end for the work that they have under way.

    Claims are served the same whether an idle connection exists or has to be waited for.
    """
    desks: list[Desk] = []

    def make(timeout_seconds: float = 60.0) -> Stage:
        store, on_demand = FakeStore(ready=request.param), FakeOnDemandLinks()
        heard, recent_claims = Heard(), RecentClaims()
        ledger: Any = FakeLedger(SID, *(f"m{n}" for n in range(20)))
        known_meetings = KnownMeetings(store, ledger)  # type: ignore[arg-type]
        desk = Desk(
            store,  # type: ignore[arg-type]
            known_meetings,
            recent_claims,
            on_demand,
            heard,
            timeout_seconds=timeout_seconds,
        )
        desks.append(desk)
        return Stage(desk, store, on_demand, heard, recent_claims)

    yield make
    async with asyncio.timeout(5):
        for desk in desks:
            await desk.close()


@pytest.fixture(name="stage")
async def open_stage(make_stage: MakeStage) -> Stage:
    """Return a desk with a deadline of two seconds."""
    return make_stage()


def slug_of(answer: Receipt | BaseException) -> str:
    assert isinstance(answer, Receipt), answer
    return answer.claim.slug


async def check_defect(stage: Stage, mend: Callable[[], None] = lambda: None) -> None:
    """Check that a defect is answered by a typed error, and the next claim by a link."""
    [answer] = await stage.claims("ann")
    assert isinstance(answer, StoreUnavailable)
    assert "ValueError" in str(answer)
    mend()
    assert slug_of((await stage.claims("bob"))[0]) == "a-0"
