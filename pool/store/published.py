"""Publish meetings in Redis, where scripts and API processes read them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.model.meetings import Meeting
from pool.model.pools import pool_names
from pool.store import key_names
from pool.store.connect import run_each, store_errors


class Published:
    """A copy of the ledger's meetings, so that claims need no database."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, meetings: Sequence[Meeting]) -> None:
        """Publish these meetings. Scripts see it at once, API processes within a second."""
        if not meetings:
            return
        with store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for meeting in meetings:
                document = msgspec.json.encode(meeting)
                # Of several pools each keeps its part of the reserve.
                settings: dict[Any, Any] = {
                    "paused": int(meeting.is_stopped),
                    "ttl_ms": meeting.claim_ttl_seconds * 1000,
                    "after_booking": meeting.after_booking,
                    "reserve": -(-meeting.reserve // meeting.shards),
                    "digest": _digest(document),
                }
                pools = meeting.pools
                if meeting.shards > 1:
                    # First, so that a process that reads the new number finds the pools' settings.
                    for pool in pools:
                        pipe.hset(key_names.meeting(pool), mapping=settings)
                        share = -(-meeting.min_fresh // meeting.shards)
                        pipe.hsetnx(key_names.meeting(pool), "target", str(share))
                    pipe.hset(key_names.SHARDS, meeting.sid, str(meeting.shards))
                else:
                    pipe.hdel(key_names.SHARDS, meeting.sid)
                pipe.hset(key_names.meeting(meeting.sid), mapping={**settings, "json": document})
                pipe.hsetnx(key_names.meeting(meeting.sid), "target", str(meeting.min_fresh))
                pipe.sadd(key_names.MEETINGS, meeting.sid)
            pipe.incr(key_names.VERSION)
            await run_each(pipe)

    async def set_targets(self, targets: dict[str, int]) -> None:
        """Set the level below which the claim script asks for a top-up, per pool."""
        if not targets:
            return
        with store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for sid, target in targets.items():
                pipe.hset(key_names.meeting(sid), "target", str(target))
            await run_each(pipe)

    async def link_bases(self) -> dict[str, str]:
        """Return what the URLs of each workspace's links were seen to begin with."""
        with store_errors():
            found: Any = await self._redis.hgetall(key_names.LINK_BASES)
        return {name.decode(): base.decode() for name, base in found.items()}

    async def put_link_bases(self, bases: dict[str, str]) -> None:
        """Publish what links' URLs begin with. API processes see it within a second."""
        values: dict[Any, Any] = {**bases}
        with store_errors():
            await self._redis.hset(key_names.LINK_BASES, mapping=values)

    async def version(self) -> int:
        """Return a counter that grows whenever a meeting is published; 0 if none ever was."""
        with store_errors():
            return int(await self._redis.get(key_names.VERSION) or 0)

    async def sids(self) -> list[str]:
        """Return the SIDs of the published meetings, in order."""
        with store_errors():
            members: Any = await self._redis.smembers(key_names.MEETINGS)
        return sorted(sid.decode() for sid in members)

    async def pools(self) -> list[str]:
        """Return the names of the published meetings' pools.

        A meeting with several also has its SID among them: claims may be left there from the time
        when it had one pool.
        """
        with store_errors():
            pipe = self._redis.pipeline(transaction=False)
            pipe.smembers(key_names.MEETINGS)
            pipe.hgetall(key_names.SHARDS)
            members, shards = await pipe.execute()
        names = sorted(sid.decode() for sid in members)
        for sid, number in sorted(shards.items()):
            names += pool_names(sid.decode(), int(number))
        return names

    async def all(self) -> list[Meeting]:
        """Return every published meeting, in two round trips."""
        sids = await self.sids()
        with store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for sid in sids:
                pipe.hget(key_names.meeting(sid), "json")
            documents = await run_each(pipe) if sids else []
        return [msgspec.json.decode(text, type=Meeting) for text in documents if text]


def digest(meeting: Meeting) -> str:
    """Return the value that `Level.published` has once the meeting is published as it is."""
    return _digest(msgspec.json.encode(meeting))


def _digest(document: bytes) -> str:
    return hashlib.blake2b(document, digest_size=8).hexdigest()
