"""Test the sandbox's external API: what a client of NeetoCal gets from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from sandbox.app import build
from sandbox.clock import utc_now
from sandbox.core import Config, Sandbox

BASE = "http://sandbox.test"
KEY = {"X-API-KEY": "k-1"}
LINKS = "/api/external/v2/meetings/demo/one-off-links"


@pytest.fixture
def sandbox() -> Sandbox:
    config = Config(
        public_url=BASE, api_key="k-1", meetings={"demo": "Intro call", "other": "Demo"}
    )
    return Sandbox(config)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(sandbox))
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=KEY) as client:
        yield client
    await sandbox.aclose()


async def _slug(client: httpx.AsyncClient, path: str = LINKS) -> str:
    slug = (await client.post(path)).json()["slug"]
    assert isinstance(slug, str)
    return slug


async def _book(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/_control/book", json=fields)
    assert answer.status_code == 201, answer.text
    booking = answer.json()["booking"]
    assert isinstance(booking, dict)
    return booking


async def test_every_call_makes_another_link(client: httpx.AsyncClient) -> None:
    """A call for a link answers slug and url, and no slug comes twice."""
    answers = [(await client.post(LINKS)).json() for _ in range(20)]
    assert all(re.fullmatch("one-off-[0-9a-f]{12}", each["slug"]) for each in answers)
    assert all(each["url"] == f"{BASE}/{each['slug']}" for each in answers)
    assert len({each["slug"] for each in answers}) == 20


async def test_both_documented_shapes(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """A link is answered flat, wrapped, or both in turn, with the status asked for."""
    sandbox.set_knobs({"shape": "wrapped", "create_status": 201})
    answer = await client.post(LINKS)
    assert answer.status_code == 201
    assert set(answer.json()) == {"one_off_link"}
    sandbox.set_knobs({"shape": "alternate"})
    shapes = [("slug" in (await client.post(LINKS)).json()) for _ in range(4)]
    assert sorted(shapes) == [False, False, True, True]


@pytest.mark.parametrize("headers", [{"X-API-KEY": "k-2"}, {"X-API-KEY": ""}])
async def test_a_wrong_key_is_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Every call of the API refuses a wrong key in NeetoCal's words."""
    for method, path in (
        ("POST", LINKS),
        ("GET", "/api/external/v2/meetings"),
        ("GET", "/api/external/v2/bookings"),
        ("GET", "/api/external/v2/bookings/x"),
    ):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.json() == {"error": "Could not authenticate, invalid API Key"}


async def test_unknown_and_disabled_meetings(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """An unknown meeting answers 404, a disabled one 422, and neither makes a link."""
    sandbox.set_knobs({"disabled_meetings": "x, other"})
    for sid, status in (("nope", 404), ("other", 422), ("demo", 200)):
        answer = await client.post(f"/api/external/v2/meetings/{sid}/one-off-links")
        assert answer.status_code == status, sid
    assert len(sandbox.state.links) == 1
    listed = (await client.get("/api/external/v2/meetings")).json()["meetings"]
    assert {each["sid"]: each["disabled"] for each in listed} == {"demo": False, "other": True}


async def test_any_meeting_will_do_when_none_is_named() -> None:
    """Without named meetings every well-formed SID makes links and is listed from then on."""
    sandbox = Sandbox(Config(public_url=BASE, api_key="k-1"))
    transport = httpx.ASGITransport(app=build(sandbox))
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=KEY) as client:
        path = "/api/external/v2/meetings/{}/one-off-links"
        assert (await client.post(path.format("Some-sid_1"))).status_code == 200
        assert (await client.post(path.format("a" * 65))).status_code == 404
        listed = (await client.get("/api/external/v2/meetings")).json()["meetings"]
        assert [each["sid"] for each in listed] == ["Some-sid_1"]
    await sandbox.aclose()


