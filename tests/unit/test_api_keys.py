"""Test API keys: their form, their rights, and how they are recognised."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pool.access.api_keys import (
    Caller,
    KeyRing,
    Scope,
    digest,
    issue_key,
    make_key,
    revoke_key,
    rotate_key,
)
from pool.errors import Forbidden, LedgerUnavailable, Unauthorized, UnknownKey
from pool.ledger import Ledger
from pool.ledger.records import ApiKey

ADMIN_KEY = "an admin key from the environment"
CLAIM, READ, ADMIN = Scope


class FakeLedger:
    """The keys of a ledger; `away` makes it fail."""

    def __init__(self, *kept: ApiKey) -> None:
        self.kept = list(kept)
        self.away = False
        self.asked = 0
        self.noted: list[list[str]] = []
        self.keys = self

    async def all(self) -> list[ApiKey]:
        if self.away:
            raise LedgerUnavailable("the ledger is away")
        self.asked += 1
        return self.kept

    async def note_use(self, key_ids: list[str], _at: datetime) -> None:
        self.noted.append(key_ids)


def key(*scopes: Scope, meetings: frozenset[str] | None = None) -> tuple[str, ApiKey]:
    return make_key(frozenset(scope.value for scope in scopes), meetings, "for tests")


async def ring(*kept: ApiKey, admin_key: str | None = None) -> KeyRing:
    made = KeyRing(FakeLedger(*kept), admin_key)  # type: ignore[arg-type]
    await made.refresh()
    return made


def test_a_key_has_its_documented_form() -> None:
    """An id by which it is found, and more than 32 random characters; only a hash is kept."""
    clear, kept = key(CLAIM)
    assert re.fullmatch(r"lp_[0-9a-f]{8}_[A-Za-z0-9_-]{32,}", clear)
    assert kept.id == clear[3:11]
    assert kept.digest == digest(clear.encode())
    assert clear[12:] not in repr(kept)
    assert key(CLAIM)[0] != clear


async def test_a_key_is_known_by_its_hash() -> None:
    """Two keys side by side, each with its own rights."""
    (first, kept), (second, other) = key(CLAIM), key(READ)
    both = await ring(kept, other)
    assert both.authenticate(first.encode()).scopes == {"claim"}
    assert both.authenticate(second.encode()).scopes == {"read"}
    caller = both.caller(kept.id)
    assert caller is not None
    assert caller.key_id == kept.id


async def test_a_wrong_key_is_refused() -> None:
    """A wrong key is refused with a known id or an unknown one, and with any bytes."""
    clear, kept = key(CLAIM)
    keys = await ring(kept)
    for wrong in (
        None,
        b"",
        b"lp_",
        (clear + "x").encode(),
        clear[:-1].encode(),
        clear.upper().encode(),
        b"lp_00000000_" + b"x" * 43,
        b"\xff\xfe\x00" * 20,
        kept.digest.encode(),
    ):
        with pytest.raises(Unauthorized):
            keys.authenticate(wrong)


async def test_a_revoked_key_is_refused_after_the_next_refresh() -> None:
    """It is gone from memory."""
    clear, kept = key(CLAIM)
    ledger = FakeLedger(kept)
    keys = KeyRing(ledger, None)  # type: ignore[arg-type]
    await keys.refresh()
    keys.authenticate(clear.encode())
    ledger.kept = [replace(kept, revoked_at=datetime.now(UTC))]
    await keys.refresh()
    with pytest.raises(Unauthorized):
        keys.authenticate(clear.encode())
    assert keys.caller(kept.id) is None


async def test_keys_stay_known_while_the_ledger_is_away() -> None:
    """A failed refresh forgets nobody."""
    clear, kept = key(CLAIM)
    ledger = FakeLedger(kept)
    keys = KeyRing(ledger, None)  # type: ignore[arg-type]
    await keys.refresh()
    ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await keys.refresh()
    assert keys.authenticate(clear.encode()).key_id == kept.id


async def test_before_any_key_was_read_nobody_is_called_wrong() -> None:
    """The caller is asked to come back; the admin key from the environment works at once."""
    keys = KeyRing(FakeLedger(), ADMIN_KEY)  # type: ignore[arg-type]
    with pytest.raises(LedgerUnavailable):
        keys.authenticate(key(CLAIM)[0].encode())
    assert keys.authenticate(ADMIN_KEY.encode()).scopes == {"admin"}


async def test_without_an_admin_key_nobody_is_admin() -> None:
    """An empty key, and the name of the admin, open nothing."""
    keys = await ring(admin_key=None)
    assert keys.caller("admin") is None
    for wrong in (b"", b"None", b"admin"):
        with pytest.raises(Unauthorized):
            keys.authenticate(wrong)
    assert (await ring(admin_key=ADMIN_KEY)).caller("admin") is not None


@pytest.mark.parametrize("needed", Scope)
@pytest.mark.parametrize("held", Scope)
def test_a_scope_opens_its_own_calls(held: Scope, needed: Scope) -> None:
    """Admin opens all."""
    caller = Caller("id", frozenset({held.value}), None)
    if held in (needed, ADMIN):
        caller.check(needed, "intro")
        caller.check_everywhere(needed)
    else:
        with pytest.raises(Forbidden, match=needed.value):
            caller.check(needed, "intro")
        with pytest.raises(Forbidden, match=needed.value):
            caller.check_everywhere(needed)


def test_a_key_limited_to_meetings_opens_these_only() -> None:
    """It opens no others, and no call that is about all of them, even with the scope admin."""
    caller = Caller("id", frozenset({"admin"}), frozenset({"intro"}))
    caller.check(CLAIM, "intro")
    with pytest.raises(Forbidden, match="this meeting"):
        caller.check(CLAIM, "demo")
    with pytest.raises(Forbidden, match="all"):
        caller.check_everywhere(READ)


def test_a_key_limited_to_no_meetings_opens_none() -> None:
    """An empty list is not the same as no limit."""
    caller = Caller("id", frozenset({"admin"}), frozenset())
    with pytest.raises(Forbidden):
        caller.check(READ, "intro")


# -- hygiene --------------------------------------------------------------------------


async def test_a_key_that_has_run_out_is_refused_also_while_the_ledger_is_away() -> None:
    """No claim looks at the clock: the key is dropped when keys are refreshed."""
    now = datetime.now(UTC)
    clear, kept = make_key(frozenset({"claim"}), None, "", expires_at=now + timedelta(0, 0.05))
    gone, past = make_key(frozenset({"claim"}), None, "", expires_at=now)
    ledger = FakeLedger(kept, past)
    keys = KeyRing(ledger, None)  # type: ignore[arg-type]
    await keys.refresh()
    assert keys.authenticate(clear.encode()).key_id == kept.id
    with pytest.raises(Unauthorized):
        keys.authenticate(gone.encode())
    ledger.away = True
    await asyncio.sleep(0.06)
    with pytest.raises(LedgerUnavailable):
        await keys.refresh()
    with pytest.raises(Unauthorized):
        keys.authenticate(clear.encode())
    assert keys.caller(kept.id) is None
    assert keys.digest(kept.id) == ""


async def test_a_key_of_some_networks_is_good_from_there_alone() -> None:
    """Others are good from anywhere."""
    clear, kept = make_key(frozenset({"claim"}), None, "", networks=("10.0.0.0/8", "2001:db8::1"))
    caller = (await ring(kept)).authenticate(clear.encode())
    for inside in ("10.1.2.3", "2001:db8::1", "::ffff:10.0.0.1"):
        caller.check_address(inside)
    for outside in ("192.0.2.1", "2001:db8::2", ""):
        with pytest.raises(Forbidden, match="address"):
            caller.check_address(outside)
    Caller("id", frozenset(), None).check_address("192.0.2.1")


async def test_use_is_noted_rarely_and_never_by_a_claim() -> None:
    """It is noted when keys are refreshed, once in a while; unused and wrong keys are not noted."""
    (clear, kept), (_, unused) = key(CLAIM), key(CLAIM)
    ledger = FakeLedger(kept, unused)
    keys = KeyRing(ledger, None)  # type: ignore[arg-type]
    await keys.refresh()
    for _ in range(3):
        for _ in range(100):
            keys.authenticate(clear.encode())
        with pytest.raises(Unauthorized):
            keys.authenticate(b"lp_" + unused.id.encode() + b"_" + b"x" * 43)
        assert len(ledger.noted) <= 1
        await keys.refresh()
    assert ledger.noted == [[kept.id]]


async def test_a_stranger_costs_the_ledger_nothing() -> None:
    """A stranger may make up any number of keys."""
    ledger = FakeLedger(key(CLAIM)[1])
    keys = KeyRing(ledger, None)  # type: ignore[arg-type]
    await keys.refresh()
    asked = ledger.asked
    for _ in range(1_000):
        with pytest.raises(Unauthorized):
            keys.authenticate(key(CLAIM)[0].encode())
    assert ledger.asked == asked


# -- in the ledger ----------------------------------------------------------------------


async def acts(ledger: Ledger) -> list[tuple[str, str, str, dict[str, object]]]:
    """Return the entries of the audit, the oldest first."""
    found = await ledger.audit.list()
    return [(each.actor, each.action, each.reason, each.detail) for each in reversed(found)]


async def test_the_audit_says_who_made_a_key_and_what_it_may_do(sqlite_ledger: Ledger) -> None:
    """It never has the key itself, and leaves out limits that the key does not have."""
    ends = datetime(2031, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
    clear, plain = await issue_key(sqlite_ledger, frozenset({"read", "claim"}), None, "shop", "ann")
    _, narrow = await issue_key(
        sqlite_ledger, frozenset({"admin"}), frozenset({"b", "a"}), "one", "ben",
        expires_at=ends, networks=("10.0.0.0/8",),
    )  # fmt: skip
    kept = [replace(each, created_at=plain.created_at) for each in await sqlite_ledger.keys.all()]
    assert kept == [plain, replace(narrow, created_at=plain.created_at)]
    assert (narrow.expires_at, narrow.networks) == (ends, ("10.0.0.0/8",))
    assert await acts(sqlite_ledger) == [
        ("ann", "key-create", "shop", {"id": plain.id, "scopes": ["claim", "read"]}),
        ("ben", "key-create", "one", {
            "id": narrow.id, "scopes": ["admin"], "meetings": ["a", "b"],
            "networks": ["10.0.0.0/8"], "expires_at": "2031-01-02T03:04:05+00:00",
        }),
    ]  # fmt: skip
    assert clear not in str(await acts(sqlite_ledger))


async def test_a_rotated_key_has_the_same_rights_and_life(sqlite_ledger: Ledger) -> None:
    """The old one works until the overlap is over, or until it would have ended anyway."""
    now = datetime.now(UTC)
    made = (frozenset({"read"}), frozenset({"intro"}), "shop", "ann")
    _, old = await issue_key(
        sqlite_ledger, *made, expires_at=now + timedelta(days=30), networks=("10.0.0.0/8",)
    )
    clear, new = await rotate_key(sqlite_ledger, old.id, 3_600, "ben", "yearly")
    assert new.id != old.id
    assert (new.scopes, new.meetings, new.label, new.networks) == (
        old.scopes, old.meetings, old.label, old.networks,
    )  # fmt: skip
    assert new.expires_at is not None
    assert abs(new.expires_at - (now + timedelta(days=30))) < timedelta(minutes=1)
    kept = {each.id: each for each in await sqlite_ledger.keys.all()}
    ends = kept[old.id].expires_at
    assert ends is not None
    assert abs(ends - (now + timedelta(hours=1))) < timedelta(minutes=1)
    keys = KeyRing(sqlite_ledger, None)
    await keys.refresh()
    assert keys.authenticate(clear.encode()).key_id == new.id
    assert keys.caller(old.id) is not None
    await rotate_key(sqlite_ledger, old.id, 7 * 86_400, "ben")
    kept = {each.id: each for each in await sqlite_ledger.keys.all()}
    assert kept[old.id].expires_at == ends
    said = await acts(sqlite_ledger)
    assert said[1][:3] == ("ben", "key-rotate", "yearly")
    assert said[1][3] == {
        "id": old.id, "new_id": new.id, "ends_at": ends.isoformat(timespec="seconds"),
    }  # fmt: skip
    assert said[2][2] == "shop"
    assert not kept[old.id].good_at(ends)
    _, endless = await issue_key(sqlite_ledger, *made)
    _, again = await rotate_key(sqlite_ledger, endless.id, 0, "ben")
    assert again.expires_at is None


async def test_a_revoked_key_is_dead(sqlite_ledger: Ledger) -> None:
    """It is refused at once and for good, with its reason, and is neither revoked twice nor
    rotated.
    """
    _, kept = await issue_key(sqlite_ledger, frozenset({"read"}), None, "shop", "ann")
    await revoke_key(sqlite_ledger, kept.id, "ben", "lost")
    [dead] = await sqlite_ledger.keys.all()
    assert dead.revoked_at is not None
    assert not dead.good_at(datetime.now(UTC))
    assert (await acts(sqlite_ledger))[-1] == ("ben", "key-revoke", "lost", {"id": kept.id})
    with pytest.raises(UnknownKey, match=kept.id):
        await revoke_key(sqlite_ledger, kept.id, "ben")
    with pytest.raises(UnknownKey, match=kept.id):
        await rotate_key(sqlite_ledger, kept.id, 60, "ben")
    with pytest.raises(UnknownKey, match="00000000"):
        await rotate_key(sqlite_ledger, "00000000", 60, "ben")
    assert len(await acts(sqlite_ledger)) == 2


async def test_use_is_noted_again_after_a_while(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the key that was used is noted, and keys that are gone are forgotten."""
    clock = [1_000.0]
    monkeypatch.setattr("pool.access.api_keys.time.monotonic", lambda: clock[0])
    clear, used = await issue_key(sqlite_ledger, frozenset({"read"}), None, "a", "ann")
    _, unused = await issue_key(sqlite_ledger, frozenset({"read"}), None, "b", "ann")
    keys = KeyRing(sqlite_ledger, ADMIN_KEY)
    assert not keys.loaded
    await keys.refresh()
    assert keys.loaded
    seen: list[datetime | None] = []
    for passed in (0.0, 299.0, 1.0):
        clock[0] += passed
        keys.authenticate(clear.encode())
        await keys.refresh()
        kept = {each.id: each.last_used_at for each in await sqlite_ledger.keys.all()}
        assert kept[unused.id] is None
        seen.append(kept[used.id])
    assert seen[0] is not None
    assert seen[0] == seen[1] != seen[2]
    await revoke_key(sqlite_ledger, used.id, "ann")
    await keys.refresh()
    clock[0] += 301
    await keys.refresh()
    assert keys.digest("admin") == digest(ADMIN_KEY.encode())
    assert KeyRing(sqlite_ledger, None).digest("admin") == ""
    assert (keys.digest(unused.id), keys.digest(used.id)) == (unused.digest, "")
