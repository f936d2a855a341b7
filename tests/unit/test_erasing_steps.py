"""Test the steps of erasing: the work that continues after a failure, is repeated, or remains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from pool.durability.erased_events import Verdict
from pool.durability.erasure import Erasure
from pool.errors import LedgerUnavailable, StillErasing, StoreUnavailable
from pool.ledger import EventState, Ledger
from pool.ledger.erased import Unfinished
from pool.ledger.records import NewEvent
from pool.ledger.tables import facts
from pool.model.marks import Marks, packed
from pool.model.meetings import Meeting
from pool.store.erasing import Erasing
from tests.integration.ledger_samples import NOW
from worker import erase

MARKS = Marks(b"key")
HOUR = timedelta(hours=1)
ONE = Unfinished("a-1", "intro", "name-1", "erasing")
TWO = Unfinished("a-2", "intro", "name-2", "erasing")
DONE = Unfinished("a-3", "intro", "name-3", "unheard")


class World:
    """Redis, the ledger and the recorder, which note their calls."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.broken: set[str] = set()  # slugs that Redis does not drop
        self.unfinished_rows = [ONE, TWO]
        self.of = [ONE, DONE]
        self.clean = [True]
        self.unmarked_batches: list[list[Any]] = []
        self.events: list[Any] = []
        self.new_marks = [False]
        self.verdict: Verdict | None = None
        self.kept: list[tuple[str, set[str]]] = []
        self.redacted: list[tuple[Any, ...]] = []
        self.event: Any = None

    # -- the recorder, the store

    async def record(self, sid: str) -> None:
        self.done.append(("record", sid))

    async def blank(self, sid: str, who: str) -> None:
        self.done.append(("blank", sid, who))

    async def drop(self, sid: str, slug: str, name: str) -> None:
        self.done.append(("drop", sid, slug, name))
        if slug in self.broken:
            raise StoreUnavailable("Redis: away")

    # -- the ledger

    async def forget(self, sid: str, who: str, name: str, marks: Marks, own: Any) -> None:
        self.done.append(("forget", sid, who, name, marks is MARKS, callable(own)))

    async def of_customer(self, sid: str, name: str) -> list[Unfinished]:
        assert (sid, name) == ("intro", "the name of ann")
        return self.of

    async def unfinished(self) -> list[Unfinished]:
        return self.unfinished_rows

    async def finish(self, slugs: list[str], *, heard: bool) -> None:
        self.done.append(("finish", slugs, heard))

    async def clean_file(self) -> bool:
        self.done.append("clean")
        return self.clean.pop(0) if len(self.clean) > 1 else self.clean[0]

    async def keep(self, slug: str, marks: Marks, some: set[str]) -> bool:
        assert marks is MARKS
        self.kept.append((slug, some))
        return self.new_marks.pop(0) if len(self.new_marks) > 1 else self.new_marks[0]

    async def unmarked(self) -> list[Any]:
        return self.unmarked_batches.pop(0) if self.unmarked_batches else []

    async def mark(self, marks: dict[str, bytes]) -> None:
        self.done.append(("mark", marks))

    async def tied(self, slug: str) -> AsyncIterator[list[Any]]:
        self.done.append(("tied", slug))
        for each in self.events:
            yield [each]

    async def redact(self, *each: Any) -> None:
        self.redacted.append(each)

    async def get(self, event_id: str) -> Any:
        assert event_id == "e-1"
        return self.event

    def erasure(self) -> Erasure:
        mine: Any = self
        names = SimpleNamespace(marks=MARKS, name=lambda _sid, who: f"the name of {who}")
        store: Any = SimpleNamespace(names=names, set_aside=self, erasing=self)
        meetings = SimpleNamespace(get=AsyncMock(return_value=Meeting("intro")))
        ledger: Any = SimpleNamespace(links=self, erased=self, inbox=self, meetings=meetings)
        made = Erasure(store, ledger, mine, {})

        async def marks_of(event: Any) -> dict[str, str]:
            return {f"0{event.id[-1]}": "text"}

        async def judge(_event: Any, marks: Any, *, slug: str | None) -> Verdict | None:
            self.done.append(("judge", sorted(marks), slug))
            return self.verdict

        made._events = SimpleNamespace(  # type: ignore[assignment]
            marks_of=marks_of,
            judge=judge,
            own_marks=lambda _event: set(),
            redacted=lambda _event, _verdict: (b"redacted", "sid", "parent"),
        )
        return made


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


