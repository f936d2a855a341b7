"""Test that no web page can make a browser send the sandbox's control calls, which need no key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.app import build
from sandbox.core import Config, Sandbox
from sandbox.knobs import Knobs

TURN = {"fail_status": 404}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(Config(public_url="http://s.test:8090", api_key="k", meetings={"demo": "Demo"}))


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(sandbox))
    async with httpx.AsyncClient(transport=transport, base_url="http://s.test:8090") as client:
        yield client
    await sandbox.aclose()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://s.test:8091"},
        {"Origin": "http://s.test:8090.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_foreign_page_changes_nothing(
    client: httpx.AsyncClient, sandbox: Sandbox, headers: dict[str, str], method: str
) -> None:
    """A request that a browser sends for a page elsewhere answers 403, and says why."""
    path = "/_control/knobs" if method == "PATCH" else "/_control/reset"
    sandbox.counters.request("create_link", "201")
    answer = await client.request(method, path, json=TURN, headers=headers)
    assert answer.status_code == 403
    assert "web page" in answer.json()["error"]
    assert sandbox.knobs == Knobs()
    assert "201" in str(sandbox.counters.as_dict())


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "localhost.evil.example", "["],
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_name_that_points_here_is_not_ours(
    client: httpx.AsyncClient, sandbox: Sandbox, host: str, method: str
) -> None:
    """Under a foreign name (DNS rebinding) nothing is shown and nothing is changed."""
    answer = await client.request(method, "/_control/knobs", json=TURN, headers={"Host": host})
    assert answer.status_code == 403
    assert "--public-url" in answer.json()["error"]
    assert sandbox.knobs == Knobs()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://s.test:8090", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "127.0.0.1:8090"},
        {"Host": "[::1]:8090"},
        {"Host": "LOCALHOST:8090", "Origin": "http://localhost:8090"},
    ],
)
async def test_curl_and_pages_of_the_sandbox_itself_are_served(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """A program, an address, the name given with --public-url, and the sandbox's own pages."""
    answer = await client.patch("/_control/knobs", json=TURN, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["knobs"]["fail_status"] == 404


async def test_links_are_served_under_any_name(client: httpx.AsyncClient) -> None:
    """Routes with a key of their own, and those for visitors, do not look at the name."""
    answer = await client.post(
        "/api/external/v2/meetings/demo/one-off-links",
        headers={"Host": "acme.example", "Origin": "https://acme.example", "X-API-KEY": "k"},
    )
    assert answer.is_success
