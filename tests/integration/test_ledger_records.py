"""Meetings, seals, API keys, the audit and facts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from ledger_samples import NOW, claim, fresh, known

from pool.errors import UnknownMeeting
from pool.ledger import ApiKey, Ledger
from pool.meetings import Meeting

pytest_plugins = ("ledger_fixtures",)


async def test_a_meeting_comes_back_as_it_was_put(ledger: Ledger) -> None:
    """Putting it again changes it and says that it was there."""
    meeting = Meeting("intro", min_fresh=3, fallback_url="https://x.test/", paused=True)
    assert await ledger.meetings.get("intro") is None
    assert await ledger.meetings.put(meeting) is True
    assert await ledger.meetings.get("intro") == meeting
    changed = replace(meeting, after_booking="new", on_empty="fail", paused=False, max_fresh=9)
    assert await ledger.meetings.put(changed) is False
    await ledger.meetings.put(Meeting("demo", workspace="other"))
    assert await ledger.meetings.all() == [Meeting("demo", workspace="other"), changed]


async def test_of_many_who_put_a_meeting_one_creates_it(ledger: Ledger, other: Ledger) -> None:
    """Exactly one is told that it was created."""
    created = await asyncio.gather(
        *(which.meetings.put(Meeting("intro")) for which in (ledger, other) for _ in range(5))
    )
    assert created.count(True) == 1


async def test_a_seal_is_good_once(ledger: Ledger, other: Ledger) -> None:
    """Of all who present the token, one adopts the fresh links; a wrong token does nothing."""
    await ledger.meetings.put(Meeting("intro"))
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2"), fresh("b-1", meeting_sid="demo")])
    await ledger.links.record([claim("a-2", "ada")])
    await ledger.meetings.seal("intro", "old")
    await ledger.meetings.seal("intro", "token")
    await ledger.meetings.put(Meeting("intro", min_fresh=7))

    assert await ledger.meetings.spend_seal("intro", "old", "e2") is False
    assert (await known(ledger, "a-1")).epoch == "e1"
    spent = await asyncio.gather(
        *(which.meetings.spend_seal("intro", "token", "e2") for which in (ledger, other))
    )
    assert sorted(spent) == [False, True]
    epochs = {slug: (await known(ledger, slug)).epoch for slug in ("a-1", "a-2", "b-1")}
    assert epochs == {"a-1": "e2", "a-2": "e1", "b-1": "e1"}
    assert await ledger.meetings.spend_seal("intro", "token", "e3") is False


async def test_an_unknown_meeting_is_not_sealed(ledger: Ledger) -> None:
    """A seal that could not be remembered is an error, not a promise."""
    with pytest.raises(UnknownMeeting):
        await ledger.meetings.seal("intro", "token")


async def test_keys_are_kept_and_revoked(ledger: Ledger) -> None:
    """A key is revoked once, and stays listed."""
    one = ApiKey("00aabb11", "d" * 64, frozenset({"claim", "read"}), None, "site", NOW)
    two = ApiKey("00aabb12", "e" * 64, frozenset({"admin"}), frozenset({"intro"}), "", NOW)
    await ledger.keys.add(one)
    await ledger.keys.add(two)
    assert await ledger.keys.all() == [one, two]
    assert await ledger.keys.revoke("00aabb11", NOW) is True
    assert await ledger.keys.revoke("00aabb11", NOW) is False
    assert await ledger.keys.revoke("unknown", NOW) is False
    assert await ledger.keys.all() == [replace(one, revoked_at=NOW), two]


async def test_the_audit_lists_the_latest_first(ledger: Ledger) -> None:
    """All, or those on one meeting."""
    await ledger.audit.add("key 00aabb11", "pause", "intro", "holiday", {"was": False})
    await ledger.audit.add("cli", "keys create")
    await ledger.audit.add("cli", "drain", "demo", "", {})
    latest = await ledger.audit.list()
    assert [entry.action for entry in latest] == ["drain", "keys create", "pause"]
    assert [entry.action for entry in await ledger.audit.list(1)] == ["drain"]
    (entry,) = await ledger.audit.list(10, "intro")
    assert (entry.actor, entry.reason, entry.detail) == ("key 00aabb11", "holiday", {"was": False})
    assert entry.at.tzinfo is not None


async def test_the_first_to_keep_a_fact_decides_it(ledger: Ledger, other: Ledger) -> None:
    """All who keep a fact at once get one value; put overrides it."""
    assert await ledger.facts.get("secret") is None
    kept = await asyncio.gather(
        *(which.facts.keep("secret", f"{n}") for n, which in enumerate([ledger, other] * 5))
    )
    assert len(set(kept)) == 1
    assert await ledger.facts.get("secret") == kept[0]
    await ledger.facts.put("secret", "new")
    await ledger.facts.put("other", "x")
    assert await other.facts.keep("secret", "late") == "new"