def event(number: int = 1, **fields: Any) -> Any:
    values: dict[str, Any] = {
        "id": f"e-{number}", "body": b"{}", "slug": "a-1", "state": EventState.SETTLED,
    }  # fmt: skip
    return SimpleNamespace(**values | fields)


async def test_a_customer_is_erased_everywhere(world: World) -> None:
    """Claims that are recorded first cannot come back; finished erasures are only reported."""
    assert await world.erasure().forget("intro", "ann") == 2
    assert [each for each in world.done if each[0] not in ("tied", "judge")] == [
        ("record", "intro"),
        ("blank", "intro", "ann"),
        ("forget", "intro", "ann", "the name of ann", True, True),
        ("drop", "intro", "a-1", "name-1"),
        "clean",
        ("finish", ["a-1"], True),
        ("finish", ["a-1", "a-3"], True),
    ]
    assert world.kept == [("a-1", {MARKS.of_text("a-1")})]


async def test_who_left_nothing_is_erased_at_once(world: World) -> None:
    """No file is cleaned for it."""
    world.of = []
    assert await world.erasure().forget("intro", "ann") == 0
    assert world.done[-1] == ("finish", [], True)
    assert "clean" not in world.done


@pytest.mark.parametrize(
    ("broken", "clean", "error"),
    [
        ({"a-1"}, True, StoreUnavailable),
        (set(), False, StillErasing),
        ({"a-1"}, False, StoreUnavailable),
    ],
)  # fmt: skip
async def test_what_cannot_be_erased_yet_is_raised_after_the_rest(
    world: World, waits: list[float], broken: set[str], clean: bool, error: type[Exception]
) -> None:
    """The events are erased all the same, and nothing is called finished."""
    world.broken, world.clean = broken, [clean]
    with pytest.raises(error):
        await world.erasure().forget("intro", "ann")
    assert ("tied", "a-1") in world.done
    assert not any(each[0] == "finish" for each in world.done)
    assert waits == ([] if clean else [0.2] * 5)


async def test_a_file_in_use_is_tried_five_times(world: World, waits: list[float]) -> None:
    """The attempts are a fifth of a second apart."""
    world.clean = [False, False, False, False, True]
    assert await world.erasure().forget("intro", "ann") == 2
    assert waits == [0.2] * 4


async def test_the_workers_go_on_past_what_fails(world: World) -> None:
    """They count the finished work, and no customer is reported as erased too early."""
    world.broken = {"a-1"}
    assert await world.erasure().go_on() == 1
    assert [each for each in world.done if each[0] == "finish"] == [("finish", ["a-2"], False)]
    world.broken = set()
    assert await world.erasure().go_on() == 2


async def test_events_without_marks_get_them(world: World) -> None:
    """They get them batch after batch."""
    world.unmarked_batches = [[event(1), event(2)], [event(3)]]
    assert await world.erasure().mark_events() == 3
    assert world.done == [
        ("mark", {"e-1": packed(["01"]), "e-2": packed(["02"])}), ("mark", {"e-3": packed(["03"])})
    ]  # fmt: skip
    assert await world.erasure().mark_events() == 0


@pytest.mark.parametrize(
    ("news", "rounds"), [([False], 1), ([False, True, False], 2), ([False, *[True] * 9], 5)]
)
async def test_events_are_searched_as_long_as_they_reveal_more(
    world: World, news: list[bool], rounds: int
) -> None:
    """There are five rounds at most, and each event is matched by its own link."""
    world.of, world.events = [ONE], [event()]
    world.verdict, world.new_marks = Verdict((), "a-1", frozenset({"m"})), news
    await world.erasure().forget("intro", "ann")
    assert world.done.count(("tied", "a-1")) == rounds
    assert world.done.count(("judge", ["01"], "a-1")) == rounds
    assert world.redacted == [("e-1", b"redacted", "sid", "parent")] * rounds
    assert world.kept[1:] == [("a-1", {"m"})] * rounds


