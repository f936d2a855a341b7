"""Test the time that all of a request's statements have together."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from pool.api.server.edge import Edge
from pool.config.networks import TrustedProxies
from pool.errors import LedgerUnavailable
from pool.ledger.database import DEADLINE_SECONDS, Database
from pool.ledger.deadline import REQUEST_SECONDS, is_bounded, left_seconds, within


def test_a_request_leaves_time_to_answer_within_eight_seconds() -> None:
    assert REQUEST_SECONDS < 7.5


def test_the_sooner_end_counts() -> None:
    assert not is_bounded()
    assert left_seconds(20) == 20
    with within(5):
        assert 4 < left_seconds(20) <= 5
        assert left_seconds(1) == 1
        with within(60):
            assert left_seconds(20) <= 5
        with within(1):
            assert left_seconds(20) <= 1
    assert not is_bounded()


async def test_what_outlives_a_request_has_its_own_time() -> None:
    """A background task that a request began is not bound by it once it was answered."""
    answered = asyncio.Event()

    async def background() -> float:
        await answered.wait()
        return left_seconds(20)

    with within(0):
        task = asyncio.create_task(background())
        assert left_seconds(20) == 0
    answered.set()
    assert await task == 20


@pytest.fixture
def database(sqlite_url: str) -> Database:
    """Return a database whose statements never end, until they are cancelled."""
    made = Database(sqlite_url)
    started: list[str] = []

    class Silent:
        async def read(self, _work: object) -> None:
            started.append("read")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)  # as long as its connection takes to close
                started.append("closed")

        write = read

        async def close(self) -> None:
            started.append("all closed")

    made._kind = Silent()  # type: ignore[assignment]
    made.started = started  # type: ignore[attr-defined]
    return made


async def test_several_statements_wait_no_longer_than_one(database: Database) -> None:
    """The second is refused at once; and nobody waits for connections that are being closed."""
    with within(0.02):
        for _ in range(5):
            with pytest.raises(LedgerUnavailable, match="in time"):
                await database.read(lambda _: None)
        assert "closed" not in database.started  # type: ignore[attr-defined]
    await database.close()
    assert database.started.count("closed") == database.started.count("read")  # type: ignore[attr-defined]
    assert database.started[-1] == "all closed"  # type: ignore[attr-defined]


def test_without_a_bound_a_statement_has_the_usual_time() -> None:
    assert left_seconds(DEADLINE_SECONDS) == DEADLINE_SECONDS


async def test_an_answer_that_has_begun_may_last_and_so_may_what_it_started() -> None:
    """A page's live channel is one request, and asks the ledger as long as the page is open."""
    bounded: list[bool] = []
    begun = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        async def go_on() -> None:
            await begun.wait()
            bounded.append(is_bounded())

        task = asyncio.create_task(go_on())
        bounded.append(is_bounded())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await task
        bounded.append(is_bounded())
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Message) -> None:
        """Take it."""

    scope = {
        "type": "http", "method": "GET", "path": "/ops/stream", "query_string": b"",
        "headers": [], "client": ("127.0.0.1", 1), "scheme": "http",
    }  # fmt: skip
    await Edge(stream, TrustedProxies(""))(scope, receive, send)
    assert bounded == [True, False, False]
