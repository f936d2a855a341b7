"""Test that no sender waits for a silent PostgreSQL: every answer comes within 8 seconds."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from pool.api.server.app import Application
from pool.config.settings import Settings, Workspace
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from tests.redis_process import RedisServer

if TYPE_CHECKING:  # the plugin is pytest's to import
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)

# Before there was a deadline, an answer took some twenty seconds.
PROMISED_SECONDS = 15.0 if os.environ.get("CI") else 8.0  # CI machines may be slow
ADMIN_KEY = "silent-Vq8Zk2Lw0sXy7Rt4Gh9Jd3Fb6Nm1"
SECRET = "a webhook's secret of these tests"


@pytest.fixture
async def sender(
    postgres: PostgresServer, migrated_postgres: str, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of an API on a PostgreSQL of its own, with a meeting."""
    name = f"t{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_postgres}")
    await admin.close()
    ledger = Ledger.open(postgres.url(name))
    await ledger.meetings.put(Meeting("silent"))
    await ledger.close()
    workspace = Workspace(
        name="default",
        subdomain="acme",
        api_key=SecretStr("key"),
        webhook_secret=SecretStr(SECRET),
        base_url="http://127.0.0.1:1",
    )
    settings = Settings(
        redis_url=redis_server.url(),
        database_url=postgres.url(name),
        data_dir=tmp_path,
        admin_key=SecretStr(ADMIN_KEY),
        secret_key=SecretStr("a secret of these tests and of no others"),
        workspaces={"default": workspace},
    )
    application = Application(settings)
    framework = application.framework
    async with (
        framework.router.lifespan_context(framework),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application),
            base_url="http://silent.test",
            headers={"x-api-key": ADMIN_KEY},
            timeout=60,
        ) as client,
    ):
        yield client


@contextmanager
def silent(postgres: PostgresServer) -> Iterator[None]:
    """Stop all of the server's processes without ending any connection."""
    first = int((postgres.directory / "data" / "postmaster.pid").read_text().split()[0])
    mine = [first, *_children(first)]
    for pid in mine:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in mine:
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def webhook(number: int = 0) -> dict[str, object]:
    """Return a signed webhook, as arguments of a request."""
    body = b'{"event": "booking_created", "booking": {"sid": "b-%d"}}' % number
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "method": "POST", "url": "/v1/webhooks/default", "content": body,
        "headers": {"x-neeto-webhook-signature": f"sha256={digest}"},
    }  # fmt: skip


async def timed(client: httpx.AsyncClient, **request: object) -> tuple[float, httpx.Response]:
    """Return the seconds that an answer took, and the answer."""
    started = time.monotonic()
    answer = await client.request(**request)  # type: ignore[arg-type]
    return time.monotonic() - started, answer


async def accepted_again(sender: httpx.AsyncClient) -> None:
    """Wait until webhooks are accepted."""
    async with asyncio.timeout(60):
        while (await timed(sender, **webhook(1)))[1].status_code != 202:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_a_silent_database_keeps_no_sender_waiting(
    sender: httpx.AsyncClient, postgres: PostgresServer
) -> None:
    """More webhooks than there are connections, and every other kind of call, are answered in
    time.
    """
    assert (await timed(sender, **webhook()))[1].status_code == 202
    calls: list[dict[str, object]] = [webhook(number) for number in range(1, 9)]
    calls += [
        {"method": method, "url": url, "json": body}
        for method, url, body in (
            ("GET", "/v1/links/one-off-1", None),
            ("GET", "/v1/events", None),
            ("GET", "/v1/meetings/silent/claims/nobody", None),
            ("DELETE", "/v1/meetings/silent/claims/nobody", None),
            ("PUT", "/v1/meetings/silent", {"min_fresh": 5}),
            ("POST", "/v1/meetings/silent/pause", {"reason": "x"}),
            ("POST", "/v1/meetings/silent/drain", {"reason": "x"}),
            ("POST", "/v1/events/replay", {"state": "dead", "reason": "x"}),
            ("POST", "/v1/meetings/elsewhere/claims", {"customer_id": "ann"}),
        )
    ]
    with silent(postgres):
        answers = await asyncio.gather(*(timed(sender, **call) for call in calls))
        again = await timed(sender, **webhook(9))
    for call, (seconds, answer) in zip([*calls, webhook(9)], [*answers, again], strict=True):
        assert seconds < PROMISED_SECONDS, call["url"]
        if call["url"] == "/v1/meetings/elsewhere/claims" and answer.status_code == 404:
            continue  # all meetings were read from Redis before
        assert answer.status_code == 503, (call["url"], answer.text)
        assert answer.json()["type"] == "/problems/ledger-unavailable", call["url"]
        assert int(answer.headers["retry-after"]) > 0
        # An action is not begun, which is said sooner.
        acts = call["method"] in ("PUT", "DELETE") or "reason" in (call.get("json") or {})
        assert acts is ("nothing was done" in answer.json()["detail"]), call["url"]
        assert not acts or seconds < PROMISED_SECONDS / 2, call["url"]
    # By the same connections or by new ones.
    await accepted_again(sender)


async def test_a_database_that_is_gone_is_reported_at_once(
    sender: httpx.AsyncClient, postgres: PostgresServer
) -> None:
    """Webhooks are answered 503 with Retry-After in time."""
    assert (await timed(sender, **webhook()))[1].status_code == 202
    postgres.stop()
    try:
        answers = await asyncio.gather(*(timed(sender, **webhook(each)) for each in range(5)))
    finally:
        postgres.start()
    for seconds, answer in answers:
        assert seconds < PROMISED_SECONDS
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
    await accepted_again(sender)
