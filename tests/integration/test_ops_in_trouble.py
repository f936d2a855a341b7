"""Test the page while Redis is away, and while the ledger is locked."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from pool.ledger import Ledger
from pool.ledger.deadline import REQUEST_SECONDS
from tests.integration.ops_stage import (  # noqa: F401 - fixtures
    ACTED,
    ADMIN_KEY,
    Browser,
    open_behind_proxy,
    open_browser,
    opened,
)
from tests.redis_process import RedisServer


async def test_without_redis_the_page_says_so_and_nothing_it_cannot_know(
    browser: Browser, redis_server: RedisServer
) -> None:
    """The page recovers together with Redis."""
    token = await browser.sign_in()
    paused = {"csrf": token, "reason": "was made before Redis went"}
    assert (await browser.post("/ops/meetings/shown/pause", paused)).status_code == 303
    redis_server.kill()
    try:
        # What was read before may be shown for two seconds more.
        browser.application.framework.state.ops.live.forget()
        page = (await browser.get("/ops")).text
        assert "Redis does not answer" in page
        assert "data-sid" not in page
        assert "running" not in page
        for path, heading in (
            ("/ops/meetings/shown", "shown"),
            ("/ops/meetings/shown?span=90days", "shown"),
            ("/ops/meetings/shown/drain", "shown"),
            ("/ops/history", "History"),
            ("/ops/history?span=90days", "History"),
        ):
            view = await browser.get(path)
            assert view.status_code == 503, path
            assert f"<h1>{heading}</h1>" in view.text, path
            assert 'aria-label="Main"' in view.text, path
            assert 'data-reload="redis"' in view.text, path
            assert "/ops/runbooks/LinkpoolRedisAway" in view.text, path
        known = (await browser.get("/ops/meetings/shown")).text
        assert "state unknown" in known
        assert "Minimum links kept ready" in known, "the ledger has the settings"
        assert "Oldest fresh link" not in known
        assert "was made before Redis went" in known
    finally:
        redis_server.start()
    async with asyncio.timeout(60):
        view = await browser.get("/ops/meetings/shown")
        while view.status_code != 200:
            await asyncio.sleep(0.2)
            view = await browser.get("/ops/meetings/shown")
    assert "data-reload" not in view.text


async def test_no_action_is_begun_while_the_ledger_is_locked(
    redis_server: RedisServer, sqlite_ledger: Ledger, sqlite_url: str, tmp_path: Path
) -> None:
    """Each is refused before the request's deadline, keeps the typed values, and leaves nothing."""
    path = sqlite_url.removeprefix("sqlite:///")
    async with opened(redis_server, sqlite_ledger, sqlite_url, tmp_path) as browser:
        form = {"csrf": await browser.sign_in(), "reason": "a leak"}
        key = {"label": "shop", "scope-read": "on"}
        actions: dict[str, dict[str, str]] = {
            "/ops/meetings/shown/pause": {},
            "/ops/meetings/shown/resume": {},
            "/ops/meetings/shown/top-up": {},
            "/ops/meetings/shown/drain": {"typed": "shown"},
            "/ops/several": {"act": "top-up", "sid": "shown"},
            "/ops/keys": key,
        }
        before = await sqlite_ledger.audit.list(99)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            answers = await asyncio.gather(
                *(browser.post(place, {**form, **fields}) for place, fields in actions.items())
            )
            assert time.monotonic() - began < REQUEST_SECONDS
            answer = await browser.http.post(
                "/v1/meetings/shown/pause", json={"reason": "x"}, headers={"x-api-key": ADMIN_KEY}
            )
            other.execute("ROLLBACK")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/ledger-unavailable")
        for place, answer in zip(actions, answers, strict=True):
            assert answer.status_code == 303, (place, answer.text)
            text, _, _ = answer.cookies["linkpool_ops_flash"].strip('"').partition(".")
            said = json.loads(base64.urlsafe_b64decode(text))
            assert (said["kind"], said["typed"]["reason"]) == ("failed", "a leak"), place
            assert "nothing was done" in said["text"], place
        # What waited for the lock has ended, and has changed nothing.
        done = await browser.post("/ops/meetings/hidden/pause", form)
        assert done.status_code == 303
        found = await sqlite_ledger.meetings.all()
        assert {each.sid for each in found if each.paused} == {"hidden"}
        assert len(await sqlite_ledger.audit.list(99)) == len(before) + 1
        assert len(await sqlite_ledger.keys.all()) == 0
