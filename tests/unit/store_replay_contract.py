"""Hold any Redis to what it owes after a claim: marks, assertions, replacements, recovery.

The modules that import the tests of store_contract.py import these, too.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pool.errors import Fenced
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store import key_names
from pool.store.records import (
    AnsweredClaim,
    Replaced,
    Replacing,
    payload,
)
from pool.store.recovery import Rebind, RecoveryLost
from tests.any_redis import AnyRedis
from tests.set_aside import all_set_aside
from tests.unit.store_contract import (
    FALLS,
    NEW,
    REUSED,
    SID,
    TTL_SECONDS,
    Fall,
    binding_key,
    booked,
    claim,
    customer,
    every_fall,
    fresh,
    held_claim,
    open_pool,
)

# -- mark --------------------------------------------------------------------------


async def test_a_booking_makes_a_binding_last(any_redis: AnyRedis) -> None:
    """It becomes consumed, keeps no expiry, and doing it again changes nothing."""
    await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    for _ in range(2):
        assert await any_redis.store.mark(SID, "a-1", "ann", booked("a-1")) is False
        assert await any_redis.store.claim_of(SID, "ann") == booked("a-1")
    assert await any_redis.bare.pttl(binding_key(any_redis, "ann")) == -1


async def test_a_booked_link_leaves_the_pool(any_redis: AnyRedis) -> None:
    """A link that leaked and was booked is never handed out; the reply says that it stood in the
    pool.
    """
    await open_pool(any_redis, "a-1", "a-2")
    assert await any_redis.store.mark(SID, "a-1", None, None) is True
    assert await any_redis.store.mark(SID, "a-1", None, None) is False
    assert await fresh(any_redis) == ["a-2"]


async def test_a_booking_restores_a_binding_that_expired(any_redis: AnyRedis) -> None:
    """A customer who booked late sees the booking on the next claim."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.bare.delete(binding_key(any_redis, "ann"))
    await any_redis.store.mark(SID, "a-1", "ann", booked("a-1"))
    assert await claim(any_redis, "ann") == [(REUSED, "a-1")]


async def test_a_cancelled_link_is_dropped(any_redis: AnyRedis) -> None:
    """The next claim starts anew."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", None)
    assert await any_redis.store.claim_of(SID, "ann") is None
    assert await claim(any_redis, "ann") == [(NEW, "a-2")]


@pytest.mark.parametrize("late", [booked("a-1"), None], ids=["booked", "gone"])
async def test_news_of_an_older_link_leaves_the_newer_one(
    any_redis: AnyRedis, late: Claim | None
) -> None:
    """A customer who holds another link by now keeps it."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", None)
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", late)
    assert await claim(any_redis, "ann") == [(REUSED, "a-2")]


# -- asserted again ------------------------------------------------------------------


def answered_claim(who: str, slug: str, **fields: Any) -> AnsweredClaim:
    return AnsweredClaim(who, held_claim(slug, **fields), 60_000, payload(who))


@every_fall
async def test_answered_claims_are_asserted_again_behind_a_fallen_fence(
    any_redis: AnyRedis, fall: Fall
) -> None:
    """A link that nothing else is bound for is bound, leaves the pool, and goes to the recorder."""
    await open_pool(any_redis, "a-1", "a-2")
    await fall(any_redis)
    asserted_claims = [
        answered_claim("ann", "a-1"),
        answered_claim("bob", "d-1", source="direct", claimed_at_ms=7_000),
    ]
    assert await any_redis.store.assert_again(SID, asserted_claims) == 0
    assert await any_redis.store.claim_of(SID, "ann") == held_claim("a-1")
    assert 0 < await any_redis.bare.pttl(binding_key(any_redis, "ann")) <= 60_000
    assert await fresh(any_redis) == ["a-2"]
    streamed = await any_redis.store.stream.unrecorded(SID, 10)
    assert [(each.slug, each.customer_id, each.source) for each in streamed] == [
        ("a-1", "ann", "pool"),
        ("d-1", "bob", "direct"),
    ]
    assert [each.claimed_at_ms for each in streamed] == [1_000, 7_000], "as answered then"


