"""Test browser tokens: which are believed, in whose name, and the error for each bad one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest

from pool.access.api_keys import KeyRing, Scope, make_key
from pool.access.token_secrets import (
    SecretRing,
    SecretSource,
    issue_secret,
    revoke_secret,
)
from pool.access.tokens import TOKEN_CHARACTERS, TokenClaims, Tokens
from pool.errors import (
    InvalidCustomerId,
    InvalidRequest,
    InvalidToken,
    LedgerUnavailable,
    LinkpoolError,
    UnknownKey,
    UnknownMeeting,
)
from pool.ledger import Ledger
from pool.ledger.records import ApiKey, TokenSecret
from tests.bad_tokens import BAD_TOKENS, Forge, signed

NOW = 1_800_000_000
SOURCE = SecretSource(b"a secret key of the tests")
ADMIN_KEY = "an admin key from the environment"


class Kept:
    """The keys and token secrets of a ledger."""

    def __init__(self, keys: list[ApiKey], secrets: list[TokenSecret]) -> None:
        async def all_keys() -> list[ApiKey]:
            return keys

        async def all_secrets() -> list[TokenSecret]:
            return secrets

        async def note_use(*_: object) -> None:
            return None

        self.ledger: Any = SimpleNamespace(
            keys=SimpleNamespace(all=all_keys, note_use=note_use),
            token_secrets=SimpleNamespace(all=all_secrets),
        )


class World:
    """One key with one secret, and a clock."""

    def __init__(self) -> None:
        _, self.key = make_key(frozenset({Scope.CLAIM.value}), None, "site")
        self.secret = TokenSecret("0badcafe", self.key.id, datetime.now(UTC))
        self.keys, self.secrets = [self.key], [self.secret]
        kept = Kept(self.keys, self.secrets)
        self.ring = KeyRing(kept.ledger, ADMIN_KEY)
        self.secret_ring = SecretRing(kept.ledger, SOURCE)
        self.tokens = Tokens(self.ring, self.secret_ring, lambda: NOW)

    async def refresh(self) -> None:
        await self.ring.refresh()
        await self.secret_ring.refresh()

    @property
    def forge(self) -> Forge:
        return Forge(self.key.id, SOURCE.of(self.secret), NOW)


@pytest.fixture
async def world() -> World:
    """Return a world whose keys were read."""
    made = World()
    await made.refresh()
    return made


async def test_a_token_claims_in_the_name_of_its_key(world: World) -> None:
    caller, claims = world.tokens.verify(world.forge.good(email="ann@example.com"))
    assert caller.key_id == world.key.id
    assert claims == TokenClaims("demo", "visitor-1", "ann@example.com")


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_refused(world: World, name: str) -> None:
    """Each row of the table is refused as it says, without a word of the token's claims."""
    make, status = BAD_TOKENS[name]
    refusals: dict[int, tuple[type[LinkpoolError], ...]] = {
        401: (InvalidToken,),
        404: (UnknownMeeting,),
        422: (InvalidCustomerId, InvalidRequest),
    }
    with pytest.raises(refusals[status]) as refused:
        world.tokens.verify(make(world.forge))
    assert "visitor-1" not in str(refused.value)


@pytest.mark.parametrize("seconds", [-59, 0, 24 * 3600, 24 * 3600 + 59])
async def test_clocks_may_differ_by_a_minute(world: World, seconds: int) -> None:
    assert world.tokens.verify(world.forge.good(exp=NOW + seconds))


async def test_the_longest_claims_fit_into_a_token(world: World) -> None:
    """256 characters, each escaped as a pair, beside the longest e-mail address."""
    email = "e" * 242 + "@example.org"
    token = world.forge.good(customer_id="\U0001f600" * 256, email=email)
    assert len(token) <= TOKEN_CHARACTERS
    assert world.tokens.verify(token)[1].customer_id == "\U0001f600" * 256


async def test_two_secrets_sign_side_by_side_until_one_is_revoked(world: World) -> None:
    """Tokens of the other secret stay good, and those of the revoked one do not."""
    second = TokenSecret("feedbeef", world.key.id, datetime.now(UTC))
    world.secrets.append(second)
    await world.refresh()
    new = Forge(world.key.id, SOURCE.of(second), NOW).good()
    old = world.forge.good()
    assert world.tokens.verify(old)
    assert world.tokens.verify(new)
    world.secrets[0] = replace(world.secret, revoked_at=datetime.now(UTC))
    await world.refresh()
    assert world.tokens.verify(new)
    with pytest.raises(InvalidToken):
        world.tokens.verify(old)


@pytest.mark.parametrize(
    "end",
    [
        lambda key: replace(key, revoked_at=datetime.now(UTC)),
        lambda key: replace(key, expires_at=datetime.now(UTC) - timedelta(seconds=1)),
    ],
    ids=["revoked", "expired"],
)
async def test_a_token_ends_with_its_key(world: World, end: Callable[[ApiKey], ApiKey]) -> None:
    """That holds for a site's own tokens and for those that the server signed for it."""
    caller = world.ring.caller(world.key.id)
    assert caller is not None
    served, _ = world.tokens.sign(caller, TokenClaims("demo", "visitor-1"), 60)
    assert world.tokens.verify(served)
    world.keys[0] = end(world.key)
    await world.refresh()
    for token in (served, world.forge.good()):
        with pytest.raises(InvalidToken):
            world.tokens.verify(token)


