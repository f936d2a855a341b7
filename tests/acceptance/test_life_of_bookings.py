"""Follow bookings as they live at the provider: what a claim answers, and the link's state."""

from __future__ import annotations

from typing import Any

import pytest
from product import Product, wait_until

SECONDS = 30


def held(product: Product, sid: str, customer: str = "visitor") -> tuple[str, str, str]:
    """Return the state of a claim, and the SID and state of its booking ("" if there is none)."""
    answer = product.api("GET", f"/v1/meetings/{sid}/claims/{customer}")
    if answer.status_code == 404:
        return "none", "", ""
    claim = answer.json()["claim"]
    booking = claim.get("booking") or {"sid": "", "state": ""}
    return claim["state"], booking["sid"], booking["state"]


def until(product: Product, sid: str, slug: str, link: str, *claim: str) -> None:
    """Wait until the claim, its booking and the link agree with the provider."""

    def there() -> bool:
        kept = product.link(slug)
        settled = nothing_waits(product, sid)
        return settled and held(product, sid) == claim and kept.get("state") == link

    try:
        wait_until(there, SECONDS, what=f"the link is {link}")
    except AssertionError:
        raise AssertionError((held(product, sid), product.link(slug), claim, link)) from None


def nothing_waits(product: Product, sid: str) -> bool:
    """Return True if every event of this meeting's bookings was sent and processed.

    The product is shared, and events of other tests may wait for ever.
    """
    mine = MADE.get(sid, set())
    sent = product.sandbox("GET", "/_control/state").json()["webhooks"]["deliveries"]
    if any(each["booking_sid"] in mine and each["state"] != "delivered" for each in sent):
        return False
    waiting = product.api("GET", "/v1/events?state=pending&limit=1000").json()["events"]
    return not any(each["booking_sid"] in mine for each in waiting)


MADE: dict[str, set[str]] = {}  # the bookings of each test's meeting