async def test_the_limit_lets_a_burst_through_and_then_answers_429(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """With a burst of 3 the fourth call is refused, with the Retry-After asked for."""
    sandbox.set_knobs({"limit_per_second": 0.001, "limit_burst": 3, "limit_retry_after": "-1"})
    answers = [await client.post(LINKS) for _ in range(5)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "-1"
    assert len(sandbox.state.links) == 3


async def test_retry_after_may_be_absent_odd_or_a_date(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """Retry-After is sent as given, left out when empty, and made a date on request."""
    sandbox.set_knobs({"p_429": 1.0})
    assert "retry-after" not in (await client.post(LINKS)).headers
    sandbox.set_knobs({"limit_retry_after": "1e9"})
    assert (await client.post(LINKS)).headers["retry-after"] == "1e9"
    sandbox.set_knobs({"limit_retry_after": "date+30"})
    moment = parsedate_to_datetime((await client.post(LINKS)).headers["retry-after"])
    assert 25 < (moment - utc_now()).total_seconds() < 35


async def test_forced_failures_can_be_for_one_meeting(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """fail_status answers every call for a link, or only those of fail_meeting."""
    sandbox.set_knobs({"fail_status": 503, "fail_meeting": "other"})
    other = "/api/external/v2/meetings/other/one-off-links"
    assert (await client.post(LINKS)).status_code == 200
    assert (await client.post(other)).status_code == 503
    sandbox.set_knobs({"fail_meeting": ""})
    assert (await client.post(LINKS)).status_code == 503
    assert (await client.get("/api/external/v2/meetings")).status_code == 200
    sandbox.set_knobs({"fail_reads": True})
    assert (await client.get("/api/external/v2/meetings")).status_code == 503


@pytest.mark.parametrize(
    ("knob", "status", "made"),
    [
        ("p_429", 429, 0),
        ("p_500", 500, 0),
        ("p_html", 200, 0),
        ("p_empty", 200, 0),
        ("p_redirect", 307, 0),
        ("p_bad_slug", 200, 0),
        ("p_duplicate", 200, 0),
        ("p_huge", 200, 1),
        ("p_lost", 500, 1),
        ("p_hang", 200, 1),
    ],
)
async def test_each_misbehaviour(
    client: httpx.AsyncClient, sandbox: Sandbox, knob: str, status: int, made: int
) -> None:
    """Each misbehaviour answers as named, and makes a link or none as promised."""
    first = await _slug(client)
    sandbox.set_knobs({knob: 1.0, "hang_seconds": 0.05})
    answer = await client.post(LINKS)
    assert answer.status_code == status
    assert len(sandbox.state.links) - 1 == made
    assert sandbox.counters.misbehaved == {knob: 1}
    match knob:
        case "p_html":
            assert answer.headers["content-type"].startswith("text/html")
        case "p_empty":
            assert answer.content == b""
        case "p_redirect":
            assert answer.headers["location"] == f"{BASE}/_elsewhere"
        case "p_bad_slug":
            assert not re.fullmatch("one-off-[0-9a-f]{12}", answer.json()["slug"])
        case "p_duplicate":
            assert answer.json()["slug"] == first
        case "p_huge":
            assert len(answer.content) > 10_000_000
            assert answer.json()["slug"] in sandbox.state.links


async def test_the_same_seed_meets_the_same_fates(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """Setting the seed starts the same sequence of misbehaviour again, near its chances."""
    knobs: dict[str, object] = {"p_500": 0.25, "p_429": 0.25, "seed": 11}
    runs = []
    for _ in range(2):
        sandbox.set_knobs(knobs)
        runs.append([(await client.post(LINKS)).status_code for _ in range(200)])
    assert runs[0] == runs[1]
    assert 70 <= runs[0].count(200) <= 130
    assert 25 <= runs[0].count(429) <= 75


async def test_latency_delays_the_answer(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """An answer takes latency_seconds, and a stopping sandbox waits no longer."""
    loop = asyncio.get_running_loop()
    sandbox.set_knobs({"latency_seconds": 0.1})
    began = loop.time()
    await client.post(LINKS)
    assert loop.time() - began >= 0.1
    sandbox.set_knobs({"latency_seconds": 60})
    waiting = asyncio.create_task(client.post(LINKS))
    await asyncio.sleep(0.05)
    sandbox.stop()
    assert (await asyncio.wait_for(waiting, 5)).status_code == 200


async def test_bookings_come_in_pages(client: httpx.AsyncClient) -> None:
    """The list of bookings has the documented pagination; a page holds 30, at most 100."""
    for number in range(35):
        await _book(client, meeting_sid="demo", email=f"v{number}@example.com")
    path = "/api/external/v2/bookings"
    first = (await client.get(path)).json()
    assert len(first["bookings"]) == 30
    assert first["pagination"] == {
        "total_records": 35,
        "total_pages": 2,
        "current_page_number": 1,
        "page_size": 30,
    }
    second = (await client.get(path, params={"page_number": 2})).json()
    assert len(second["bookings"]) == 5
    assert not {b["sid"] for b in first["bookings"]} & {b["sid"] for b in second["bookings"]}
    assert (await client.get(path, params={"page_size": 900})).json()["pagination"][
        "page_size"
    ] == 100


async def test_bookings_can_be_filtered_and_sorted(client: httpx.AsyncClient) -> None:
    """Each filter of the bookings leaves only what matches; sorting goes both ways."""
    one = await _book(client, meeting_sid="demo", email="One@example.com", answers={"ref": "xyzzy"})
    two = await _book(client, meeting_sid="other", name="Zoë <&>")
    await client.post("/_control/cancel", json={"booking_sid": two["sid"]})

    async def found(**query: str) -> list[str]:
        answer = await client.get("/api/external/v2/bookings", params=query)
        return [each["sid"] for each in answer.json()["bookings"]]

    assert await found() == [two["sid"], one["sid"]]
    assert await found(sorting_key="created_at", sorting_order="asc") == [one["sid"], two["sid"]]
    assert await found(type="upcoming") == [one["sid"]]
    assert await found(type="cancelled") == [two["sid"]]
    assert await found(type="past") == []
    assert await found(client_email="one@example.com") == [one["sid"]]
    assert await found(meeting_sid="other") == [two["sid"]]
    assert await found(search="XYZ") == [one["sid"]]
    assert await found(search="xy") == [two["sid"], one["sid"]]


async def test_one_booking_by_its_sid(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """A booking shows the documented fields; a knob decides if it carries the slug."""
    slug = await _slug(client)
    booking = await _book(client, slug=slug, name="Zoë <&>", answers={"ref_code": "r-1"})
    path = f"/api/external/v2/bookings/{booking['sid']}"
    shown = (await client.get(path)).json()
    assert shown == booking
    assert shown["name"] == "Zoë <&>"
    assert shown["meeting"] == {"name": "Intro call"}
    assert shown["form_responses"] == [
        {"field": "ref code", "value": "r-1", "type": "text", "field_code": "ref_code"}
    ]
    assert slug not in str(shown)
    sandbox.set_knobs({"webhook_carries_slug": True, "booking_names_meeting_sid": True})
    answer = await client.get(path)
    assert slug in answer.json()["client_booking_url"]
    assert answer.json()["meeting"] == {"name": "Intro call", "sid": "demo"}
    assert (await client.get("/api/external/v2/bookings/nope")).json() == {
        "error": "Booking not found"
    }


async def test_a_caller_who_hangs_up_is_counted_as_closed(sandbox: Sandbox) -> None:
    """The link of a hanging call stays made after the caller left, and nobody was answered."""
    sandbox.set_knobs({"p_hang": 1.0})
    app = build(sandbox)
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": LINKS,
        "raw_path": LINKS.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"x-api-key", b"k-1")],
        "state": {"transport": _Transport()},
    }
    await asyncio.wait_for(app(scope, receive, send), 5)
    assert sent == []
    assert len(sandbox.state.links) == 1
    assert sandbox.counters.requests["create_link"] == {"closed": 1}
    await sandbox.aclose()


class _Transport:
    def abort(self) -> None:
        """Do nothing: there is nothing to close."""
