"""Give tests a NeetoCal provider whose HTTP answers are scripted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from pool.config.settings import Workspace
from pool.errors import (
    ProviderError,
)
from pool.providers import open_provider
from pool.providers.base import Provider

KEY = "key-of-the-workspace-1234567890"
SECRET = "secret-of-the-webhook"
SLUG = "one-off-c5530bc7c9ab"
URL = f"https://acme.neetocal.com/{SLUG}"
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)

Handler = Callable[[httpx.Request], httpx.Response]


def workspace(**fields: Any) -> Workspace:
    given = {"name": "default", "subdomain": "acme", "api_key": SecretStr(KEY)}
    return Workspace(**(given | fields))


def provider(
    handler: Any, *, timeout_seconds: float = 5.0, observe: Any = None, **fields: Any
) -> Provider:
    return open_provider(
        workspace(**fields),
        timeout_seconds=timeout_seconds,
        observe=observe,
        transport=httpx.MockTransport(handler),
    )


def answering(status: int, body: Any = b"", **headers: str) -> Handler:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, content=content, headers=names)


def link(slug: Any = SLUG, url: Any = URL) -> dict[str, Any]:
    return {"slug": slug, "url": url}


async def refusal(handler: Any, **fields: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider(handler, **fields).create_link("abc")
    for hidden in (KEY, SECRET, SLUG):
        assert hidden not in str(caught.value)
    return caught.value
