"""Test single meetings of the sandbox: disabled, deleted, refused; and a custom domain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.app import build
from sandbox.clock import slots, utc_now
from sandbox.core import Config, Sandbox

API = "/api/external/v2"


@pytest.fixture
def sandbox() -> Sandbox:
    meetings = {"demo": "Demo", "other": "Other"}
    return Sandbox(Config(public_url="http://s.test", api_key="k", meetings=meetings))


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(sandbox))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://s.test", headers={"X-API-KEY": "k"}
    ) as client:
        yield client
    await sandbox.aclose()


async def _create(client: httpx.AsyncClient, sid: str) -> httpx.Response:
    return await client.post(f"{API}/meetings/{sid}/one-off-links")


async def _meeting(client: httpx.AsyncClient, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await client.post("/_control/meeting", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _listed(client: httpx.AsyncClient) -> dict[str, bool]:
    listed = (await client.get(f"{API}/meetings")).json()["meetings"]
    return {each["sid"]: each["disabled"] for each in listed}


@pytest.mark.parametrize(
    ("how", "status", "listed"),
    [("disabled", 422, {"demo": True, "other": False}), ("deleted", 404, {"other": False})],
)
async def test_a_meeting_goes_and_comes_back(
    client: httpx.AsyncClient, how: str, status: int, listed: dict[str, bool]
) -> None:
    """A disabled or deleted meeting makes no links and its links are not available, for now."""
    slug = (await _create(client, "demo")).json()["slug"]
    answer = await _meeting(client, meeting_sid="demo", **{how: True})
    assert answer["meeting"][how] is True
    assert (await _create(client, "demo")).status_code == status
    assert (await _create(client, "other")).status_code == 200
    assert await _listed(client) == listed
    index = (await client.get("/")).text
    assert f"nothing: {how}" in index
    assert "<td>not available</td>" in index
    page = await client.get(f"/{slug}")
    assert (page.status_code, "Not available" in page.text) == (200, True)
    form = {"name": "A", "email": "a@b", "starts_at": slots(utc_now())[0]}
    assert "Not available" in (await client.post(f"/{slug}", data=form)).text
    refused = await client.post("/_control/book", json={"slug": slug})
    assert refused.status_code == 409
    await _meeting(client, meeting_sid="demo", **{how: False})
    assert (await client.post("/_control/book", json={"slug": slug})).status_code == 201
    assert "Link expired" in (await client.get(f"/{slug}")).text
    await _meeting(client, meeting_sid="demo", **{how: True})
    assert "Link expired" in (await client.get(f"/{slug}")).text


@pytest.mark.parametrize("how", ["403", "404", "422", "429", "500", "503"])
async def test_one_meeting_is_refused_by_a_status(
    client: httpx.AsyncClient, sandbox: Sandbox, how: str
) -> None:
    """A refused meeting makes no links, and takes nothing from the limit of the others."""
    sandbox.set_knobs({"limit_per_second": 0.001, "limit_burst": 1, "limit_retry_after": "7"})
    await _meeting(client, meeting_sid="demo", refuse=how)
    for _ in range(3):
        answer = await _create(client, "demo")
        assert answer.status_code == int(how)
        assert answer.json()["error"]
    assert (answer.headers.get("retry-after") == "7") == (how == "429")
    assert (await _create(client, "other")).status_code == 200
    assert len(sandbox.state.links) == 1
    wrong = {"X-API-KEY": "wrong"}
    answer = await client.post(f"{API}/meetings/demo/one-off-links", headers=wrong)
    assert answer.status_code == 401


async def test_one_meeting_hangs_and_one_speaks_html(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """hang holds the call and makes nothing, while another meeting is answered at once."""
    sandbox.set_knobs({"refuse_meetings": "demo=hang, other=html", "hang_seconds": 60})
    hanging = asyncio.create_task(_create(client, "demo"))
    page = await _create(client, "other")
    assert page.headers["content-type"].startswith("text/html")
    assert page.status_code == 200
    assert not hanging.done()
    sandbox.stop()
    assert (await asyncio.wait_for(hanging, 5)).status_code == 500
    assert not sandbox.state.links


async def test_one_meeting_at_a_time(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """Changing one meeting leaves the others, and "" takes a refusal away."""
    await _meeting(client, meeting_sid="demo", refuse="403", kind="series")
    await _meeting(client, meeting_sid="other", refuse="hang", disabled=True)
    shown = (await client.get("/_control/meetings")).json()["meetings"]
    assert [(each["refuse"], each["kind"]) for each in shown] == [
        ("403", "series"),
        ("hang", "plain"),
    ]
    await _meeting(client, meeting_sid="demo", refuse="")
    assert sandbox.knobs.refuse_meetings == "other=hang"
    assert sandbox.knobs.disabled_meetings == "other"
    assert sandbox.knobs.meeting_kinds == "demo=series"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"refuse": "sometimes"}, "refuse_meetings"),
        ({"refuse": "99"}, "refuse_meetings"),
        ({"kind": "party"}, "meeting_kinds"),
        ({"disabled": "yes"}, "disabled"),
        ({"meeting_sid": "a,b=403"}, "meeting_sid"),
        ({"meeting_sid": None}, "meeting_sid"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_change_is_named(
    client: httpx.AsyncClient, sandbox: Sandbox, body: dict[str, Any], named: str
) -> None:
    """A wrong value answers 422, says where it is wrong, and changes nothing."""
    before = sandbox.knobs.as_dict()
    answer = await _meeting(client, 422, **{"meeting_sid": "demo", **body})
    assert answer["error"].startswith(named)
    assert sandbox.knobs.as_dict() == before


async def test_links_begin_with_a_custom_domain(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """link_base_url changes what links and bookings begin with, and can change again."""
    sandbox.set_knobs({"link_base_url": "https://book.example.com/"})
    made = (await _create(client, "demo")).json()
    assert made["url"] == f"https://book.example.com/{made['slug']}"
    answer = await client.post("/_control/book", json={"slug": made["slug"]})
    booking = answer.json()["booking"]
    assert booking["client_booking_url"].startswith("https://book.example.com/bookings/")
    sandbox.set_knobs({"link_base_url": ""})
    made = (await _create(client, "demo")).json()
    assert made["url"] == f"http://s.test/{made['slug']}"


@pytest.mark.parametrize("kind", ["series", "approval", "payment", "plain"])
async def test_a_visitor_meets_each_kind(
    client: httpx.AsyncClient, sandbox: Sandbox, kind: str
) -> None:
    """The form leads to a booking's page that offers what this kind of booking can do."""
    sandbox.set_knobs({"meeting_kinds": f"demo={kind}"})
    slug = (await _create(client, "demo")).json()["slug"]
    assert (await client.get(f"/{slug}")).status_code == 200
    form = {"name": "A", "email": "a@b", "starts_at": slots(utc_now())[0]}
    where = (await client.post(f"/{slug}", data=form)).headers["location"]
    buttons = {
        "series": {"reschedule", "cancel", "cancel-series"},
        "approval": {"reschedule", "cancel", "approve", "reject"},
        "payment": {"confirm"},
        "plain": {"reschedule", "cancel"},
    }[kind]
    every = {"reschedule", "cancel", "cancel-series", "approve", "reject", "confirm"}
    page = (await client.get(where)).text
    assert {act for act in every if f'action="{where}/{act}"' in page} == buttons
    act = {"series": "cancel-series", "approval": "approve", "payment": "confirm"}.get(
        kind, "cancel"
    )
    assert (await client.post(f"{where}/{act}")).headers["location"] == where
    left = {"series": set(), "plain": set()}.get(kind, {"reschedule", "cancel"})
    page = (await client.get(where)).text
    assert {act for act in every if f'action="{where}/{act}"' in page} == left
    assert (await client.post(f"{where}/dance")).status_code == 404
