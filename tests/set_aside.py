"""Read the entries of claims streams that were set aside, as an operator does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from pool.store import Store, key_names

_kept = msgspec.msgpack.Decoder(tuple[str, list[tuple[bytes, bytes]]])


@dataclass(frozen=True, slots=True)
class SetAside:
    """One entry as it stood in its stream. Its fields may hold customer ids."""

    sid: str
    entry_id: str
    reason: str
    fields: dict[bytes, bytes]


async def all_set_aside(store: Store) -> list[SetAside]:
    """Return every entry that was set aside, the oldest of each meeting first."""
    found: Any = await store._redis.hgetall(key_names.SET_ASIDE)
    entries = []
    for name, kept in found.items():
        sid, entry_id = name.decode().split(" ")
        reason, fields = _kept.decode(kept)
        entries.append(SetAside(sid, entry_id, reason, dict(fields)))
    return sorted(entries, key=lambda entry: (entry.sid, entry.entry_id))