@pytest.mark.parametrize(
    ("theirs", "state", "redacted", "kept"),
    [
        ("a-9", EventState.PENDING, True, True),
        ("a-9", EventState.SETTLED, True, True),
        (None, EventState.SETTLED, True, False),
        (None, EventState.PENDING, False, False),  # its e-mail may identify another customer
    ],
)
async def test_a_settled_event_is_screened_once_more(
    world: World, theirs: str | None, state: EventState, redacted: bool, kept: bool
) -> None:
    """If it added marks, the earlier events of that link are searched again."""
    world.event = event(state=state)
    world.verdict, world.new_marks = Verdict((), theirs, frozenset({"m"})), [True, False]
    await world.erasure().screen_settled("e-1")
    assert (world.redacted == [("e-1", b"redacted", "sid", "parent")]) is redacted
    assert (("a-9", {"m"}) in world.kept) is kept
    assert (("tied", "a-9") in world.done) is kept


@pytest.mark.parametrize("kept", [None, event(body=b"")])
async def test_an_event_without_a_body_needs_no_screening(world: World, kept: Any) -> None:
    """An event that does not exist needs none, either."""
    world.event = kept
    await world.erasure().screen_settled("e-1")
    assert world.done == []


NEW = NewEvent("e-1", "acme", "webhook", "booked", b"{}", NOW, booking_sid="b", parent_sid="p")


@pytest.mark.parametrize(
    "verdict",
    [None, Verdict((), None, frozenset()), Verdict((), "a-1", frozenset({"m"}), by_email=True)],
)
async def test_an_event_that_may_be_anybodys_is_kept_with_its_marks(
    world: World, verdict: Verdict | None
) -> None:
    """It is looked at again once it is settled."""
    world.verdict = verdict
    assert await world.erasure().screen(NEW) == replace(NEW, marks=packed(["01"]))
    assert world.kept == []


@pytest.mark.parametrize("new", [True, False])
async def test_an_event_of_an_erased_customer_is_kept_without_what_is_theirs(
    world: World, new: bool
) -> None:
    """Earlier events are searched where it revealed something new."""
    world.verdict, world.new_marks = Verdict((), "a-1", frozenset({"m"})), [new, False]
    assert await world.erasure().screen(NEW) == replace(
        NEW, body=b"redacted", booking_sid="sid", parent_sid="parent", marks=b""
    )
    assert world.kept[0] == ("a-1", {"m"})
    assert (("tied", "a-1") in world.done) is new


# -- the task -----------------------------------------------------------------------------------


