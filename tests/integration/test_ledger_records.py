"""Test meetings, seals, API keys, the audit and facts in the ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ledger_samples import NOW, claim, fresh, known

from pool.access.api_keys import digest, make_key, rotate_key
from pool.errors import UnknownKey, UnknownMeeting
from pool.ledger import ApiKey, Ledger
from pool.ledger.hours import Hour
from pool.ledger.records import PublicKey, TokenSecret
from pool.model.incidents import Incident, What
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.model.outcomes import Outcomes

pytest_plugins = ("ledger_fixtures",)


async def test_a_meeting_comes_back_as_it_was_put(ledger: Ledger) -> None:
    """Putting it again changes it, and reports that it existed."""
    meeting = Meeting("intro", min_fresh=3, fallback_url="https://x.test/", paused=True)
    assert await ledger.meetings.get("intro") is None
    assert await ledger.meetings.put(meeting) is True
    assert await ledger.meetings.get("intro") == meeting
    changed = replace(meeting, after_booking="new", on_empty="fail", paused=False, max_fresh=9)
    assert await ledger.meetings.put(changed) is False
    await ledger.meetings.put(Meeting("demo", workspace="other"))
    assert await ledger.meetings.all() == [Meeting("demo", workspace="other"), changed]


async def test_who_changes_a_setting_leaves_the_others_as_they_are(ledger: Ledger) -> None:
    """The meeting may have been paused by another process since it was read."""
    await ledger.meetings.put(Meeting("intro"))
    await ledger.meetings.change("intro", {"paused": True, "pause_reason": "flood"})
    changed = await ledger.meetings.change("intro", {"min_fresh": 7})
    assert changed == Meeting("intro", min_fresh=7, paused=True, pause_reason="flood")
    assert await ledger.meetings.change("intro", {}) == changed
    assert await ledger.meetings.get("intro") == changed
    with pytest.raises(UnknownMeeting):
        await ledger.meetings.change("nobody", {"min_fresh": 7})


async def test_of_many_who_put_a_meeting_one_creates_it(ledger: Ledger, other: Ledger) -> None:
    """Exactly one of them is told that it created the meeting."""
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


async def test_each_of_several_pools_has_its_own_seal(ledger: Ledger, other: Ledger) -> None:
    """It is good once, and moves only that pool's links, which their epochs name."""
    await ledger.meetings.put(Meeting("intro", shards=2))
    epochs = {"a-1": "r:m:0/2-ab", "a-2": "r:m:1/2-ab", "a-3": "r:m:1/2-cd", "a-4": "r:m:ab"}
    await ledger.links.insert_fresh([fresh(slug, epoch=epoch) for slug, epoch in epochs.items()])
    assert sorted(await ledger.links.fresh_epochs("intro")) == sorted(epochs.values())
    await ledger.meetings.seal("intro:1/2", "old")
    await ledger.meetings.seal("intro:1/2", "token")
    await ledger.meetings.seal("intro:0/2", "another")
    assert await ledger.meetings.spend_seal("intro:1/2", "old", "new") is False
    assert await ledger.meetings.spend_seal("intro", "token", "new") is False
    spent = await asyncio.gather(
        *(which.meetings.spend_seal("intro:1/2", "token", "new") for which in (ledger, other))
    )
    assert sorted(spent) == [False, True]
    now = {slug: (await known(ledger, slug)).epoch for slug in epochs}
    assert now == epochs | {"a-2": "new", "a-3": "new"}
    assert await ledger.links.adopt_fresh("intro:0/2", "newer") == 1
    assert await ledger.meetings.forget_seals() == 1
    assert await ledger.meetings.spend_seal("intro:0/2", "another", "new") is False
    gone = await ledger.links.quarantine_fresh("intro", at=NOW, epochs=["newer"])
    assert (gone, (await known(ledger, "a-1")).state) == (1, State.QUARANTINED)
    gone = await ledger.links.quarantine_fresh("intro", at=NOW, epochs=["new"], state=State.RETIRED)
    assert (gone, (await known(ledger, "a-2")).state) == (2, State.RETIRED)
    assert await ledger.links.quarantine_fresh("intro", at=NOW, epochs=[]) == 0
    assert (await known(ledger, "a-4")).state is State.FRESH


