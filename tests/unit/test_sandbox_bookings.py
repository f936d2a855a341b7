"""Test bookings at the sandbox: series, approval, payment, and both ways of rescheduling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.app import build
from sandbox.core import Config, Sandbox
from sandbox.records import booking_id, meeting_id

API = "/api/external/v2"
LINKS = API + "/meetings/demo/one-off-links"


class Stage:
    """A sandbox with a client, and everything its webhooks said."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.sandbox = Sandbox(
            Config(
                public_url="http://s.test",
                api_key="k",
                meetings={"demo": "Demo"},
                webhook_url="http://hook.test/in",
                webhook_secret="s",
            ),
            http=httpx.AsyncClient(transport=httpx.MockTransport(self._take)),
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=build(self.sandbox)),
            base_url="http://s.test",
            headers={"X-API-KEY": "k"},
        )

    def _take(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.events.append((body["event"], body["booking"]))
        return httpx.Response(200)

    async def slug(self) -> str:
        return str((await self.client.post(LINKS)).json()["slug"])

    async def act(self, what: str, expected: int = 200, /, **body: Any) -> dict[str, Any]:
        answer = await self.client.post(f"/_control/{what}", json=body)
        assert answer.status_code == expected, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def book(self, **body: Any) -> dict[str, Any]:
        booking: dict[str, Any] = (await self.act("book", 201, **body))["booking"]
        return booking

    async def link_state(self, slug: str) -> str:
        links = (await self.client.get("/_control/links")).json()["links"]
        return next(str(each["state"]) for each in links if each["slug"] == slug)

    async def listed(self, **query: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{API}/bookings", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["bookings"]
        return found

    async def told(self) -> list[tuple[str, str]]:
        """Return event and status of every webhook since the last look."""
        async with asyncio.timeout(5):
            while self.sandbox.webhooks.pending:  # noqa: ASYNC110 - it offers no event
                await asyncio.sleep(0.005)
        said = [(event, str(booking["status"])) for event, booking in self.events]
        self.events.clear()
        return said


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.client.aclose()
    await stage.sandbox.aclose()


@pytest.mark.parametrize(("knob", "name"), [("id", booking_id), ("sid", str)])
async def test_one_form_makes_a_series(stage: Stage, knob: str, name: Any) -> None:
    """A series is N bookings a week apart; all but the first name the first as their parent."""
    stage.sandbox.set_knobs({"meeting_kinds": "demo=series", "series_parent": knob})
    slug = await stage.slug()
    answer = await stage.act("book", 201, slug=slug, answers={"ref": slug})
    first, *rest = answer["bookings"]
    assert answer["booking"] == first
    assert first["parent_booking_id"] is None
    assert [each["parent_booking_id"] for each in rest] == [name(first["sid"])] * 2
    assert first["id"] == booking_id(first["sid"])
    assert len({each["starts_at"] for each in answer["bookings"]}) == 3
    assert all(each["form_responses_as_hash"] == {"ref": slug} for each in answer["bookings"])
    assert await stage.link_state(slug) == "booked"
    assert await stage.told() == [("booking_created", "confirmed")] * 3
    assert len(await stage.listed()) == 3


async def test_one_of_a_series_is_cancelled_and_then_the_rest(stage: Stage) -> None:
    """Cancelling one leaves the others; cancelling the series reports each that still stood."""
    stage.sandbox.set_knobs({"meeting_kinds": "demo=series"})
    made = (await stage.act("book", 201, slug=await stage.slug()))["bookings"]
    await stage.told()
    await stage.act("cancel", booking_sid=made[1]["sid"], by="host", reason="ill")
    assert await stage.told() == [("booking_cancelled", "cancelled")]
    (gone,) = await stage.listed(type="cancelled")
    assert (gone["sid"], gone["cancelled_by"], gone["cancel_reason"]) == (
        made[1]["sid"],
        "host",
        "ill",
    )
    await stage.act("cancel", booking_sid=made[2]["sid"], series=True)
    assert await stage.told() == [("booking_cancelled", "cancelled")] * 2
    assert len(await stage.listed(type="cancelled")) == 3
    await stage.act("cancel", 409, booking_sid=made[0]["sid"], series=True)


async def test_a_booking_can_wait_for_approval(stage: Stage) -> None:
    """Pending closes the link; approving or rejecting decides, once."""
    stage.sandbox.set_knobs({"meeting_kinds": "demo=approval"})
    slug = await stage.slug()
    one, two = await stage.book(slug=slug), await stage.book(meeting_sid="demo")
    assert one["status"] == "pending"
    assert await stage.link_state(slug) == "booked"
    assert await stage.told() == [("booking_created", "pending")] * 2
    await stage.act("approve", booking_sid=one["sid"])
    await stage.act("reject", booking_sid=two["sid"])
    assert await stage.told() == [
        ("booking_created", "confirmed"),
        ("booking_cancelled", "rejected"),
    ]
    for act in ("approve", "reject", "confirm"):
        await stage.act(act, 409, booking_sid=one["sid"])
    await stage.act("cancel", 409, booking_sid=two["sid"])
    stage.sandbox.set_knobs({"webhook_on_approval": False, "approved_status": "approved"})
    three = await stage.book(meeting_sid="demo")
    await stage.told()
    answer = await stage.act("approve", booking_sid=three["sid"])
    assert answer["booking"]["status"] == "approved"
    assert await stage.told() == []


async def test_an_unpaid_booking_holds_nothing(stage: Stage) -> None:
    """Incomplete leaves the link open and sends nothing; paid, it is an ordinary booking."""
    stage.sandbox.set_knobs({"meeting_kinds": "demo=payment"})
    slug = await stage.slug()
    first = await stage.book(slug=slug)
    assert first["status"] == "incomplete"
    assert await stage.link_state(slug) == "unused"
    assert await stage.told() == []
    for act in ("cancel", "reschedule"):
        await stage.act(act, 409, booking_sid=first["sid"])
    second = await stage.book(slug=slug)
    assert {each["sid"] for each in await stage.listed()} == {first["sid"], second["sid"]}
    assert len(await stage.listed(type="incomplete")) == 2
    assert await stage.listed(type="upcoming") == []
    await stage.act("confirm", booking_sid=second["sid"])
    assert await stage.told() == [("booking_created", "confirmed")]
    assert await stage.link_state(slug) == "booked"
    await stage.act("book", 410, slug=slug)
    # By hand, after somebody else's payment had closed the link.
    await stage.act("confirm", booking_sid=first["sid"])
    assert len(await stage.listed(type="upcoming")) == 2


async def test_an_unpaid_booking_can_close_the_link(stage: Stage) -> None:
    """The provider's behaviour is not known, so both can be had."""
    stage.sandbox.set_knobs(
        {
            "meeting_kinds": "demo=payment",
            "incomplete_closes_link": True,
            "webhook_on_incomplete": True,
        }
    )
    slug = await stage.slug()
    await stage.book(slug=slug)
    assert await stage.link_state(slug) == "booked"
    assert await stage.told() == [("booking_created", "incomplete")]


async def test_rescheduling_keeps_the_sid(stage: Stage) -> None:
    """By default a moved booking is the same one with new times."""
    booking = await stage.book(slug=await stage.slug())
    await stage.told()
    wanted = "2031-05-05T09:30:00.000000Z"
    moved = await stage.act("reschedule", booking_sid=booking["sid"], starts_at=wanted)
    assert (moved["booking"]["sid"], moved["booking"]["starts_at"]) == (booking["sid"], wanted)
    assert moved["booking"]["updated_at"] > booking["updated_at"]
    assert moved["booking"]["created_at"] == booking["created_at"]
    assert await stage.told() == [("booking_rescheduled", "confirmed")]


@pytest.mark.parametrize(
    ("style", "events"),
    [
        ("new_sid", ["booking_created", "booking_cancelled"]),
        ("new_sid_cancelled_first", ["booking_cancelled", "booking_created"]),
    ],
)
async def test_rescheduling_under_a_new_sid(stage: Stage, style: str, events: list[str]) -> None:
    """The other style: another booking of the same form, the old one cancelled."""
    slug = await stage.slug()
    old = await stage.book(slug=slug, answers={"ref": slug})
    await stage.told()
    stage.sandbox.set_knobs({"reschedule_style": style})
    new = (await stage.act("reschedule", booking_sid=old["sid"]))["booking"]
    assert new["sid"] != old["sid"]
    assert new["form_responses"] == old["form_responses"]
    assert [event for event, _ in await stage.told()] == events
    shown = {each["sid"]: each["status"] for each in await stage.listed()}
    assert shown == {old["sid"]: "cancelled", new["sid"]: "confirmed"}
    await stage.act("reschedule", 409, booking_sid=old["sid"])
    await stage.act("reschedule", 422, booking_sid=new["sid"], style="sideways")
    same = await stage.act("reschedule", booking_sid=new["sid"], style="same_sid")
    assert same["booking"]["sid"] == new["sid"]


async def test_a_status_nobody_knows(stage: Stage) -> None:
    """Any text can be a status; such a booking counts as standing."""
    booking = await stage.book(meeting_sid="demo")
    await stage.told()
    await stage.act("set_status", booking_sid=booking["sid"], status="on_hold")
    assert await stage.told() == []
    (shown,) = await stage.listed(type="upcoming")
    assert shown["status"] == "on_hold"
    await stage.act("cancel", booking_sid=booking["sid"], reschedule_requested=True)
    (shown,) = await stage.listed(type="cancelled")
    assert shown["reschedule_requested"] is True


async def test_an_event_emitted_again_shows_the_booking_as_it_is(stage: Stage) -> None:
    """Only a cancelled booking is dressed up as confirmed, as a late repeat would show it."""
    stage.sandbox.set_knobs({"meeting_kinds": "demo=approval"})
    booking = await stage.book(meeting_sid="demo")
    await stage.told()
    named = {"booking_sid": booking["sid"], "event": "booking_created"}
    await stage.act("emit", 202, **named)
    assert await stage.told() == [("booking_created", "pending")]
    await stage.act("cancel", booking_sid=booking["sid"])
    await stage.told()
    await stage.act("emit", 202, **named)
    assert await stage.told() == [("booking_created", "confirmed")]
    await stage.act("emit", 202, **named | {"event": "booking_cancelled"})
    assert await stage.told() == [("booking_cancelled", "cancelled")]


async def test_a_booking_names_its_meeting_by_id(stage: Stage) -> None:
    """meeting_id is the id that GET /meetings shows for the SID; the SID is nowhere in it."""
    await stage.book(slug=await stage.slug())
    answer = await stage.client.get(f"{API}/bookings")
    assert '"demo"' not in answer.text
    (booking,) = answer.json()["bookings"]
    assert booking["meeting"] == {"name": "Demo"}
    (meeting,) = (await stage.client.get(f"{API}/meetings")).json()["meetings"]
    assert booking["meeting_id"] == meeting["id"] == meeting_id("demo")
    assert meeting["sid"] == "demo"


async def test_filters_by_start_and_by_search(stage: Stage) -> None:
    """starts_after and starts_before cut by time; search finds sid, meeting, host and answers."""
    early = await stage.book(meeting_sid="demo", starts_at="2031-01-01T10:00:00Z")
    late = await stage.book(
        meeting_sid="demo", starts_at="2031-03-01T10:00:00Z", answers={"ref": "needle"}
    )
    past = await stage.book(meeting_sid="demo", starts_at="2020-03-01T10:00:00Z")

    async def found(**query: str) -> set[str]:
        return {each["sid"] for each in await stage.listed(**query)}

    assert await found(starts_after="2031-02-01T00:00:00Z") == {late["sid"]}
    assert await found(starts_before="2031-02-01", type="upcoming") == {early["sid"]}
    assert await found(type="past") == {past["sid"]}
    assert await found(search=late["sid"][2:]) == {late["sid"]}
    assert await found(search="NEEDLE") == {late["sid"]}
    assert await found(search="Sam H") == await found(search="dem") == await found()
    assert await found(host_email="host@example.com") == await found()
    assert await found(host_email="nobody@example.com") == set()
    answer = await stage.client.get(f"{API}/bookings", params={"starts_after": "soon"})
    assert answer.status_code == 422
    assert "starts_after" in answer.json()["error"]


async def test_there_is_no_filter_by_change(stage: Stage) -> None:
    """A parameter the provider does not have changes nothing."""
    await stage.book(meeting_sid="demo")
    assert len(await stage.listed(updated_after="2099-01-01T00:00:00Z")) == 1


async def test_a_list_is_never_older_than_a_change(stage: Stage) -> None:
    """A search result is kept between pages, and forgotten with the next change."""
    booking = await stage.book(meeting_sid="demo")
    assert len(await stage.listed(type="upcoming")) == 1
    await stage.act("cancel", booking_sid=booking["sid"])
    assert await stage.listed(type="upcoming") == []
    assert len(await stage.listed(type="cancelled")) == 1


async def test_many_bookings_at_once(stage: Stage) -> None:
    """A test books and cancels thousands in a few calls, and walks through them page by page."""
    stage.sandbox.set_knobs({"webhook_off": "booking_created,booking_cancelled"})
    made = (await stage.act("book_many", 201, meeting_sid="demo", count=5000, email="v{n}@e.org"))[
        "booking_sids"
    ]
    assert (await stage.act("cancel_many", booking_sids=made[::3]))["cancelled"] == 1667
    seen = []
    for number in range(1, 51):
        page = await stage.listed(page_size="100", page_number=str(number), sorting_order="asc")
        seen += [(each["sid"], each["email"]) for each in page]
    assert seen == [(sid, f"v{n}@e.org") for n, sid in enumerate(made)]
    slugs = [await stage.slug() for _ in range(3)]
    await stage.act("book_many", 201, slugs=slugs)
    assert [await stage.link_state(slug) for slug in slugs] == ["booked"] * 3
    assert await stage.told() == []


async def test_a_restart_keeps_series_and_statuses(tmp_path: Any) -> None:
    """The state file brings back who belongs to a series, and which link is still open."""

    def started() -> Sandbox:
        sandbox = Sandbox(
            Config(public_url="http://s.test", api_key="k", state_file=tmp_path / "state.jsonl")
        )
        sandbox.load()
        return sandbox

    form: dict[str, Any] = {
        "name": "N",
        "email": "n@e.org",
        "starts_at": "2031-01-01T10:00:00.000000Z",
        "answers": {},
    }
    before = started()
    before.set_knobs({"meeting_kinds": "many=series,paid=payment"})
    many, paid = before.state.meeting("many"), before.state.meeting("paid")
    assert many is not None
    assert paid is not None
    link = before.state.make_link(paid)
    first = before.book(slug=None, meeting_sid="many", **form)
    unpaid = before.book(slug=link.slug, meeting_sid=None, **form)
    before.cancel(first.sid)
    after = started()
    assert [each.status for each in after.state.series_of(first)] == [
        "cancelled",
        "confirmed",
        "confirmed",
    ]
    assert after.state.links[link.slug].booking_sid is None
    after.confirm(unpaid.sid)
    assert started().state.links[link.slug].booking_sid == unpaid.sid
