"""Test knobs and control calls of the sandbox, as tests use them from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.app import build
from sandbox.core import Config, Sandbox
from sandbox.flags import parse
from sandbox.knobs import Knobs

LINKS = "/api/external/v2/meetings/demo/one-off-links"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(Config(public_url="http://s.test", api_key="k", meetings={"demo": "Demo"}))


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(sandbox))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://s.test", headers={"X-API-KEY": "k"}
    ) as client:
        yield client
    await sandbox.aclose()


async def test_knobs_are_turned_while_it_runs(client: httpx.AsyncClient) -> None:
    """A knob set by PATCH is in force at the next call and shows in the state."""
    answer = await client.patch("/_control/knobs", json={"fail_status": 404, "p_500": 0})
    assert answer.status_code == 200
    assert answer.json()["knobs"]["fail_status"] == 404
    assert (await client.post(LINKS)).status_code == 404
    state = (await client.get("/_control/state")).json()
    assert state["knobs"] == answer.json()["knobs"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"no_such": 1}, "no_such"),
        ({"p_429": "much"}, "p_429"),
        ({"p_429": 1.5}, "p_429"),
        ({"p_429": True}, "p_429"),
        ({"p_429": 0.6, "p_500": 0.6}, "p_429"),
        ({"limit_burst": 1.5}, "limit_burst"),
        ({"latency_seconds": -1}, "latency_seconds"),
        ({"latency_seconds": None}, "latency_seconds"),
        ({"shape": "round"}, "shape"),
        ({"fail_reads": 1}, "fail_reads"),
        ({"fail_status": 99}, "fail_status"),
        ({"limit_retry_after": "5\r\nx: y"}, "limit_retry_after"),
        ({"limit_retry_after": 5}, "limit_retry_after"),
    ],
)
async def test_a_wrong_knob_is_named_and_changes_nothing(
    client: httpx.AsyncClient, sandbox: Sandbox, changes: dict[str, Any], named: str
) -> None:
    """An unknown knob or a wrong value answers 422, names the knob, and sets none of them."""
    answer = await client.patch("/_control/knobs", json={"hang_seconds": 1, **changes})
    assert answer.status_code == 422
    assert answer.json()["knob"] == named
    assert answer.json()["error"].startswith(f"{named}: ")
    assert sandbox.knobs == Knobs()


async def test_not_a_number_is_refused(client: httpx.AsyncClient) -> None:
    """NaN, which JSON parsers let through, is no value for a knob."""
    answer = await client.patch("/_control/knobs", content=b'{"latency_seconds": NaN}')
    assert answer.status_code == 422


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    """A body that is not a JSON object answers 400 with an error in JSON."""
    answer = await client.patch("/_control/knobs", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]


async def test_counters_tell_what_happened(client: httpx.AsyncClient) -> None:
    """Requests are counted by kind and status, links by meeting; control calls are not."""
    slug = (await client.post(LINKS)).json()["slug"]
    await client.post(LINKS, headers={"X-API-KEY": "wrong"})
    await client.post("/api/external/v2/meetings/nope/one-off-links")
    await client.get("/api/external/v2/bookings")
    await client.get(f"/{slug}")
    counters = (await client.get("/_control/state")).json()["counters"]
    assert counters["requests"] == {
        "create_link": {"200": 1, "401": 1, "404": 1},
        "list_bookings": {"200": 1},
        "link_page": {"200": 1},
    }
    assert counters["links_made"] == 1
    assert counters["per_meeting"]["demo"]["create_requests"] == {"200": 1, "401": 1}
    assert counters["per_meeting"]["(unknown)"]["create_requests"] == {"404": 1}
    calls = (await client.get("/_control/calls")).json()["calls"]
    assert [each["status"] for each in calls] == ["200", "401", "404"]


async def test_reset_clears_counters_and_keeps_links(client: httpx.AsyncClient) -> None:
    """A reset sets counters to zero; links and knobs stay as they are."""
    await client.patch("/_control/knobs", json={"seed": 3})
    slug = (await client.post(LINKS)).json()["slug"]
    await client.post("/_control/reset")
    state = (await client.get("/_control/state")).json()
    assert state["counters"]["links_made"] == 0
    assert state["counters"]["requests"] == {}
    assert state["knobs"]["seed"] == 3
    links = (await client.get("/_control/links")).json()["links"]
    assert [each["slug"] for each in links] == [slug]


async def test_links_show_their_state(client: httpx.AsyncClient) -> None:
    """The list of links tells booked from unused and can be cut down to a meeting."""
    used, unused = [(await client.post(LINKS)).json()["slug"] for _ in range(2)]
    booking = (await client.post("/_control/book", json={"slug": used})).json()["booking"]
    links = (await client.get("/_control/links", params={"meeting_sid": "demo"})).json()["links"]
    assert {each["slug"]: each["state"] for each in links} == {used: "booked", unused: "unused"}
    assert links[0]["booking_sid"] == booking["sid"]
    other = await client.get("/_control/links", params={"meeting_sid": "other"})
    assert other.json()["links"] == []
    assert (await client.get("/_control/links?limit=x")).status_code == 422


async def test_booking_moving_and_cancelling(client: httpx.AsyncClient) -> None:
    """A link books once; its booking can be moved, then cancelled, then neither."""
    slug = (await client.post(LINKS)).json()["slug"]
    booking = (await client.post("/_control/book", json={"slug": slug})).json()["booking"]
    named = {"booking_sid": booking["sid"]}
    again = await client.post("/_control/book", json={"slug": slug})
    assert again.status_code == 410
    moved = (await client.post("/_control/reschedule", json=named)).json()["booking"]
    assert moved["starts_at"] > booking["starts_at"]
    cancelled = (await client.post("/_control/cancel", json=named)).json()["booking"]
    assert cancelled["status"] == "cancelled"
    assert (await client.post("/_control/cancel", json=named)).status_code == 409
    assert (await client.post("/_control/reschedule", json=named)).status_code == 409
    still = await client.post("/_control/book", json={"slug": slug})
    assert still.status_code == 410


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"slug": "one-off-0", "meeting_sid": "demo"}, 422),
        ({"slug": 7}, 422),
        ({"slug": "one-off-000000000000"}, 404),
        ({"meeting_sid": "nope"}, 404),
        ({"meeting_sid": "demo", "nmae": "x"}, 422),
        ({"meeting_sid": "demo", "answers": [1]}, 422),
        ({"meeting_sid": "demo", "answers": {"a": 1}}, 422),
        ({"meeting_sid": "demo", "name": "x" * 2001}, 422),
    ],
)
async def test_a_wrong_booking_is_refused(
    client: httpx.AsyncClient, sandbox: Sandbox, body: dict[str, Any], status: int
) -> None:
    """A booking that names nothing here, or is not well-formed, is refused and not made."""
    answer = await client.post("/_control/book", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert not sandbox.state.bookings


async def test_half_a_character_is_refused(client: httpx.AsyncClient) -> None:
    """A lone surrogate, which no webhook body could carry, is refused."""
    answer = await client.post(
        "/_control/book", content=b'{"meeting_sid": "demo", "name": "\\ud800"}'
    )
    assert answer.status_code == 422


def test_every_knob_is_a_flag() -> None:
    """Knobs are set by flags of their names; the rest keep their defaults."""
    flags = parse(
        ["--limit-per-second", "20", "--fail-reads", "--no-webhook-carries-slug", "--seed=-4"], {}
    )
    assert flags.knobs == Knobs(
        limit_per_second=20.0, fail_reads=True, webhook_carries_slug=False, seed=-4
    )


def test_secrets_come_from_the_environment() -> None:
    """Key and secret need not stand on the command line, and an empty key is no key."""
    environment = {"SANDBOX_API_KEY": "e-key", "SANDBOX_WEBHOOK_SECRET": "e-secret"}
    flags = parse([], environment)
    assert (flags.api_key, flags.webhook_secret) == ("e-key", "e-secret")
    assert parse(["--api-key", "f-key"], environment).api_key == "f-key"
    assert parse([], {"SANDBOX_API_KEY": ""}).api_key == "sandbox-key"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--p-429", "2"], "--p-429"),
        (["--port", "70000"], "--port"),
        (["--meeting", "a b"], "--meeting"),
        (["--webhook-url", "ftp://x"], "--webhook-url"),
        (["--subdomain", "A.b"], "--subdomain"),
        (["--p-html", "0.7", "--p-lost", "0.7"], "p_ knobs"),
    ],
)
def test_a_wrong_flag_is_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    """A wrong flag ends it with status 2 and a line that names it."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})
    assert ended.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_help_names_every_knob(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists a flag for every knob, and the control calls."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    text = capsys.readouterr().out
    for name in Knobs().as_dict():
        assert f"--{name.replace('_', '-')}" in text
    assert "PATCH /_control/knobs" in text
