"""Test API keys: their form, what they may do, and how they are told apart."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pool.access.api_keys import Caller, KeyRing, Scope, digest, make_key
from pool.errors import Forbidden, LedgerUnavailable, Unauthorized
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
    """Without a look at the clock on any claim: it is let go when keys are read."""
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
    """Once in a while per key, when keys are read; unused and wrong keys are not noted."""
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