async def test_asserting_what_is_known_is_no_conflict(any_redis: AnyRedis) -> None:
    """The binding is unchanged, and the recorder gets the claim again, which is harmless."""
    await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    held = await any_redis.store.claim_of(SID, "ann")
    assert await any_redis.store.assert_again(SID, [answered_claim("ann", "a-1")]) == 0
    assert await any_redis.store.claim_of(SID, "ann") == held
    assert len(await any_redis.store.stream.unrecorded(SID, 10)) == 2


async def test_who_holds_another_link_is_a_conflict(any_redis: AnyRedis) -> None:
    """The customer keeps the first link; the asserted one leaves the pool; both are recorded."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    assert (
        await any_redis.store.assert_again(
            SID, [answered_claim("ann", "a-2"), answered_claim("bob", "a-3")]
        )
        == 1
    )
    assert await claim(any_redis, "ann") == [(REUSED, "a-1")]
    assert await fresh(any_redis) == []
    assert len(await any_redis.store.stream.unrecorded(SID, 10)) == 3


@pytest.mark.parametrize(
    ("loaded", "claimed_at_ms", "bound", "conflicts"),
    [
        (booked("b-1"), 3_000, "a-2", 0),
        (booked("b-1"), 500, "b-1", 1),
        (held_claim("b-1"), 3_000, "a-2", 1),
        (held_claim("b-1"), 500, "b-1", 1),
    ],
)
async def test_of_two_links_the_one_claimed_last_counts(
    any_redis: AnyRedis, loaded: Claim, claimed_at_ms: int, bound: str, conflicts: int
) -> None:
    """Recovery has loaded one; a claim that was answered is asserted after that."""
    await open_pool(any_redis, "a-1", "a-2")
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        packed = store.recovery.packed(SID, [Rebind("ann", loaded, "bind", 0)])
        await store.recovery.put(SID, lock.token, packed)
    asserted = answered_claim("ann", "a-2", claimed_at_ms=claimed_at_ms)
    assert await store.assert_again(SID, [asserted]) == conflicts
    held = await store.claim_of(SID, "ann")
    assert held is not None
    assert held.slug == bound
    assert await fresh(any_redis) == ["a-1"]


# -- replace -------------------------------------------------------------------------


async def replaced(redis: AnyRedis, old: str, **how: Any) -> Replacing:
    """Replace ann's link."""
    name, data = customer(redis.store, "ann")
    return await redis.store.replace(SID, name, old, data, "it is burnt", **how)


@pytest.mark.parametrize("made", ["", "one-off-made"], ids=["of the pool", "made for it"])
async def test_a_burnt_link_is_replaced_once(any_redis: AnyRedis, made: str) -> None:
    """The stream's entry names both links; a repeat changes nothing."""
    await open_pool(any_redis, "a-1", "a-2", "a-3")
    await claim(any_redis, "ann")
    first = await replaced(any_redis, "a-1", made=made)
    slug = made or "a-2"
    assert first.outcome is Replaced.NEW
    assert first.claim is not None
    assert (first.claim.slug, first.claim.state) == (slug, "claimed")
    assert first.claim.source == ("direct" if made else "pool")
    assert await any_redis.store.claim_of(SID, "ann") == first.claim
    left = ["a-2", "a-3"] if made else ["a-3"]
    assert await fresh(any_redis) == left
    before = await any_redis.everything()
    again = await replaced(any_redis, "a-1", made=made)
    assert (again.outcome, again.claim) == (Replaced.BEFORE, first.claim)
    assert await any_redis.everything() == before
    *_, entry = await any_redis.store.stream.unrecorded(SID, 10)
    assert (entry.slug, entry.customer_id, entry.replaces, entry.reason) == (
        slug, "ann", "a-1", "it is burnt",
    )  # fmt: skip
    assert (entry.source, entry.claimed_at_ms) == (first.claim.source, first.claim.claimed_at_ms)
    assert (await any_redis.store.look([SID]))[0].backlog == 2
    left_ms = await any_redis.bare.pttl(binding_key(any_redis, "ann"))
    assert TTL_SECONDS * 1000 - 5_000 < left_ms <= TTL_SECONDS * 1000


