"""Test known meetings: which ones a process knows, and where it looks for others."""

from __future__ import annotations

from typing import Any

import pytest

from pool.claims.known_meetings import KnownMeetings
from pool.errors import LedgerUnavailable, StoreUnavailable, UnknownMeeting
from pool.model.meetings import Meeting


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class FakePublished:
    """The meetings published in Redis; `away` makes it fail."""

    def __init__(self) -> None:
        self.meetings: list[Meeting] = []
        self.number = 0
        self.away = False
        self.reads = 0

    def put(self, *meetings: Meeting) -> None:
        self.meetings += meetings
        self.number += 1

    async def version(self) -> int:
        if self.away:
            raise StoreUnavailable("Redis is away")
        return self.number

    async def all(self) -> list[Meeting]:
        self.reads += 1
        return self.meetings


class FakeMeetings:
    """The meetings in the ledger; `away` makes it fail."""

    def __init__(self) -> None:
        self.meetings: dict[str, Meeting] = {}
        self.away = False
        self.asked = 0

    async def get(self, sid: str) -> Meeting | None:
        self.asked += 1
        if self.away:
            raise LedgerUnavailable("the ledger is away")
        return self.meetings.get(sid)

    async def all(self) -> list[Meeting]:
        if self.away:
            raise LedgerUnavailable("the ledger is away")
        return list(self.meetings.values())


class Stage:
    """Known meetings between a Redis and a ledger."""

    def __init__(self) -> None:
        self.published, self.ledger, self.clock = FakePublished(), FakeMeetings(), Clock()
        store: Any = type("Store", (), {"published": self.published})
        ledger: Any = type("Ledger", (), {"meetings": self.ledger})
        self.known_meetings = KnownMeetings(store, ledger, self.clock)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_published_meetings_are_known_by_heart(stage: Stage) -> None:
    """A claim asks neither Redis nor the ledger about its meeting."""
    stage.published.put(Meeting("b"), Meeting("a"))
    await stage.known_meetings.refresh()
    assert stage.known_meetings.get("a") == Meeting("a")
    assert stage.known_meetings.all() == [Meeting("a"), Meeting("b")]
    assert await stage.known_meetings.find("a") == Meeting("a")
    assert stage.ledger.asked == 0


async def test_meetings_are_read_again_only_when_they_changed(stage: Stage) -> None:
    """The version tells."""
    stage.published.put(Meeting("a"))
    for _ in range(3):
        await stage.known_meetings.refresh()
    assert stage.published.reads == 1
    stage.published.put(Meeting("a", paused=True))
    await stage.known_meetings.refresh()
    assert stage.known_meetings.get("a") == Meeting("a", paused=True)


async def test_a_meeting_that_redis_lacks_is_asked_of_the_ledger(stage: Stage) -> None:
    """The ledger is asked once; then the meeting is known."""
    stage.ledger.meetings["a"] = Meeting("a")
    assert stage.known_meetings.get("a") is None
    for _ in range(3):
        assert await stage.known_meetings.find("a") == Meeting("a")
    assert stage.ledger.asked == 1


async def test_an_unknown_meeting_is_asked_for_once_a_second(stage: Stage) -> None:
    """A crowd that asks for an unknown meeting does not load the ledger."""
    for _ in range(50):
        with pytest.raises(UnknownMeeting, match="PUT /v1/meetings/a"):
            await stage.known_meetings.find("a")
    assert stage.ledger.asked == 1
    stage.clock.now += 1.1
    stage.ledger.meetings["a"] = Meeting("a")
    assert await stage.known_meetings.find("a") == Meeting("a")


async def test_what_was_known_stays_known_while_both_are_away(stage: Stage) -> None:
    """A refresh never raises, and never forgets."""
    stage.published.put(Meeting("a"))
    await stage.known_meetings.refresh()
    stage.published.away = stage.ledger.away = True
    await stage.known_meetings.refresh()
    assert stage.known_meetings.get("a") == Meeting("a")


async def test_without_redis_the_ledger_is_read(stage: Stage) -> None:
    """The ledger is read at the first start of all, and before Redis has the meetings."""
    stage.published.away = True
    stage.ledger.meetings["a"] = Meeting("a")
    await stage.known_meetings.refresh()
    assert stage.known_meetings.get("a") == Meeting("a")


async def test_a_meeting_is_not_called_unknown_while_nobody_can_know(stage: Stage) -> None:
    """With the ledger away and Redis never read, the error says so."""
    stage.ledger.away = stage.published.away = True
    await stage.known_meetings.refresh()
    with pytest.raises(LedgerUnavailable):
        await stage.known_meetings.find("a")


async def test_redis_is_believed_while_the_ledger_is_away(stage: Stage) -> None:
    """It has a copy of all meetings: what is not among them is unknown."""
    stage.published.put(Meeting("a"))
    await stage.known_meetings.refresh()
    stage.ledger.away = True
    with pytest.raises(UnknownMeeting):
        await stage.known_meetings.find("b")


async def test_a_change_made_here_counts_at_once(stage: Stage) -> None:
    """The change does not wait for the next refresh."""
    stage.known_meetings.put(Meeting("a", paused=True))
    assert stage.known_meetings.get("a") == Meeting("a", paused=True)


async def test_the_latest_is_what_another_process_has_just_published(stage: Stage) -> None:
    """It does not wait for the next refresh; while Redis is away, the known one is used."""
    stage.published.put(Meeting("m1", min_fresh=1))
    await stage.known_meetings.refresh()
    stage.published.meetings[0] = Meeting("m1", min_fresh=2)
    stage.published.put()
    assert (await stage.known_meetings.find("m1")).min_fresh == 1
    assert (await stage.known_meetings.latest("m1")).min_fresh == 2
    stage.published.away = True
    assert (await stage.known_meetings.latest("m1")).min_fresh == 2
    with pytest.raises(UnknownMeeting):
        await stage.known_meetings.latest("m2")


async def test_names_of_unknown_meetings_do_not_fill_the_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of unknown names may be tried."""
    monkeypatch.setattr("pool.claims.known_meetings._UNKNOWN_KEPT", 10)
    for number in range(100):
        with pytest.raises(UnknownMeeting):
            await stage.known_meetings.find(f"m{number}")
    assert 0 < len(stage.known_meetings._unknown) <= 10