def made(sid: str, bookings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Note bookings whose events are to be waited for. Return them."""
    MADE.setdefault(sid, set()).update(each["sid"] for each in bookings)
    return bookings


def booked(product: Product, sid: str, kind: str = "plain") -> tuple[str, list[dict[str, Any]]]:
    """Claim a link of a meeting of this kind and book it. Return its slug and the bookings."""
    product.control("meeting", meeting_sid=sid, kind=kind)
    slug = product.slug(sid, "visitor")
    return slug, made(sid, product.control("book", slug=slug)["bookings"])


def another_link(product: Product, sid: str, slug: str) -> None:
    """Claim again, and check that the customer gets another link, which is not booked."""
    claim = product.claim(sid, "visitor").json()["claim"]
    assert claim["slug"] != slug
    assert claim["state"] == "claimed"
    assert "booking" not in claim


@pytest.mark.parametrize("number", [0, 1, 2], ids=["the first", "one between", "the last"])
def test_a_series_stands_while_one_of_it_does(product: Product, sid: str, number: int) -> None:
    """The claim names the first booking that stands; when none is left the customer gets another
    link.
    """
    slug, series = booked(product, sid, "series")
    sids = [each["sid"] for each in series]
    assert len(sids) == 3
    until(product, sid, slug, "consumed", "consumed", sids[0], "confirmed")
    product.control("cancel", booking_sid=sids[number])
    left = [each for each in sids if each != sids[number]]
    until(product, sid, slug, "consumed", "consumed", left[0], "confirmed")
    again = product.claim(sid, "visitor")
    assert (again.status_code, again.json()["claim"]["slug"]) == (200, slug)
    assert again.json()["claim"]["state"] == "consumed"
    product.control("cancel", booking_sid=left[0], series=True)
    until(product, sid, slug, "cancelled", "none", "", "")
    another_link(product, sid, slug)


@pytest.mark.parametrize("style", ["new_sid", "new_sid_cancelled_first", "same_sid"])
def test_a_booking_that_was_moved_stands(product: Product, sid: str, style: str) -> None:
    """It stands under its old SID or a new one, whichever event comes first, until it is
    cancelled.
    """
    slug, [booking] = booked(product, sid)
    until(product, sid, slug, "consumed", "consumed", booking["sid"], "confirmed")
    [moved] = made(
        sid, [product.control("reschedule", booking_sid=booking["sid"], style=style)["booking"]]
    )
    assert (moved["sid"] == booking["sid"]) == (style == "same_sid")
    until(product, sid, slug, "consumed", "consumed", moved["sid"], "confirmed")

    def shown() -> bool:
        told = product.claim(sid, "visitor").json()["claim"]
        return bool(told["slug"] == slug and same(told["booking"]["starts_at"], moved["starts_at"]))

    wait_until(shown, SECONDS, what="the new time is shown")
    product.control("cancel", booking_sid=moved["sid"])
    until(product, sid, slug, "cancelled", "none", "", "")
    another_link(product, sid, slug)


def same(one: str, other: str) -> bool:
    """Return True if these times are within the same second."""
    return one[:19] == other[:19]


@pytest.mark.parametrize("reported", [False, True], ids=["in silence", "with an event"])
def test_a_form_that_is_not_paid_holds_no_link(product: Product, sid: str, reported: bool) -> None:
    """The customer keeps the link until the form is paid, which books it."""
    with product.turned(webhook_on_incomplete=reported):
        slug, [booking] = booked(product, sid, "payment")
        assert booking["status"] == "incomplete"
        wait_until(lambda: nothing_waits(product, sid), SECONDS)
    until(product, sid, slug, "claimed", "claimed", "", "")
    assert product.slug(sid, "visitor") == slug
    product.control("confirm", booking_sid=booking["sid"])
    until(product, sid, slug, "consumed", "consumed", booking["sid"], "confirmed")


@pytest.mark.parametrize("approved", [True, False], ids=["approved", "rejected"])
def test_a_booking_that_awaits_approval_holds_its_link(
    product: Product, sid: str, approved: bool
) -> None:
    """The customer gets no second link meanwhile, but another one once the booking is rejected."""
    slug, [booking] = booked(product, sid, "approval")
    until(product, sid, slug, "consumed", "consumed", booking["sid"], "pending")
    assert product.slug(sid, "visitor") == slug
    product.control("approve" if approved else "reject", booking_sid=booking["sid"])
    if approved:
        until(product, sid, slug, "consumed", "consumed", booking["sid"], "confirmed")
    else:
        until(product, sid, slug, "cancelled", "none", "", "")
        another_link(product, sid, slug)


def test_a_burnt_link_is_replaced(product: Product, sid: str) -> None:
    """Admins replace it once; the old link is retired with the reason, and a booked one stays."""
    path = f"/v1/meetings/{sid}/claims/visitor/replace"
    assert product.api("POST", path, json={"reason": "x"}).status_code == 404
    slug = product.slug(sid, "visitor", email="v@example.com")
    body = {"reason": "the provider shows it as expired", "slug": slug}
    answer = product.api("POST", path, json=body)
    assert answer.status_code == 200, answer.text
    claim, embed = answer.json()["claim"], answer.json()["embed"]
    assert answer.headers["cache-control"] == "no-store"
    assert claim["slug"] == embed["slug"] != slug
    assert product.claim(sid, "visitor").json()["claim"]["slug"] == claim["slug"]
    # A repeat, as after a lost answer, replaces nothing.
    assert product.api("POST", path, json=body).json()["claim"]["slug"] == claim["slug"]
    wait_until(lambda: product.link(slug).get("state") == "retired", SECONDS)
    story = product.api("GET", f"/v1/links/{slug}").text
    assert "the provider shows it as expired" in story
    wait_until(lambda: product.link(claim["slug"]).get("customer_id") == "visitor", SECONDS)
    assert product.link(claim["slug"])["email"] == "v@example.com"
    [booking] = made(sid, product.control("book", slug=claim["slug"])["bookings"])
    until(product, sid, claim["slug"], "consumed", "consumed", booking["sid"], "confirmed")
    refused = product.api("POST", path, json={"reason": "x"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-replaceable")
    assert product.slug(sid, "visitor") == claim["slug"]