async def test_a_fact_is_replaced_only_as_it_was_read(ledger: Ledger, other: Ledger) -> None:
    """When several have read the same value, one replaces it."""
    for before, after in ((None, "one"), ("one", "two")):
        done = await asyncio.gather(
            *(which.facts.replace("name", before, after) for which in (ledger, other))
        )
        assert sorted(done) == [False, True]
        assert await ledger.facts.named(["name", "none"]) == {"name": after}
    assert await ledger.facts.replace("name", "one", "three") is False
    assert await ledger.facts.replace("none", "one", "three") is False
    assert await ledger.facts.named([]) == {}


async def test_an_unknown_meeting_is_not_sealed(ledger: Ledger) -> None:
    """A seal that could not be stored is an error."""
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


async def test_keys_run_out_rest_on_networks_and_were_used(ledger: Ledger) -> None:
    """An expiry is only ever brought forward."""
    soon, later = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    one = ApiKey("00aabb11", "d" * 64, frozenset({"read"}), None, "", NOW, networks=("::1/128",))
    two = ApiKey("00aabb12", "e" * 64, frozenset({"read"}), None, "", NOW, expires_at=soon)
    await ledger.keys.add(one)
    await ledger.keys.add(two)
    await ledger.keys.expire("00aabb11", later)
    await ledger.keys.expire("00aabb12", later)
    await ledger.keys.note_use(["00aabb12", "unknown"], NOW)
    assert await ledger.keys.all() == [
        replace(one, expires_at=later),
        replace(two, last_used_at=NOW),
    ]
    assert one.good_at(later)
    assert two.good_at(NOW)
    assert not two.good_at(soon)


