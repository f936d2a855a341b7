"""Open very many meetings at once: thousands of single transactions would take minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import insert

from bench.stage import Stage
from pool.compose import Parts
from pool.ledger.tables import meetings as table
from pool.model.meetings import Meeting
from pool.store import key_names

_AT_ONCE = 500


def open_many(stage: Stage, meetings: Sequence[Meeting]) -> None:
    """Put meetings into the ledger, publish them, and open their pools."""

    async def put(parts: Parts) -> None:
        # The ledger's own method takes one meeting at a time, as people add them.
        rows = [asdict(meeting) for meeting in meetings]
        database = parts.ledger.meetings._database
        await database.write(lambda connection: connection.execute(insert(table), rows).rowcount)
        for start in range(0, len(meetings), _AT_ONCE):
            await parts.store.published.put(meetings[start : start + _AT_ONCE])

    stage.work(put)
    server = stage.redis.info("server")["run_id"]
    replication = stage.redis.info("replication")["master_replid"]
    pipe = stage.redis.pipeline(transaction=False)
    for meeting in meetings:
        pipe.set(key_names.epoch(meeting.sid), f"{server}:{replication}:bench")
    pipe.execute()
