"""Reading the claims stream, whose form lua/stream.lua documents."""

from __future__ import annotations

import msgspec

from pool.links import Source
from pool.store.records import StreamedClaim


class _Customer(msgspec.Struct, array_like=True, gc=False):
    """What `payload` wrote."""

    customer_id: str
    email: str | None = None
    metadata: dict[str, object] | None = None


_customers = msgspec.msgpack.Decoder(list[_Customer])


class Unreadable(Exception):
    """An entry of a claims stream is not of the form that this linkpool writes and reads."""


def streamed(entry_id: bytes, fields: dict[bytes, bytes]) -> list[StreamedClaim]:
    """Return the claims that one entry holds. Raises Unreadable."""
    try:
        return _claims(entry_id, fields)
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        # Not the error's text: it may quote what the entry holds.
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