async def test_a_served_token_of_the_admin_key_ends_with_that_key(world: World) -> None:
    admin = world.ring.authenticate(ADMIN_KEY.encode())
    token, expires_at = world.tokens.sign(admin, TokenClaims("demo", "visitor-1"), 60)
    assert expires_at == NOW + 60
    assert world.tokens.verify(token)[0].key_id == "admin"
    kept = Kept([], [])
    changed = KeyRing(kept.ledger, "another admin key from the environment")
    await changed.refresh()
    with pytest.raises(InvalidToken):
        Tokens(changed, world.secret_ring, lambda: NOW).verify(token)


async def test_no_key_signs_in_the_name_of_another(world: World) -> None:
    _, other = make_key(frozenset({Scope.ADMIN.value}), None, "other")
    world.keys.append(other)
    await world.refresh()
    with pytest.raises(InvalidToken):
        world.tokens.verify(Forge(other.id, SOURCE.of(world.secret), NOW).good())


async def test_before_the_keys_are_read_nothing_is_judged() -> None:
    world = World()
    with pytest.raises(LedgerUnavailable):
        world.tokens.verify(world.forge.good())


async def test_claims_of_other_users_of_jwt_are_ignored(world: World) -> None:
    """`iat`, `iss` and `jti` are what libraries add."""
    assert world.tokens.verify(world.forge.good(iat=NOW, iss="https://example.com", jti="1"))


def test_a_secret_is_long_and_follows_from_the_secret_key() -> None:
    secret = TokenSecret("0badcafe", "1a2b3c4d", datetime.now(UTC))
    text = SOURCE.of(secret)
    assert text.startswith("lps_0badcafe_")
    assert len(text) >= 32
    assert SecretSource(b"a secret key of the tests").of(secret) == text
    assert SecretSource(b"another secret key").of(secret) != text
    assert SOURCE.of(replace(secret, id="0badcaff"))[13:] != text[13:]
    assert SOURCE.of(replace(secret, key_id="1a2b3c4e")) != text


def test_a_token_is_what_every_library_signs() -> None:
    """PyJWT's own `encode` and the forge agree."""
    forge = Forge("1a2b3c4d", "s" * 32, NOW)
    claims = {"meeting": "demo", "customer_id": "visitor-1", "exp": NOW + 600}
    theirs = jwt.encode(claims, "s" * 32, algorithm="HS256", headers={"kid": "1a2b3c4d"})
    assert jwt.decode(
        forge.good(), "s" * 32, algorithms=["HS256"], options={"verify_exp": False}
    ) == jwt.decode(theirs, "s" * 32, algorithms=["HS256"], options={"verify_exp": False})
    assert signed({"alg": "HS256"}, claims, "s" * 32).count(".") == 2


# -- in the ledger -----------------------------------------------------------------


async def test_a_key_has_two_secrets_at_a_time(sqlite_ledger: Ledger) -> None:
    """The third is refused until one is revoked; the audit log knows, the ledger holds no text."""
    _, key = make_key(frozenset({Scope.CLAIM.value}), None, "site")
    await sqlite_ledger.keys.add(key)
    first, kept = await issue_secret(sqlite_ledger, SOURCE, key.id, "tests")
    await issue_secret(sqlite_ledger, SOURCE, key.id, "tests")
    with pytest.raises(InvalidRequest, match="revoke-secret"):
        await issue_secret(sqlite_ledger, SOURCE, key.id, "tests")
    await revoke_secret(sqlite_ledger, kept.id, "tests", "rotated")
    with pytest.raises(UnknownKey):
        await revoke_secret(sqlite_ledger, kept.id, "tests")
    await issue_secret(sqlite_ledger, SOURCE, key.id, "tests")
    found = await sqlite_ledger.token_secrets.all()
    assert [each.revoked_at is None for each in found].count(True) == 2
    entries = await sqlite_ledger.audit.list(limit=10)
    assert [each.action for each in entries].count("token-secret-create") == 3
    assert [each.reason for each in entries if each.action == "token-secret-revoke"] == ["rotated"]
    assert first[13:] not in f"{found}{entries}"


async def test_secrets_are_made_for_valid_keys_only(sqlite_ledger: Ledger) -> None:
    _, key = make_key(frozenset({Scope.CLAIM.value}), None, "site")
    await sqlite_ledger.keys.add(key)
    await sqlite_ledger.keys.revoke(key.id, datetime.now(UTC))
    for key_id in (key.id, "00000000", "admin"):
        with pytest.raises(UnknownKey):
            await issue_secret(sqlite_ledger, SOURCE, key_id, "tests")


async def test_two_processes_do_not_make_a_third_secret(sqlite_ledger: Ledger) -> None:
    """The count and the insert are one transaction."""
    _, key = make_key(frozenset({Scope.CLAIM.value}), None, "site")
    await sqlite_ledger.keys.add(key)
    made = await asyncio.gather(
        *(issue_secret(sqlite_ledger, SOURCE, key.id, "tests") for _ in range(6)),
        return_exceptions=True,
    )
    assert sum(not isinstance(each, Exception) for each in made) == 2