class Files:
    """The parts that the task's steps use."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.erased_at: datetime | None = None
        self.rewrites = 0
        self.said: list[Any] = []
        self.parts: Any = SimpleNamespace(
            ledger=SimpleNamespace(erased=self, facts=self, retention=self),
            store=SimpleNamespace(erasing=self),
            erasure=self,
            settings=SimpleNamespace(inbox_retention_days=30, ledger_retention_days=0),
        )

    async def last_at(self) -> datetime | None:
        return self.erased_at

    async def get(self, name: str) -> str | None:
        return self.facts.get(name)

    async def put(self, name: str, value: str) -> None:
        self.facts[name] = value

    async def rewrite_file(self) -> bool:
        self.rewrites += 1
        return True

    async def mark_events(self) -> int:
        self.said.append("marked")
        raise LedgerUnavailable("away")

    async def go_on(self) -> int:
        self.said.append("went on")
        return 1

    async def clean_file(self) -> bool:
        self.said.append("cleaned")
        return True

    async def run(self, days: int, *, seconds: float) -> Any:
        self.said.append(("pruned", days, seconds > 0))
        return SimpleNamespace(events=0, bodies=0)


async def test_a_step_that_fails_stops_no_other() -> None:
    """It is taken again by the next run."""
    files = Files()
    files.erased_at = datetime.now(UTC)
    await erase.erase(files.parts)
    assert files.said == ["marked", ("pruned", 30, True), "cleaned"]
    assert files.rewrites == 1


@pytest.mark.parametrize(
    ("erased", "rewritten", "again"),
    [
        (None, None, False),
        (HOUR, None, True),
        (2 * HOUR, HOUR, False),  # rewritten since
        (HOUR, 2 * HOUR, False),  # lately
        (HOUR, 25 * HOUR, True),
        (HOUR, 23 * HOUR, False),
        (None, 25 * HOUR, False),
        (HOUR, -HOUR, False),
        (-2 * HOUR, -HOUR, True),  # the clock was set back
    ],
)
async def test_redis_rewrites_its_file_once_a_day_after_an_erasure(
    erased: timedelta | None, rewritten: timedelta | None, again: bool
) -> None:
    """Without an erasure since the last rewrite there is none."""
    files, now = Files(), datetime.now(UTC)
    files.erased_at = None if erased is None else now - erased
    if rewritten is not None:
        files.facts[erase._REWRITTEN] = (now - rewritten).isoformat()
    assert await erase.rewrite_redis_file(files.parts) is again
    assert files.rewrites == again
    if again:
        noted = datetime.fromisoformat(files.facts[erase._REWRITTEN])
        assert abs((noted - now).total_seconds()) < 60


# -- the file of Redis ------------------------------------------------------------------------


class Master:
    """One master; `error` is raised by its first command."""

    def __init__(self, error: Exception | None = None, **state: int) -> None:
        self.error, self.state, self.began = error, state, 0

    async def info(self, section: str) -> dict[str, int]:
        assert section == "persistence"
        if self.error is not None:
            raise self.error
        return self.state

    async def bgrewriteaof(self) -> None:
        self.began += 1


ON = {"aof_enabled": 1, "aof_rewrite_in_progress": 0, "aof_rewrite_scheduled": 0}
REFUSED, GONE = ResponseError("NOPERM no permission"), RedisConnectionError("gone")


@pytest.mark.parametrize(
    ("masters", "began", "result"),
    [
        ([Master(**ON)], [1], True),
        ([Master(aof_enabled=0)], [0], False),
        ([Master()], [0], False),
        ([Master(aof_enabled=0), Master(**ON), Master(**ON)], [0, 1, 1], True),
        ([Master(**ON | {"aof_rewrite_in_progress": 1}), Master(**ON)], [0, 1], StoreUnavailable),
        ([Master(**ON | {"aof_rewrite_scheduled": 1})], [0], StoreUnavailable),
        ([Master(REFUSED), Master(**ON)], [0, 1], True),
        ([Master(REFUSED)], [0], False),
        ([Master(GONE), Master(**ON)], [0, 0], StoreUnavailable),
    ],
)
async def test_every_master_rewrites_its_file(
    masters: list[Master], began: list[int], result: bool | type[Exception]
) -> None:
    """One that keeps none, or may not, stops no other; one that is at it is asked again later."""
    erasing = Erasing(SimpleNamespace())  # type: ignore[arg-type]

    async def found() -> Any:
        return masters

    erasing._masters = found  # type: ignore[method-assign]
    for each in masters:
        each.began = 0
    if isinstance(result, bool):
        assert await erasing.rewrite_file() is result
    else:
        with pytest.raises(result):
            await erasing.rewrite_file()
    assert [each.began for each in masters] == began


# -- the ledger's file, and ended sessions ------------------------------------------------------


async def test_a_compacted_file_holds_nothing_of_what_was_deleted(sqlite_ledger: Ledger) -> None:
    """Free space would show it to anybody who reads the file."""
    path = sqlite_ledger._database.sqlite_path
    assert path is not None
    for number in range(40):
        await sqlite_ledger.facts.put(f"secret-{number}", "s3cr3t" * 200)
    assert await sqlite_ledger.compact()
    before = path.stat().st_size
    await sqlite_ledger._database.change(facts.delete())
    assert await sqlite_ledger.compact()
    assert path.stat().st_size < before
    log = path.with_name(f"{path.name}-wal")
    assert not log.exists() or not log.stat().st_size
    assert b"s3cr3t" not in path.read_bytes()


async def test_sessions_that_were_ended_are_known_until_they_expire(sqlite_ledger: Ledger) -> None:
    """The later end counts; what has expired by then is forgotten, to the instant."""
    ended = sqlite_ledger.ended_sessions
    await ended.add("a", NOW, NOW + 2 * HOUR)
    await ended.add("b", NOW, NOW + HOUR)
    assert await ended.all() == {"a": NOW, "b": NOW}
    await ended.add("a", NOW + HOUR, NOW + 3 * HOUR)
    assert await ended.all() == {"a": NOW + HOUR, "b": NOW}
    await ended.add("c", NOW + 2 * HOUR, NOW + 9 * HOUR)
    assert await ended.all() == {"a": NOW + HOUR, "c": NOW + 2 * HOUR}
