"""Take a customer through everything on real parts, and search every byte that is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncpg

from pool.bookings.bookings import Bookings
from pool.config.settings import Settings
from pool.durability.erasure import Erasure
from pool.durability.recorder import Recorder
from pool.ledger import Ledger
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.providers import open_provider
from pool.store.records import payload
from sandbox.signing import signed
from tests.acme import ACME
from tests.any_redis import AnyRedis
from tests.integration.ledger_samples import NOW
from tests.redis_process import RedisServer


class Customer:
    """A customer with an id, an e-mail and a name that stand nowhere else."""

    def __init__(self, number: int) -> None:
        self.id = f"order-7f3a-{number}-z"
        self.email = f"Zoe.{number}.z@private.example"
        self.name = f"Zoë Überall-{number}-z"
        self.words = (self.id, self.email, self.name)

    def traces(self) -> set[bytes]:
        """Return every form in which the customer's words may be written."""
        forms: set[str] = set()
        for word in self.words:
            for text in (word, word.casefold(), word.replace("@", "%40")):
                forms |= {text, json.dumps(text)[1:-1]}
        return {form.encode() for form in forms}


class Stage:
    """A meeting, its pool, and the parts that settle and erase."""

    def __init__(
        self, redis: AnyRedis, server: RedisServer, ledger: Ledger, database_url: str
    ) -> None:
        self.redis, self.server, self.database_url = redis, server, database_url
        self.store, self.ledger = redis.store, ledger
        settings = Settings(workspaces={"default": ACME})
        self.recorder = Recorder(redis.store, ledger, settings, conflict=lambda: None)
        provider = open_provider(ACME, timeout_seconds=1.0, observe=lambda *_: None)
        parts: Any = (redis.store, ledger, self.recorder, {"default": provider})
        self.erasure = Erasure(*parts)
        self.bookings = Bookings(*parts, counted=lambda *_: None)

    async def open(self, sid: str, slugs: Iterable[str]) -> None:
        """Open a pool with these links."""
        meeting = Meeting(sid)
        await self.ledger.meetings.put(meeting)
        await self.store.published.put([meeting])
        async with self.store.locks.held(f"lp:{{{sid}}}:recovering") as lock:
            assert lock is not None
            identity = await self.store.recovery.begin(sid, lock.token, keep_fresh=False)
            await self.store.recovery.open(sid, lock.token, identity, "n")
        epoch, made = f"{identity}:n", list(slugs)
        await self.ledger.links.insert_fresh(
            [
                Link(
                    slug, f"https://acme.neetocal.com/{slug}", sid, State.FRESH, "pool", epoch, NOW
                )
                for slug in made
            ]
        )
        await self.store.add(sid, epoch, made, 1)

    async def claim(self, sid: str, who: Customer, **metadata: object) -> str:
        """Claim a link, which stands in the stream then. Return its slug."""
        name = self.store.names.name(sid, who.id)
        told = payload(who.id, who.email, metadata | {"name": who.name})
        batch = await self.store.claim(sid, [(name, told)])
        claim = batch.answers[0].claim
        assert claim is not None
        return claim.slug

    async def receive(self, event: dict[str, Any]) -> str:
        """Receive a signed webhook."""
        sent = signed(event, secret="secret", escape="raw", wrong=False)
        return await self.bookings.receive("default", sent.body, [sent.signature or ""])

    async def settle(self) -> None:
        """Settle everything that is due, unmatched events too."""
        while await self.bookings.settle_due():
            pass

    async def link(self, slug: str) -> Link:
        link = await self.ledger.links.get(slug)
        assert link is not None
        return link

    async def found(self, words: Iterable[bytes]) -> dict[str, list[bytes]]:
        """Return the places, in all that is kept, where any of these byte strings stands."""
        wanted = list(words)
        places = {
            place: [word for word in wanted if word in kept]
            for place, kept in (await self._kept()).items()
        }
        return {place: there for place, there in places.items() if there}

    async def _kept(self) -> dict[str, bytes]:
        kept: dict[str, bytes] = {}
        if self.database_url.startswith("sqlite"):
            path = Path(self.database_url.removeprefix("sqlite:///"))
            for file in sorted(path.parent.glob(f"{path.name}*")):
                kept[file.name] = file.read_bytes()
        else:
            kept |= await _tables(self.database_url)
        async for key in self.redis.bare.scan_iter():
            kept[f"redis {key!r}"] = key + (await self.redis.bare.dump(key) or b"")
        held = await self.redis.everything()
        kept["redis values"] = repr(held).encode() + str(held).encode()
        kept |= await self._append_only_file()
        return kept

    async def _append_only_file(self) -> dict[str, bytes]:
        """Return the append-only file after a rewrite, which the workers ask for once a day."""
        await written(self.redis)
        assert await self.store.erasing.rewrite_file()
        await written(self.redis)
        files = [file for file in self.server.directory.rglob("appendonly*") if file.is_file()]
        assert files
        return {f"aof {file.name}": file.read_bytes() for file in files}


async def written(redis: AnyRedis) -> None:
    """Wait until Redis does not rewrite its append-only file any more."""
    while True:
        info = await redis.bare.info("persistence")
        if not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]):
            return
        await asyncio.sleep(0.01)


async def _tables(database_url: str) -> dict[str, bytes]:
    """Return a dump of each table."""
    connection = await asyncpg.connect(database_url)
    try:
        names = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        dumped: dict[str, bytes] = {}
        for (name,) in names:
            rows = await connection.fetch(f'SELECT * FROM "{name}"')
            values = [value for row in rows for value in row.values()]
            dumped[name] = b"\n".join(
                value if isinstance(value, bytes) else str(value).encode() for value in values
            )
        return dumped
    finally:
        await connection.close()