async def test_what_cannot_be_replaced_changes_nothing(any_redis: AnyRedis) -> None:
    """A customer without a link, an empty pool, a pause, and a link that is booked."""
    await open_pool(any_redis, "a-1")

    async def refused(old: str, outcome: Replaced, slug: str | None) -> None:
        before = await any_redis.everything()
        found = await replaced(any_redis, old)
        assert (found.outcome, found.claim and found.claim.slug) == (outcome, slug)
        assert await any_redis.everything() == before

    await refused("a-1", Replaced.NONE, None)
    await claim(any_redis, "ann")
    await refused("a-1", Replaced.EMPTY, None)
    epoch = (await any_redis.store.look([SID]))[0].epoch
    await any_redis.store.add(SID, epoch, ["a-2"], 1_000)
    await any_redis.store.published.put([Meeting(SID, paused=True)])
    await refused("a-1", Replaced.PAUSED, None)
    await any_redis.store.published.put([Meeting(SID)])
    held = await any_redis.store.claim_of(SID, "ann")
    assert held is not None
    booked = replace(held, state="consumed", consumed_at_ms=5)
    await any_redis.store.mark(SID, "a-1", "ann", booked)
    await refused("a-1", Replaced.BOOKED, "a-1")


@every_fall
async def test_nothing_is_replaced_behind_a_fallen_fence(any_redis: AnyRedis, fall: Fall) -> None:
    """Neither the old nor the new link is given out."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await fall(any_redis)
    with pytest.raises(Fenced):
        await replaced(any_redis, "a-1")


# -- set aside -----------------------------------------------------------------------


async def test_an_unreadable_entry_is_set_aside_and_can_be_blanked(any_redis: AnyRedis) -> None:
    """Byte for byte, once however often; blanking overwrites the text in that meeting alone."""
    fields = {b"c": b"\xc1 of ann\xff", b"x": b""}
    anything: Any = fields
    kept = any_redis.store.set_aside
    for sid in (SID, "demo"):
        entry_id = (await any_redis.bare.xadd(key_names.claims(sid), anything)).decode()
        for _ in range(2):
            await kept.put(sid, entry_id, fields, "no MessagePack")
        assert await any_redis.bare.xlen(key_names.claims(sid)) == 0
    await kept.keep(SID, "0-1", {b"s": b"a-1"}, "not this one")
    assert await kept.counts() == {SID: 2, "demo": 1}
    await kept.blank(SID, "ann")
    entries = await all_set_aside(any_redis.store)
    found = {(each.sid, each.reason): each.fields for each in entries}
    assert found == {
        ("demo", "no MessagePack"): fields,
        (SID, "no MessagePack"): {b"c": b"\xc1 of xxx\xff", b"x": b""},
        (SID, "not this one"): {b"s": b"a-1"},
    }
    assert [(each.sid, each.entry_id == "0-1") for each in entries] == [
        ("demo", False), (SID, True), (SID, False),
    ]  # fmt: skip


# -- the stream ----------------------------------------------------------------------


async def test_recorded_claims_are_trimmed(any_redis: AnyRedis) -> None:
    """Entries up to and including the named one go, and later ones stay in order."""
    await open_pool(any_redis, *(f"a-{n}" for n in range(5)))
    await claim(any_redis, "c0")
    await claim(any_redis, "c1", "c2")
    await claim(any_redis, "c3", "c4")
    store = any_redis.store
    first = await store.stream.unrecorded(SID, 2)
    assert [each.customer_id for each in first] == ["c0", "c1", "c2"], "entries come whole"
    assert (await store.look([SID]))[0].backlog == 5
    await store.stream.trim(SID, first[-1].entry_id)
    await store.stream.trim(SID, first[-1].entry_id)
    assert [each.customer_id for each in await store.stream.unrecorded(SID, 10)] == ["c3", "c4"]
    assert (await store.look([SID]))[0].backlog == 2
    await store.stream.trim(SID, (await store.stream.unrecorded(SID, 2))[-1].entry_id)
    assert (await store.look([SID]))[0].backlog == 0
    assert await store.stream.unrecorded(SID, 2) == []


@pytest.mark.parametrize("limit", [1, 30, 1_000])
async def test_claims_that_came_one_by_one_are_read_to_the_limit(
    any_redis: AnyRedis, limit: int
) -> None:
    """As many are read as were asked for, each once and in order, however few an entry holds."""
    slugs = [f"a-{n:03}" for n in range(90)]
    await open_pool(any_redis, *slugs)
    for n in range(90):
        await claim(any_redis, f"c{n}")
    streamed = await any_redis.store.stream.unrecorded(SID, limit)
    assert [each.slug for each in streamed] == slugs[:limit]
    assert [each.customer_id for each in streamed] == [f"c{n}" for n in range(min(limit, 90))]
    assert (await any_redis.store.look([SID]))[0].backlog == 90


@pytest.mark.parametrize(
    "slugs",
    [
        ("one-off-a", "one-off-b", "one-off-ab-c"),
        ("abc", "abd", "one-off-c"),
        ("one-off-a", "one-of-b", "one", "oneXoffXa"),
        ("a--", "a--b", "a-", "a"),
        ("a_1-2", "a_1-3", "a.1-4"),
    ],
)
async def test_the_recorder_reads_the_slugs_of_a_batch_as_they_were(
    any_redis: AnyRedis, slugs: tuple[str, ...]
) -> None:
    """Slugs are read as they were, with any common prefix or none."""
    for shift in range(len(slugs)):
        turned = slugs[shift:] + slugs[:shift]
        epoch = await open_pool(any_redis)
        for n, slug in enumerate(turned):
            await any_redis.store.add(SID, epoch, [slug], 1_000 + n)
        await claim(any_redis, *(f"{shift}-{n}" for n in range(len(turned))))
        streamed = await any_redis.store.stream.unrecorded(SID, 100)
        assert tuple(each.slug for each in streamed) == turned
        await any_redis.store.stream.trim(SID, streamed[-1].entry_id)


# -- seal ----------------------------------------------------------------------------


async def test_a_sealed_pool_is_known_as_such_to_its_own_server_only(any_redis: AnyRedis) -> None:
    """It is sealed until this server restarts; another server may have to recover it."""
    await open_pool(any_redis, "a-1")
    assert await any_redis.store.recovery.seal(SID, "f" * 32) is True
    assert (await any_redis.store.look([SID]))[0].fence == "sealed"
    assert (await any_redis.store.recovery.fences([SID]))[0].fence == "sealed"
    assert (await any_redis.store.recovery.epoch(SID)).startswith("sealed:" + "f" * 32 + ":")
    await any_redis.restart()
    [level] = await any_redis.store.look([SID])
    assert (level.fence, level.fresh) == ("fallen", 1)
    assert (await any_redis.store.recovery.fences([SID]))[0].fence == "fallen"


async def test_thousands_of_fences_are_distinguished(any_redis: AnyRedis) -> None:
    """Each is that of its own meeting, in the order asked; a fall is seen at all of them."""
    sids = [f"m{n}" for n in range(1_203)]
    opened = {sid: await open_pool(any_redis, sid=sid) for sid in sids[::400]}
    for fence in ("stands", "fallen"):
        standings = await any_redis.store.recovery.fences(sids)
        assert [standing.sid for standing in standings] == sids
        assert {each.sid for each in standings if each.fence == fence} >= opened.keys()
        for standing in standings:
            if standing.sid not in opened:
                assert standing[1:] == ("fallen", "")
            elif fence == "stands":
                assert standing.epoch == opened[standing.sid]
        await any_redis.restart()
    assert await any_redis.store.recovery.fences([]) == []


@every_fall
async def test_a_fallen_fence_cannot_be_sealed(any_redis: AnyRedis, fall: Fall) -> None:
    """A pool that may have forgotten a claim must not look as if it had not."""
    await open_pool(any_redis, "a-1")
    await fall(any_redis)
    before = await any_redis.store.recovery.epoch(SID)
    assert await any_redis.store.recovery.seal(SID, "b" * 32) is False
    assert await any_redis.store.recovery.epoch(SID) == before


# -- recovery ------------------------------------------------------------------------


async def test_recovery_begins_by_taking_the_epoch_away(any_redis: AnyRedis) -> None:
    """After that no server hands anything out, and the pool is emptied."""
    await open_pool(any_redis, "a-1")
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        await store.recovery.begin(SID, lock.token, keep_fresh=False)
        assert await store.recovery.epoch(SID) == ""
        assert await fresh(any_redis) == []
        with pytest.raises(Fenced):
            await claim(any_redis, "ann")


async def test_an_adopted_pool_keeps_its_links(any_redis: AnyRedis) -> None:
    """Recovery that is asked to adopt leaves the fresh links where they are, and claims go on."""
    await open_pool(any_redis, "a-1")
    await any_redis.restart()
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        identity = await store.recovery.begin(SID, lock.token, keep_fresh=True)
        await store.recovery.open(SID, lock.token, identity, "again")
    assert await store.recovery.epoch(SID) == f"{identity}:again"
    assert await claim(any_redis, "ann") == [(NEW, "a-1")]


async def test_bindings_come_back_as_the_ledger_knows_them(any_redis: AnyRedis) -> None:
    """Claimed ones for the time left, booked ones for good, cancelled ones are dropped."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "cyd", "dan")
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        rebinds = [
            Rebind("ann", held_claim("b-1"), "bind", 60_000),
            Rebind("bob", booked("b-2"), "bind", 0),
            Rebind("cyd", held_claim("a-1"), "drop", 0),
            Rebind("dan", held_claim("b-4"), "drop", 0),
            Rebind("eve", held_claim("b-5"), "drop", 0),
        ]
        await store.recovery.put(SID, lock.token, store.recovery.packed(SID, rebinds))
    assert await store.claim_of(SID, "ann") == held_claim("b-1")
    assert 0 < await any_redis.bare.pttl(binding_key(any_redis, "ann")) <= 60_000
    assert await store.claim_of(SID, "bob") == booked("b-2")
    assert await any_redis.bare.pttl(binding_key(any_redis, "bob")) == -1
    assert await store.claim_of(SID, "cyd") is None
    assert await claim(any_redis, "dan") == [(REUSED, "a-2")], "another link than the dropped one"
    assert await store.claim_of(SID, "eve") is None


