"""Make, revoke and know the secrets with which sites sign browser tokens.

A secret is `lps_<8 hex id>_<43 url-safe characters>`. It is derived from the secret key, the API
key's id and its own id, so that every process can verify with it and nothing that signs is kept.
An API key may have two at a time: a site deploys the second before the first is revoked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from pool.access.api_keys import no_live_key
from pool.errors import InvalidRequest, UnknownKey
from pool.ledger import Ledger
from pool.ledger.records import TokenSecret

SECRETS_PER_KEY = 2


class SecretSource:
    """Derives the text of every token secret from the secret key."""

    def __init__(self, secret_key: bytes) -> None:
        self._key = hashlib.sha256(b"linkpool tokens\0" + secret_key).digest()

    def of(self, secret: TokenSecret) -> str:
        """Return the secret as its owner is shown it."""
        return f"lps_{secret.id}_{self._derived('site', secret.key_id, secret.id)}"

    def own(self, key_id: str, digest: str) -> str:
        """Return the secret with which the server itself signs in the name of a key.

        Nobody is shown it, and it ends with the key: `digest` is that of the key.
        """
        return self._derived("server", key_id, digest)

    def _derived(self, *parts: str) -> str:
        made = hmac.digest(self._key, "\0".join(parts).encode(), "sha256")
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


async def issue_secret(
    ledger: Ledger, source: SecretSource, key_id: str, actor: str
) -> tuple[str, TokenSecret]:
    """Make a secret for a key, and write to the audit log who made it.

    Return the secret in clear, and the stored record. Raise UnknownKey if no valid key has this
    id, and InvalidRequest if the key has two secrets already.
    """
    now = datetime.now(UTC)
    if not any(key.id == key_id and key.good_at(now) for key in await ledger.keys.all()):
        raise no_live_key(key_id)
    secret = TokenSecret(secrets.token_hex(4), key_id, now)
    if not await ledger.token_secrets.add(secret, at_most=SECRETS_PER_KEY):
        raise InvalidRequest(
            f"key {key_id} has {SECRETS_PER_KEY} token secrets; revoke one with "
            "`linkpool tokens revoke-secret ID` first"
        )
    await ledger.audit.add(actor, "token-secret-create", None, "", {"id": secret.id, "key": key_id})
    return source.of(secret), secret


async def revoke_secret(ledger: Ledger, secret_id: str, actor: str, reason: str = "") -> None:
    """Revoke a secret, and write to the audit log who did it.

    Every process refuses its tokens within 5 s. Raise UnknownKey if no such secret is valid.
    """
    key_id = await ledger.token_secrets.revoke(secret_id, datetime.now(UTC))
    if key_id is None:
        raise UnknownKey(
            f"there is no valid token secret with the id {secret_id}; "
            "see `linkpool tokens list-secrets`"
        )
    detail: dict[str, object] = {"id": secret_id, "key": key_id}
    await ledger.audit.add(actor, "token-secret-revoke", None, reason, detail)


class SecretRing:
    """The token secrets that a process holds in memory. Call `refresh` at least every 2 s."""

    def __init__(self, ledger: Ledger, source: SecretSource) -> None:
        self._ledger = ledger
        self._source = source
        self._texts: dict[str, tuple[str, ...]] = {}

    async def refresh(self) -> None:
        """Read from the ledger which secrets are valid.

        Raise LedgerUnavailable if the ledger does not answer; what was read before stays in use.
        """
        texts: dict[str, tuple[str, ...]] = {}
        for secret in await self._ledger.token_secrets.all():
            if secret.revoked_at is None:
                known = texts.get(secret.key_id, ())
                texts[secret.key_id] = (*known, self._source.of(secret))
        self._texts = texts

    def of(self, key_id: str, digest: str) -> tuple[str, ...]:
        """Return the secrets that may sign in the name of a key: its own ones, and the server's."""
        return (*self._texts.get(key_id, ()), self._source.own(key_id, digest))
