"""Test what the ledger keeps to the letter: bounds, values, keys, the audit and hours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from pool.ledger import ApiKey, EventState, Ledger
from pool.ledger import database as databases
from pool.ledger import sqlite as files
from pool.ledger.audit import Audit
from pool.ledger.columns import from_milliseconds, json_text, milliseconds, storable
from pool.ledger.database import Database
from pool.ledger.erased import Erased
from pool.ledger.hours import Hour
from pool.ledger.inbox import Inbox
from pool.ledger.incidents import Incidents
from pool.ledger.links import Links
from pool.ledger.records import PublicKey, TokenSecret
from pool.ledger.retention import Retention
from pool.ledger.search import Search
from pool.ledger.tables import audit, hours, inbox
from pool.model.outcomes import NAMES, Outcomes
from tests.integration.ledger_samples import NOW, claim

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)

# -- bounds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "number", "most"),
    [
        (Audit.list, "limit", 100),
        (Erased.unfinished, "limit", 100),
        (Erased.unmarked, "limit", 200),
        (Inbox.due, "limit", 100),
        (Inbox.list, "limit", 100),
        (Inbox.failed, "max_attempts", 10),
        (Inbox.failed, "its_fault", True),
        (Inbox.reopen_unmatched, "limit", 100),
        (Incidents.since, "limit", 2_000),
        (Links.lapse, "limit", 10_000),
        (Links.live_bindings, "batch", 5_000),
        (Links.forgotten, "limit", 500),
        (Links.forgotten, "after", ""),
        (Retention.prune, "limit", 500),
        (Search.links, "limit", 50),
        (Database.__init__, "connections", 5),
        (Ledger.open, "connections", 5),
    ],
)
def test_what_is_asked_without_a_number_is_bounded(
    asked: Callable[..., object], number: str, most: object
) -> None:
    """The bound does not depend on the size of the ledger."""
    assert inspect.signature(asked).parameters[number].default == most


def test_the_ledger_gives_up_in_time() -> None:
    """A lock, a connection, and all together."""
    assert (files.BUSY_SECONDS, files.POOL_SECONDS, databases.DEADLINE_SECONDS) == (5, 5, 20)
    assert databases.MIGRATION_SECONDS == 600


async def test_a_story_has_a_hundred_unmatched_events_at_most(sqlite_ledger: Ledger) -> None:
    rows = [
        {
            "id": f"e{n:03}", "workspace": "default", "source": "webhook", "event": "x",
            "booking_sid": "b-1", "body": b"", "received_at": NOW, "reason": "", "seen": 1,
            "state": EventState.UNMATCHED, "attempts": 0,
        }
        for n in range(103)
    ]  # fmt: skip

    def fill(connection: Any) -> None:
        connection.execute(insert(inbox), rows)
        settled = update(inbox).where(inbox.c.id.in_(("e101", "e102")))
        connection.execute(settled.values(slug="a-1", state=EventState.SETTLED))

    await sqlite_ledger._database.write(fill)
    story = await sqlite_ledger.inbox.of_link("a-1", "b-1")
    assert {each.id for each in story[:2]} == {"e101", "e102"}
    assert len(story) == 2 + 100


async def test_an_email_names_a_hundred_links_at_most(sqlite_ledger: Ledger) -> None:
    """The latest claims; of those made at once, by slug."""
    await sqlite_ledger.links.record(
        [
            claim(f"a-{n:03}", f"c{n}", email="ada@x.test", claimed_at=NOW + (n // 2) * SECOND)
            for n in range(104)
        ]
    )
    found = await sqlite_ledger.links.given_to_email("intro", "ada@x.test", by=NOW + DAY, until=NOW)
    expected = [f"a-{n + m:03}" for n in range(102, -1, -2) for m in (0, 1)]
    assert [link.slug for link in found] == expected[:100]


# -- values -------------------------------------------------------------------------------


def test_times_are_whole_milliseconds_before_and_after_1970() -> None:
    for time, number in (
        (datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC), 1000),
        (datetime(1970, 1, 1, 0, 0, 1, 1_000, tzinfo=UTC), 1001),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), -1000),
    ):
        assert milliseconds(time) == number
        assert from_milliseconds(number) == time.replace(
            microsecond=time.microsecond // 1000 * 1000
        )
    assert from_milliseconds(None) is None
    with pytest.raises(ValueError, match="aware"):
        milliseconds(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_what_a_database_cannot_hold_is_replaced() -> None:
    assert storable("a\x00b\ud800c\u00e9") == "a\ufffdb?c\u00e9"
    assert json_text({"n": float("nan"), "t": "\x00"}) == '{"n":null,"t":"\\u0000"}'


# -- keys ---------------------------------------------------------------------------------


async def test_api_keys_come_back_whole_the_oldest_first(sqlite_ledger: Ledger) -> None:
    """Keys made at the same time are ordered by id, and a change affects one key only."""
    keys = sqlite_ledger.keys
    c = ApiKey(
        "c", "3" * 64, frozenset({"read", "claim"}), frozenset({"m-2", "m-1"}), "shop",
        NOW + SECOND, revoked_at=NOW + MINUTE, expires_at=NOW + DAY,
        networks=("::1/128", "::2/128"),
    )  # fmt: skip
    b = ApiKey("b", "2" * 64, frozenset({"admin"}), None, "", NOW)
    a = ApiKey("a", "1" * 64, frozenset(), frozenset(), "", NOW + SECOND, networks=())
    for key in (c, b, a):
        await keys.add(key)
    assert await keys.all() == [b, a, c]
    assert not await keys.revoke("c", NOW)
    assert await keys.revoke("a", NOW + 2 * MINUTE)
    for expires_at in (NOW + DAY, NOW + DAY + MILLISECOND):
        await keys.expire("c", expires_at)
    await keys.note_use(["b", "c"], NOW + DAY)
    await keys.note_use([], NOW + 2 * DAY)
    used = {"last_used_at": NOW + DAY}
    assert await keys.all() == [
        replace(b, **used), replace(a, revoked_at=NOW + 2 * MINUTE), replace(c, **used),
    ]  # fmt: skip
    await keys.expire("c", NOW + DAY - MILLISECOND)
    assert (await keys.all())[2].expires_at == NOW + DAY - MILLISECOND


async def test_public_keys_and_token_secrets_come_back_the_oldest_first(
    sqlite_ledger: Ledger,
) -> None:
    """Those made at the same time are ordered by id; revoking affects one, once."""
    pages = [
        PublicKey("c", "intro", ("https://c.test", "https://b.test"), "c", NOW, NOW + DAY),
        PublicKey("b", "demo", (), "b", NOW + SECOND),
        PublicKey("a", "intro", (), "a", NOW + SECOND),
    ]
    secrets = [
        TokenSecret("c", "k", NOW, NOW + DAY),
        TokenSecret("b", "k", NOW + SECOND),
        TokenSecret("a", "k", NOW + SECOND),
    ]
    for page, secret in zip(pages, secrets, strict=True):
        await sqlite_ledger.public_keys.add(page)
        assert await sqlite_ledger.token_secrets.add(secret, at_most=2)
    assert not await sqlite_ledger.token_secrets.add(TokenSecret("d", "k", NOW), at_most=2)
    assert await sqlite_ledger.token_secrets.add(TokenSecret("d", "other", NOW + DAY), at_most=1)
    c, b, a = pages
    assert await sqlite_ledger.public_keys.all() == [c, a, b]
    assert await sqlite_ledger.public_keys.revoke("c", NOW) is None
    assert await sqlite_ledger.public_keys.revoke("b", NOW + MINUTE) == "demo"
    assert await sqlite_ledger.public_keys.all() == [c, a, replace(b, revoked_at=NOW + MINUTE)]
    d = TokenSecret("d", "other", NOW + DAY)
    c_, b_, a_ = secrets
    assert await sqlite_ledger.token_secrets.all() == [c_, a_, b_, d]
    assert await sqlite_ledger.token_secrets.revoke("c", NOW) is None
    assert await sqlite_ledger.token_secrets.revoke("b", NOW + MINUTE) == "k"
    assert await sqlite_ledger.token_secrets.all() == [
        c_, a_, replace(b_, revoked_at=NOW + MINUTE), d,
    ]  # fmt: skip


# -- the audit ------------------------------------------------------------------------------


async def test_an_action_is_noted_with_the_present_time_and_nothing_else(
    sqlite_ledger: Ledger,
) -> None:
    before = datetime.now(UTC)
    await sqlite_ledger.audit.add("ops", "resume")
    [entry] = await sqlite_ledger.audit.list()
    assert (entry.id, entry.actor, entry.action) == (1, "ops", "resume")
    assert (entry.meeting_sid, entry.reason, entry.detail) == (None, "", {})
    assert before - SECOND < entry.at < before + MINUTE
    rows = await sqlite_ledger._database.rows(select(audit.c.at))
    assert rows[0].at == entry.at


# -- hours -----------------------------------------------------------------------------------


async def test_hours_are_kept_by_meeting_and_as_short_as_they_may_be(
    sqlite_ledger: Ledger,
) -> None:
    """The oldest first, from a moment on; counts of names that nobody knows yet are passed over."""
    kept = sqlite_ledger.hours
    assert await kept.newest() is None
    await kept.add([])
    counts = {NAMES[0]: 1, NAMES[2]: 30}
    hour = Hour("a", NOW, 5, 2, 9, Outcomes(counts))
    later = replace(hour, began_at=NOW + timedelta(hours=1), outcomes=Outcomes({}))
    last = replace(hour, began_at=NOW + timedelta(hours=2), outcomes=Outcomes({NAMES[-1]: 4}))
    await kept.add([last, hour, later, replace(hour, sid="b", level=0)])
    await kept.add([replace(hour, lowest=77), replace(hour, sid="c")])
    assert await kept.of("a", NOW) == [hour, later, last]
    assert await kept.of("a", NOW + MILLISECOND) == [later, last]
    assert await kept.of("b", NOW) == [replace(hour, sid="b", level=0)]
    assert await kept.newest() == last.began_at
    rows = await sqlite_ledger._database.rows(select(hours.c.counts).order_by(hours.c.began_at))
    assert {text for (text,) in rows} == {"1,,30", "", "," * (len(NAMES) - 1) + "4"}
    await sqlite_ledger._database.change(
        update(hours).where(hours.c.meeting_sid == "c").values(counts="1,,30" + ",7" * 99)
    )
    [newer] = await kept.of("c", NOW)
    assert newer.outcomes.counts == {**counts, **dict.fromkeys(NAMES[3:], 7)}


async def test_hours_are_deleted_after_90_days(sqlite_ledger: Ledger) -> None:
    kept, now = sqlite_ledger.hours, datetime.now(UTC)
    for number, began_at in enumerate((NOW, NOW + SECOND)):
        await kept.add([Hour(f"m{number}", began_at, 0, 0, 0, Outcomes({}))])
    assert await kept.prune(NOW + 90 * DAY) == 0
    assert await kept.prune(NOW + 90 * DAY + MILLISECOND) == 1
    assert await kept.newest() == NOW + SECOND
    for age in (89, 91):
        await kept.add([Hour("now", now - age * DAY, 0, 0, 0, Outcomes({}))])
    await kept.prune()
    assert [each.began_at for each in await kept.of("now", now - 99 * DAY)] == [
        (now - 89 * DAY).replace(microsecond=now.microsecond // 1000 * 1000)
    ]
