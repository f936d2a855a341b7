"""Test the lists of the NeetoCal provider, and webhooks at its seam."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from pool.errors import (
    BadAnswer,
    BadSignature,
    Throttled,
)
from pool.providers import ProviderMeeting
from tests.unit.neetocal_stage import (
    NOW,
    SECRET,
    SLUG,
    Handler,
    answering,
    provider,
)

# -- the lists -----------------------------------------------------------------------


def paged(key: str, pages: list[list[Any]], *, count: bool = True) -> tuple[Handler, list[Any]]:
    asked: list[dict[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        number = int(request.url.params["page_number"])
        entries = pages[number - 1] if number <= len(pages) else []
        body: dict[str, Any] = {key: entries}
        if count:
            body["pagination"] = {"total_pages": len(pages), "current_page_number": number}
        return httpx.Response(200, json=body)

    return handler, asked


@pytest.mark.parametrize("count", [True, False])
async def test_meetings_are_read_page_by_page(count: bool) -> None:
    """All pages are read, with or without a page count; meetings without a SID are left out."""
    handler, asked = paged(
        "meetings",
        [
            [{"sid": "a", "name": "A\nB", "disabled": True}, {"sid": "../x"}, 7, None],
            [{"sid": "b", "name": 3}, {"name": "no sid"}],
        ],
        count=count,
    )
    assert await provider(handler).meetings() == [
        ProviderMeeting("a", "A B", disabled=True),
        ProviderMeeting("b", "", disabled=False),
    ]
    assert [each["page_number"] for each in asked] == (["1", "2"] if count else ["1", "2", "3"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"meetings": {}}', b'{"meetings": null}', b"[" * 99_999, b"\xff"]
)
async def test_a_list_that_is_none_is_a_bad_answer(body: bytes) -> None:
    """Lists are read as strictly as links."""
    with pytest.raises(BadAnswer):
        await provider(answering(200, body)).meetings()


async def test_a_server_that_ignores_paging_is_asked_twice_at_most() -> None:
    """The same page again is the end."""
    seen: list[Any] = []
    body = {"meetings": [{"sid": "a", "name": "A"}]}
    neetocal = provider(answering(200, body), observe=lambda *call: seen.append(call))
    assert len(await neetocal.meetings()) == 1
    assert len(seen) == 2


async def test_a_list_without_end_ends() -> None:
    """Endless new pages are a bad answer, not an endless loop."""

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"meetings": [{"sid": request.url.params["page_number"]}]})

    with pytest.raises(BadAnswer, match="more than 500 pages"):
        await provider(handler).meetings()


def booking(sid: str, minutes: int | None, **fields: Any) -> dict[str, Any]:
    made = {} if minutes is None else {"created_at": (NOW + timedelta(minutes=minutes)).isoformat()}
    return {"sid": sid, "status": "confirmed"} | made | fields


async def test_bookings_come_as_webhooks_would_tell_them() -> None:
    """Each booking has a body that parses to the very event that comes with it."""
    entries = [
        booking("b1", 9, email="a@b.test", form_responses=[{"field_code": "ref", "value": SLUG}]),
        booking("b2", 8, status="Cancelled"),
        booking("b3", 7, status="canceled_by_host"),
    ]
    handler, _ = paged("bookings", [entries])
    neetocal = provider(handler, ref_field="ref")
    page = (await neetocal.bookings(1, cancelled=False)).bookings
    assert [neetocal.parse_event(body) for _, body in page] == [event for event, _ in page]
    assert [json.loads(body)["booking"] for _, body in page] == entries
    assert [json.loads(body)["event"] for _, body in page] == [
        "booking_created",
        "booking_cancelled",
        "booking_cancelled",
    ]
    first = page[0][0]
    assert (first.kind, first.booking_sid, first.email, first.ref) == (
        "booked",
        "b1",
        "a@b.test",
        SLUG,
    )
    assert [event.kind for event, _ in page] == ["booked", "cancelled", "cancelled"]


async def test_bookings_are_asked_for_a_page_at_a_time() -> None:
    """Those made last come first; the last page says that it is the last."""
    pages = [[booking("a", 5)], [booking("b", 1), booking("c", -1)]]
    handler, asked = paged("bookings", pages)
    neetocal = provider(handler)
    first = await neetocal.bookings(1, cancelled=False)
    second = await neetocal.bookings(2, cancelled=True, starts_after=NOW)
    assert [[event.booking_sid for event, _ in page.bookings] for page in (first, second)] == [
        ["a"],
        ["b", "c"],
    ]
    assert (first.is_last, second.is_last, second.in_order) == (False, True, True)
    assert [(each["page_number"], each.get("type")) for each in asked] == [
        ("1", None),
        ("2", "cancelled"),
    ]
    assert "starts_after" not in asked[0]
    assert asked[1]["starts_after"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert {(each["sorting_key"], each["sorting_order"]) for each in asked} == {
        ("created_at", "desc")
    }


async def test_a_server_that_sorts_otherwise_is_noticed() -> None:
    """When the oldest come first, such a page says nothing about the next ones."""
    handler, _ = paged("bookings", [[booking("a", -9), booking("b", -8)]])
    assert not (await provider(handler).bookings(1, cancelled=False)).in_order


async def test_one_unreadable_booking_does_not_hold_up_the_others() -> None:
    """Entries that are no objects are passed over; one without a date is kept."""
    handler, _ = paged("bookings", [[7, None, "x", [], booking("a", None)]])
    page = await provider(handler).bookings(1, cancelled=False)
    assert [event.booking_sid for event, _ in page.bookings] == ["a"]


@pytest.mark.parametrize(
    "odd",
    [
        rb'{"sid": "b", "name": "\ud800"}',
        b'{"sid": "b", "x": NaN}',
        b'{"sid": "b", "x": "a\nb"}',
        b'{"sid": "b", "x": 1e999}',
        b'{"sid": "b", "x": "\xff"}',
        b'{"sid": "b", "x": ' + b"[" * 9_999 + b"]" * 9_999 + b"}",
        b'{"sid": "b", "x": [1, "]", {"bookings": [",", "\\"", NaN]}]}',
        b"nobody",
    ],
    ids=["surrogate", "NaN", "control", "number", "bytes", "depth", "brackets", "word"],
)
async def test_one_booking_that_is_no_json_does_not_hold_up_the_others(odd: bytes) -> None:
    """A visitor may have put half of a letter into their name: the rest of the page is read."""
    body = b'{"x": ["bookings", ["bookings", []]], "bookings": [%b , %b, %b],"x":{}}'
    one, other = (json.dumps(booking(sid, day)).encode() for sid, day in (("a", -8), ("c", -9)))
    page = await provider(answering(200, body % (one, odd, other))).bookings(1, cancelled=False)
    assert [event.booking_sid for event, _ in page.bookings] == ["a", "c"]
    assert not page.is_last
    assert bytes(other) in page.bookings[1][1]


@pytest.mark.parametrize(
    "body",
    [
        b'{"bookings": [NaN',
        b'{"bookings": NaN, "x": [1]}',
        b'[{"bookings": [NaN]}]',
        b'{"x": {"bookings": [NaN]}}',
        b'<html>"bookings": [NaN]',
        b'{"bookings": {"x": [NaN]}}',
    ],
)
async def test_what_holds_no_list_is_a_bad_answer(body: bytes) -> None:
    """This holds for bodies that are not valid JSON, too."""
    with pytest.raises(BadAnswer):
        await provider(answering(200, body)).bookings(1, cancelled=False)


async def test_a_page_count_of_none_is_no_count() -> None:
    """A page that has entries is not the last one because a server counts none."""
    body = {"bookings": [booking("a", -8)], "pagination": {"total_pages": 0}}
    page = await provider(answering(200, body)).bookings(1, cancelled=False)
    assert not page.is_last


async def test_a_throttled_list_raises() -> None:
    """The list raises as any other call does."""
    with pytest.raises(Throttled):
        await provider(answering(429)).bookings(1, cancelled=False)


# -- webhooks at the seam ------------------------------------------------------------


@pytest.mark.parametrize("secret", [None, SecretStr("")])
async def test_without_a_secret_no_webhook_is_accepted(secret: SecretStr | None) -> None:
    """can_verify says so beforehand, and verify refuses with the setting's name."""
    neetocal = provider(answering(200), webhook_secret=secret)
    assert not neetocal.can_verify
    with pytest.raises(BadSignature, match="LINKPOOL_NEETOCAL_WEBHOOK_SECRET"):
        neetocal.verify(b"{}", ["sha256=" + "0" * 64])


async def test_with_a_secret_webhooks_can_be_verified() -> None:
    """can_verify is true once a secret is set, and a wrong signature is refused."""
    neetocal = provider(answering(200), webhook_secret=SecretStr(SECRET))
    assert neetocal.can_verify
    with pytest.raises(BadSignature):
        neetocal.verify(b"{}", ["sha256=" + "0" * 64])
