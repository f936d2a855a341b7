"""Test recording the claims of very many meetings: hints, and the task that they lead to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from pool.compose import Parts, compose
from pool.config.settings import load
from pool.model.meetings import Meeting
from pool.nudges import QUEUE, RECORD, TRANSPORT_OPTIONS, Nudges
from pool.store import key_names
from pool.store.records import payload
from tests.redis_process import RedisServer
from worker.record import record

SIDS = [f"m{n:02d}" for n in range(3)]


@pytest.fixture
async def parts(redis_server: RedisServer, any_url: str, tmp_path: Path) -> AsyncIterator[Parts]:
    """Return the parts a worker works with, and three meetings with a claim each."""
    settings = load(
        {"LINKPOOL_DATA_DIR": str(tmp_path)},
        redis_url=redis_server.url(),
        database_url=any_url,
        neetocal_subdomain="acme",
        neetocal_api_key="key",
    )
    async with compose(settings) as parts:
        for sid in SIDS:
            meeting = Meeting(sid)
            await parts.ledger.meetings.put(meeting)
            await parts.store.published.put([meeting])
            await parts.recovery.recover(sid)
            epoch = (await parts.store.look([sid]))[0].epoch
            await parts.store.add(sid, epoch, [f"one-off-{sid}"], 1_000)
            await parts.store.claim(sid, [(parts.store.names.name(sid, "ann"), payload("ann"))])
        yield parts


async def test_all_are_recorded_by_one_at_a_time(parts: Parts) -> None:
    """The second task leaves the work to the first, but a task for one meeting still records it."""
    async with parts.store.locks.held(key_names.task_lock("record-all")):
        assert await record(parts, None) == 0
        assert await record(parts, SIDS[0]) == 1
    assert await record(parts, None) == 2
    assert await record(parts, None) == 0


def sent(redis_server: RedisServer) -> list[dict[str, Any]]:
    """Return the arguments of the messages that wait at the broker, in order."""
    app = Celery(broker=redis_server.url(1), set_as_current=False)
    app.conf.broker_transport_options = TRANSPORT_OPTIONS
    found = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        while (message := channel.basic_get(QUEUE, no_ack=True)) is not None:
            assert message.headers["task"] == RECORD
            found.append(message.decode()[1])
    app.close()
    return found


def test_hints_for_very_many_meetings_become_one_for_all(redis_server: RedisServer) -> None:
    """Sending a hint takes longer than serving a claim."""
    nudges = Nudges(redis_server.url(1))
    for n in range(500):
        nudges.send(RECORD, sid=f"m{n}")
        nudges.send(RECORD, sid="m0")
    nudges.start()
    found: list[dict[str, Any]] = []
    while {} not in found:
        found += sent(redis_server)
    assert found == [{}]
    # A while later, few are told apart again.
    time.sleep(0.5)
    nudges.send(RECORD, sid="m99")
    nudges.stop()
    assert sent(redis_server) == [{"sid": "m99"}]
