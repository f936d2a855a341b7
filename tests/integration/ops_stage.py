"""Run the operators' page on a real Redis and a real ledger, and speak to it as a browser does.

A test module imports the fixtures by the names of their functions.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request, Response
from pydantic import SecretStr

from pool.access.api_keys import make_key
from pool.api.ops.frame.routing import views
from pool.api.ops.session.flash import done
from pool.api.ops.session.forms import Posted
from pool.api.server.app import Application
from pool.api.service import Service
from pool.config.settings import Settings, Workspace
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from tests.redis_process import RedisServer

HOOK_SECRET = "the secret of the webhooks of these tests"
ADMIN_KEY = "lp_admin_of_these_tests_and_of_no_others"
ACTED: list[str] = []

acting = views()


@acting.post("/ops/tests/act")
async def act(request: Request, action: Posted) -> Response:
    """Do nothing: this stands for an action of a view."""
    ACTED.append(action.form.text("reason", required=True, max_characters=20))
    return done(request, "/ops", f"Done because of {ACTED[-1]}.")


class Browser:
    """A client that speaks to the application as a browser does, cookies included."""

    def __init__(self, application: Application, ledger: Ledger, service: Service) -> None:
        self.application = application
        self.ledger = ledger
        self.service = service
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application), base_url="http://ops.test"
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Get a page, following redirects."""
        return await self.http.get(path, headers=headers, follow_redirects=True)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """Return a form's answer, without following redirects."""
        return await self.http.post(path, data=fields, headers=headers)

    async def sign_in(self, key: str = ADMIN_KEY) -> str:
        """Sign in. Return the token that the session's forms carry."""
        answer = await self.post("/ops/sign-in", {"key": key})
        assert answer.status_code == 303, answer.text
        return self.token((await self.get("/ops")).text)

    async def new_key(self, *scopes: str, meetings: frozenset[str] | None = None) -> str:
        """Return a key that the application knows."""
        key, record = make_key(frozenset(scopes), meetings, "test")
        await self.ledger.keys.add(record)
        await self.service.keys.refresh()
        return key

    @staticmethod
    def token(html: str) -> str:
        """Return the token in a page."""
        found = re.search(r'name="csrf" value="(\w+)"', html)
        assert found is not None
        return found[1]


@asynccontextmanager
async def opened(
    redis_server: RedisServer, ledger: Ledger, url: str, tmp_path: Path, **more: Any
) -> AsyncIterator[Browser]:
    """Open the application over a real Redis and a real ledger, with two meetings."""
    await ledger.meetings.put(Meeting("shown"))
    await ledger.meetings.put(Meeting("hidden"))
    settings = Settings(
        redis_url=redis_server.url(),
        database_url=url,
        data_dir=tmp_path,
        admin_key=SecretStr(ADMIN_KEY),
        secret_key=SecretStr("a secret of these tests and of no others"),
        **more,
    )
    application = Application(settings)
    application.framework.router.routes[:0] = acting.routes
    ACTED.clear()
    async with application.framework.router.lifespan_context(application.framework):
        browser = Browser(application, ledger, application.framework.state.service)
        try:
            yield browser
        finally:
            await browser.http.aclose()


@pytest.fixture(name="browser")
async def open_browser(
    redis_server: RedisServer, any_ledger: Ledger, any_url: str, tmp_path: Path
) -> AsyncIterator[Browser]:
    """Return the application over a real Redis and a real ledger, with two meetings."""
    async with opened(redis_server, any_ledger, any_url, tmp_path) as browser:
        yield browser


@pytest.fixture(name="behind_proxy")
async def open_behind_proxy(
    redis_server: RedisServer, any_ledger: Ledger, any_url: str, tmp_path: Path
) -> AsyncIterator[Browser]:
    """Return the same behind a proxy on this machine that names people, with a workspace."""
    workspace = Workspace(
        name="default",
        subdomain="acme",
        api_key=SecretStr("key-of-acme"),
        webhook_secret=SecretStr(HOOK_SECRET),
    )
    more = {
        "proxy_identity_header": "X-Forwarded-User",
        "proxy_roles": "vera=viewer, otto=operator, ada=admin",
        "trusted_proxies": "127.0.0.1",
        "workspaces": {"default": workspace},
    }
    async with opened(redis_server, any_ledger, any_url, tmp_path, **more) as browser:
        yield browser
