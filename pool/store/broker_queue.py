"""Look at the messages that wait in Celery's queue, where the broker is a Redis."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from pool.store.connect import open_redis, store_errors

_LOOKED_AT = 200  # messages, the newest first


class _Headers(msgspec.Struct):
    task: str = ""
    expires: str | None = None


class _Message(msgspec.Struct):
    headers: _Headers = msgspec.field(default_factory=_Headers)


async def newest_expiry(url: str, queue: str, task: str) -> datetime | None:
    """Return when the newest waiting message for this task expires, None if none waits.

    `queue` is the key of the list. Raise SettingsError or StoreUnavailable.
    """
    redis = open_redis(url, timeout_seconds=2.0, max_connections=1)
    try:
        with store_errors():
            pipe = redis.pipeline(transaction=False)
            for place in range(min(_LOOKED_AT, await redis.llen(queue))):
                pipe.lindex(queue, place)
            waiting = await pipe.execute()
    finally:
        await redis.aclose(close_connection_pool=True)
    for each in waiting:
        if each is None:
            continue  # taken meanwhile
        try:
            headers = msgspec.json.decode(each, type=_Message).headers
            if headers.task == task and headers.expires:
                expires = datetime.fromisoformat(headers.expires)
                return expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        except (msgspec.MsgspecError, ValueError):
            continue
    return None
