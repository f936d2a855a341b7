"""Keep what the forecast expects of each meeting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.model.forecast import Outlook, Usual
from pool.store import key_names
from pool.store.connect import store_errors

# The first hour; then for each hour the usual claims and their deviation, in tenths of a claim.
_Packed = tuple[int, list[tuple[int, int]]]
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Packed).decode
_TENTHS = 10


class Outlooks:
    """The outlooks of all meetings. A meeting without one has not been forecast yet."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, sids: Sequence[str]) -> dict[str, Outlook]:
        """Return the outlooks of these meetings by SID, without those that have none."""
        if not sids:
            return {}
        with store_errors():
            found: Any = await self._redis.hmget(key_names.OUTLOOKS, list(sids))
        return {sid: _outlook(text) for sid, text in zip(sids, found, strict=True) if text}

    async def put(self, outlooks: Mapping[str, Outlook]) -> None:
        """Keep these outlooks."""
        if outlooks:
            mapping: dict[Any, Any] = {sid: _packed(each) for sid, each in outlooks.items()}
            with store_errors():
                await self._redis.hset(key_names.OUTLOOKS, mapping=mapping)


def _packed(outlook: Outlook) -> bytes:
    tenths = [[round(_TENTHS * value) for value in usual] for usual in outlook.hours]
    return _pack((outlook.first_hour, tenths))


def _outlook(text: bytes) -> Outlook:
    first_hour, hours = _unpack(text)
    return Outlook(
        first_hour, tuple(Usual(claims / _TENTHS, off / _TENTHS) for claims, off in hours)
    )
