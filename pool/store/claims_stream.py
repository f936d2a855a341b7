"""Read answered claims from the stream, in the form that lua/stream.lua documents; trim it."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis

from pool.model.links import Source
from pool.store import key_names
from pool.store.connect import store_errors
from pool.store.records import BATCH_LIMIT, StreamedClaim
from pool.store.set_aside import SetAsides

log = structlog.get_logger()


class ClaimsStream:
    """The claims that the ledger does not have yet. Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, set_aside: SetAsides) -> None:
        self._redis = redis
        self._set_aside = set_aside

    async def unrecorded(
        self, sid: str, limit: int, *, after: str | None = None
    ) -> list[StreamedClaim]:
        """Return the oldest claims that the ledger does not have yet, later than entry `after`.

        Return at least `limit` if there are that many, and all claims of an entry or none. It
        takes more than one round trip where entries hold few claims each. An entry that cannot
        be read is set aside for a person, so that it holds up no other claim.
        """
        claims: list[StreamedClaim] = []
        count = max(1, limit // BATCH_LIMIT)
        while True:
            since = "-" if after is None else f"({after}"
            with store_errors():
                entries: Any = await self._redis.xrange(
                    key_names.claims(sid), min=since, count=count
                )
            for entry_id, fields in entries:
                after = entry_id.decode()
                try:
                    claims += streamed(entry_id, fields)
                except Unreadable as error:
                    log.warning("claims set aside", meeting=sid, entry=after, reason=str(error))
                    await self._set_aside.put(sid, after, fields, str(error))
                if len(claims) >= limit:
                    return claims
            if len(entries) < count:
                return claims
            count = 4 * count

    async def trim(self, sid: str, last_entry_id: str) -> None:
        """Drop the stream's entries up to and including this one, once the ledger has them."""
        ms, sequence = last_entry_id.split("-")
        with store_errors():
            await self._redis.xtrim(
                key_names.claims(sid), minid=f"{ms}-{int(sequence) + 1}", approximate=False
            )


class _Customer(msgspec.Struct, array_like=True, gc=False):
    """A customer, as `payload` in pool/store/records.py writes them."""

    customer_id: str
    email: str | None = None
    metadata: dict[str, object] | None = None


_customers = msgspec.msgpack.Decoder(list[_Customer])


class Unreadable(Exception):
    """An entry of a claims stream is not in the form that this linkpool reads."""


def streamed(entry_id: bytes, fields: dict[bytes, bytes]) -> list[StreamedClaim]:
    """Return the claims that one entry holds. Raise Unreadable."""
    try:
        return _claims(entry_id, fields)
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        # Without the error's text, which may quote the entry.
        raise Unreadable(f"it cannot be read ({type(error).__name__})") from error


def _claims(entry_id: bytes, fields: dict[bytes, bytes]) -> list[StreamedClaim]:
    entry = entry_id.decode()
    at_ms = int(fields.get(b"a") or entry.split("-")[0])
    source: Source = "direct" if b"d" in fields else "pool"
    replaces = fields[b"r"].decode() if b"r" in fields else None
    why = fields.get(b"w", b"").decode()
    return [
        StreamedClaim(
            entry, slug, who.customer_id, who.email, who.metadata, source, at_ms, replaces, why
        )
        for slug, who in zip(_slugs(fields[b"s"]), _customers.decode(fields[b"c"]), strict=True)
    ]


def _slugs(packed: bytes) -> list[str]:
    text = packed.decode()
    first = text.split(" ", 1)[0].split("~", 1)[0]
    stem = first[: first.rfind("-") + 1]
    return text.replace("~", f" {stem}").split(" ")