@pytest.mark.parametrize("holder", [None, "somebody-else"])
async def test_without_its_lock_recovery_does_nothing(
    any_redis: AnyRedis, holder: str | None
) -> None:
    """At every step the epoch, the pool and the bindings are unchanged."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    if holder:
        await any_redis.bare.set(key_names.recovery_lock(SID), holder)
    before = await any_redis.everything()
    recovery = any_redis.store.recovery
    identity = before[key_names.epoch(SID).encode()].decode().rsplit(":", 1)[0]  # type: ignore[attr-defined]
    with pytest.raises(RecoveryLost):
        await recovery.begin(SID, "mine", keep_fresh=False)
    packed = recovery.packed(SID, [Rebind("ann", held_claim("b-1"), "bind", 0)])
    with pytest.raises(RecoveryLost):
        await recovery.put(SID, "mine", packed)
    with pytest.raises(RecoveryLost):
        await recovery.open(SID, "mine", identity, "nonce")
    assert await any_redis.everything() == before


@pytest.mark.parametrize("how", ["another run_id", "another master_replid"])
async def test_recovery_that_another_server_answers_opens_nothing(
    any_redis: AnyRedis, how: str
) -> None:
    """The bindings were loaded into the server that it began on."""
    await open_pool(any_redis)
    store = any_redis.store
    await any_redis.bare.set(key_names.recovery_lock(SID), "mine")
    identity = await store.recovery.begin(SID, "mine", keep_fresh=False)
    await FALLS[how](any_redis)
    with pytest.raises(RecoveryLost, match="moved"):
        await store.recovery.open(SID, "mine", identity, "nonce")
    assert await store.recovery.epoch(SID) == ""


@pytest.mark.parametrize("part", [0, 1], ids=["run_id", "master_replid"])
async def test_an_epoch_that_differs_in_one_identity_stands_for_another_server(
    any_redis: AnyRedis, part: int
) -> None:
    """A restart changes both, so only this shows that the fence compares each of them."""
    epoch = await open_pool(any_redis, "one-off-a")
    parts = epoch.split(":")
    parts[part] = parts[part][::-1]
    assert parts != epoch.split(":")
    await any_redis.bare.set(key_names.epoch(SID), ":".join(parts))
    with pytest.raises(Fenced):
        await any_redis.store.claim(SID, [customer(any_redis.store, "ann")])