async def test_a_key_is_rotated_with_an_overlap(ledger: Ledger) -> None:
    """The new key has the old one's rights and life, and the audit names who rotated it."""
    lives = timedelta(days=30)
    _, old = make_key(
        frozenset({"claim"}), frozenset({"intro"}), "site",
        expires_at=datetime.now(UTC) + lives, networks=("10.0.0.0/8",),
    )  # fmt: skip
    await ledger.keys.add(old)
    clear, new = await rotate_key(ledger, old.id, 3600, "cli", "yearly")
    assert digest(clear.encode()) == new.digest
    kept = {key.id: key for key in await ledger.keys.all()}
    assert kept.keys() == {old.id, new.id}
    for field in ("scopes", "meetings", "label", "networks"):
        assert getattr(new, field) == getattr(old, field)
    assert new.expires_at is not None
    assert abs(new.expires_at - datetime.now(UTC) - lives) < timedelta(minutes=1)
    ends = kept[old.id].expires_at
    assert ends is not None
    assert abs(ends - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    [entry] = await ledger.audit.list()
    assert (entry.actor, entry.action, entry.reason) == ("cli", "key-rotate", "yearly")
    assert entry.detail["new_id"] == new.id
    await ledger.keys.revoke(old.id, datetime.now(UTC))
    for gone in (old.id, "unknown"):
        with pytest.raises(UnknownKey):
            await rotate_key(ledger, gone, 3600, "cli")


async def test_ended_sessions_are_kept_for_as_long_as_their_cookies_live(ledger: Ledger) -> None:
    """Ending one again moves its time, and old ones are deleted."""
    hour = timedelta(hours=1)
    await ledger.ended_sessions.add("session:1", NOW, NOW + hour)
    await ledger.ended_sessions.add("key:a", NOW, NOW + hour)
    await ledger.ended_sessions.add("key:a", NOW + hour / 2, NOW + 2 * hour)
    assert await ledger.ended_sessions.all() == {"session:1": NOW, "key:a": NOW + hour / 2}
    await ledger.ended_sessions.add("session:2", NOW + 1.5 * hour, NOW + 3 * hour)
    assert set(await ledger.ended_sessions.all()) == {"key:a", "session:2"}


async def test_the_audit_lists_the_latest_first(ledger: Ledger) -> None:
    """The list has all entries, or those about one meeting."""
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
    """All who keep a fact at once get one value, and put overrides it."""
    assert await ledger.facts.get("secret") is None
    kept = await asyncio.gather(
        *(which.facts.keep("secret", f"{n}") for n, which in enumerate([ledger, other] * 5))
    )
    assert len(set(kept)) == 1
    assert await ledger.facts.get("secret") == kept[0]
    await ledger.facts.put("secret", "new")
    await ledger.facts.put("other", "x")
    assert await other.facts.keep("secret", "late") == "new"


async def test_a_key_never_has_more_token_secrets_than_it_may(
    ledger: Ledger, other: Ledger
) -> None:
    """However many processes add one at once; a revoked one makes room."""
    for key_id in ("1a2b3c4d", "5e6f7a8b"):
        _, key = make_key(frozenset({"claim"}), None, "site")
        await ledger.keys.add(replace(key, id=key_id))
    added = await asyncio.gather(
        *(
            which.token_secrets.add(TokenSecret(f"{name}{n}", "1a2b3c4d", NOW), at_most=2)
            for name, which in (("a", ledger), ("b", other))
            for n in range(5)
        )
    )
    assert added.count(True) == 2
    assert await other.token_secrets.add(TokenSecret("c", "5e6f7a8b", NOW), at_most=2)
    found = [each for each in await ledger.token_secrets.all() if each.key_id == "1a2b3c4d"]
    assert len(found) == 2
    assert await ledger.token_secrets.revoke(found[0].id, NOW) == "1a2b3c4d"
    assert await ledger.token_secrets.revoke(found[0].id, NOW) is None
    assert await ledger.token_secrets.add(TokenSecret("d", "1a2b3c4d", NOW), at_most=2)
    revoked = next(each for each in await ledger.token_secrets.all() if each.id == found[0].id)
    assert revoked == replace(found[0], revoked_at=NOW)


async def test_a_public_key_comes_back_as_it_was_added(ledger: Ledger) -> None:
    """It is revoked once, and by its own meeting only."""
    key = PublicKey("pk_1", "intro", ("https://a.example", "http://b.example:81"), "shop", NOW)
    await ledger.public_keys.add(key)
    assert await ledger.public_keys.all() == [key]
    assert await ledger.public_keys.revoke("pk_1", NOW, "other") is None
    assert await ledger.public_keys.revoke("pk_1", NOW, "intro") == "intro"
    assert await ledger.public_keys.revoke("pk_1", NOW) is None
    assert await ledger.public_keys.all() == [replace(key, revoked_at=NOW)]


async def test_incidents_and_hours_are_kept_alike_by_both_databases(ledger: Ledger) -> None:
    """Several observers store one incident, and an hour is written once."""
    at = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    blocked = Incident(What.BLOCKED, "404", at, None, "404", ("a",), baseline=3)
    begun = await asyncio.gather(*(ledger.incidents.begin(blocked) for _ in range(4)))
    assert begun.count(True) == 1
    await ledger.incidents.begin(replace(blocked, sids=("a", "b")))
    [found] = await ledger.incidents.standing()
    assert (found.sids, found.began_at, found.baseline) == (("a", "b"), at, 3)
    assert await ledger.incidents.end(What.BLOCKED, "404", at + timedelta(minutes=1))
    [found] = await ledger.incidents.unsettled(at + timedelta(minutes=2), at)
    await ledger.incidents.settle(found.id, 9)
    [found] = await ledger.incidents.since(at)
    assert (found.turned_away, found.baseline) == (9, None)
    assert await ledger.incidents.since(at + timedelta(minutes=2)) == []
    hour = Hour("a", at, 5, 2, 9, Outcomes({"empty": 3, "claims": 7}))
    await ledger.hours.add([hour, replace(hour, sid="b")])
    await ledger.hours.add([replace(hour, level=99)])
    assert await ledger.hours.of("a", at) == [hour]
    assert await ledger.hours.newest() == at
    assert await ledger.hours.prune(at + timedelta(days=91)) == 2
