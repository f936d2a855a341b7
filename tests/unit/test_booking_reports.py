"""Test the reports of a booking: which one is believed, and what follows for the link."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from pool.model import bookings as model
from pool.model.bookings import Booking, merged, settled
from pool.model.emails import kept_forms, same_email
from pool.model.links import Link, State
from tests.integration.ledger_samples import NOW, report

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


A, B = "a", "b"
ORDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # The first of each pair is the one that is believed.
    "the later change": ({"changed_at": NOW + SECOND}, {"changed_at": NOW}),
    "a change, before one that is not timed": (
        {"changed_at": NOW, "made_at": NOW - HOUR},
        {"changed_at": None, "made_at": NOW - HOUR},
    ),
    "the later made, of equal changes": ({"made_at": NOW}, {"made_at": NOW - HOUR}),
    "a known time of making": ({"made_at": NOW}, {"made_at": None}),
    "confirmed, before pending": ({"state": "confirmed"}, {"state": "pending"}),
    "pending, before incomplete": ({"state": "pending"}, {"state": "incomplete"}),
    "undocumented, before pending": ({"state": "no_show"}, {"state": "pending"}),
    "confirmed, before undocumented": ({"state": "confirmed"}, {"state": "no_show"}),
    "rejected, before confirmed": ({"state": "rejected"}, {"state": "confirmed"}),
    "cancelled, before rejected": ({"state": "cancelled"}, {"state": "rejected"}),
    "of two undocumented the later by name": ({"state": "zz"}, {"state": "aa"}),
    "the later start": ({"starts_at": NOW + SECOND}, {"starts_at": NOW}),
    "a known start": ({"starts_at": NOW}, {"starts_at": None}),
    "the later end": ({"ends_at": NOW + SECOND}, {"ends_at": NOW}),
    "a known end": ({"ends_at": NOW}, {"ends_at": None}),
    "the later time zone by name": ({"time_zone": "UTC"}, {"time_zone": "Asia/Tokyo"}),
    "a known time zone": ({"time_zone": "Africa/Cairo"}, {"time_zone": None}),
    "a known page": ({"manage_url": "https://a.test"}, {"manage_url": None}),
    "an end that is not timed": (
        {"state": "rejected", "changed_at": None, "made_at": None},
        {"state": "confirmed", "changed_at": NOW},
    ),
    "an end of which only the making is timed": (
        {"state": "cancelled", "changed_at": None, "made_at": NOW - HOUR},
        {"state": "confirmed", "changed_at": NOW, "made_at": NOW - HOUR},
    ),
    "anything timed, before what is not": (
        {"changed_at": NOW},
        {"changed_at": None, "made_at": None},
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_of_two_reports_the_same_is_believed_in_either_order(case: str) -> None:
    """They are compared field by field to the last one."""
    right, wrong = (report("a-1", **fields) for fields in ORDERS[case])
    fields = ("state", "changed_at", "made_at", "starts_at", "ends_at", "time_zone", "manage_url")
    for one in (merged(right, wrong), merged(wrong, right)):
        assert [getattr(one, name) for name in fields] == [getattr(right, name) for name in fields]
        assert merged(one, right) == merged(one, wrong) == one


def test_what_a_later_report_does_not_say_is_kept() -> None:
    """The earliest moment, the surest sign and the link of the first report stay."""
    first = report(
        "a-1", parent_sid="p", heard_at=NOW, email_key="k", match="probable", provider_id="7",
    )  # fmt: skip
    last = report(
        "a-2", "cancelled", changed_at=NOW + HOUR, heard_at=NOW - HOUR, match="field",
        stood=False, stood_at=None,
    )  # fmt: skip
    for one, slug in ((merged(first, last), "a-1"), (merged(last, first), "a-2")):
        assert (one.state, one.slug, one.heard_at) == ("cancelled", slug, NOW - HOUR)
        assert (one.parent_sid, one.email_key, one.provider_id) == ("p", "k", "7")
        assert (one.match, one.stood, one.stood_at) == ("field", True, NOW)
    earlier = replace(first, stood_at=NOW - HOUR, parent_sid="o", email_key="j", provider_id="6")
    both = merged(first, earlier)
    assert (both.stood_at, both.parent_sid, both.email_key, both.provider_id) == (
        NOW - HOUR, "o", "j", "6",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signs", "surest"),
    [
        (("slug", "field"), "field"),
        (("assigned", "slug"), "slug"),
        (("booking", "assigned"), "assigned"),
        (("probable", "booking"), "booking"),
        (("a new one", "probable"), "probable"),
        (("b new", "a new"), "a new"),
        ((None, "probable"), "probable"),
        ((None, "a new"), "a new"),
        ((None, None), None),
    ],
)
def test_the_surest_sign_counts(signs: tuple[str | None, str | None], surest: str | None) -> None:
    """A sign that a newer release wrote is the least sure."""
    one, other = (report("a-1", match=sign) for sign in signs)
    assert merged(one, other).match == merged(other, one).match == surest


@pytest.mark.parametrize(
    ("state", "stands", "documented"),
    [
        ("incomplete", False, True),
        ("pending", True, True),
        ("confirmed", True, True),
        ("cancelled", False, True),
        ("rejected", False, True),
        ("no_show", True, False),
        ("", True, False),
    ],
)
def test_which_states_hold_a_link(state: str, stands: bool, documented: bool) -> None:
    """An unknown state holds it, too."""
    assert model.stands(state) is stands
    assert model.is_documented(state) is documented


def linked(*bookings: Booking, state: State = State.CLAIMED) -> Link:
    """Return the link in the state that follows from its bookings."""
    link = Link("a-1", "u", "intro", state, "pool", "e", NOW - HOUR)
    return settled(link, bookings)


def test_a_link_tells_of_its_bookings() -> None:
    """It has the times of booking and end, the booking that begins first, and the surest sign."""
    first = report("a-1", sid="x", starts_at=NOW + 2 * HOUR, match="probable")
    second = report("a-1", sid="y", starts_at=NOW + HOUR, made_at=NOW + SECOND, match="slug")
    link = linked(first, second)
    assert (link.state, link.booking_sid, link.match) == (State.CONSUMED, "y", "slug")
    assert (link.consumed_at, link.cancelled_at) == (NOW, None)
    gone = [
        replace(each, state="cancelled", changed_at=NOW + n * HOUR)
        for n, each in enumerate((first, second), 1)
    ]
    link = linked(*gone, state=State.CONSUMED)
    assert (link.state, link.booking_sid) == (State.CANCELLED, "y")
    assert (link.consumed_at, link.cancelled_at) == (NOW, NOW + 2 * HOUR)
    link = linked(gone[0], second)
    assert (link.state, link.booking_sid, link.cancelled_at) == (State.CONSUMED, "y", None)
    link = linked(first, gone[1])
    assert (link.booking_sid, link.consumed_at) == ("x", NOW)


@pytest.mark.parametrize(
    ("fields", "ended_at"),
    [
        ({"changed_at": NOW + SECOND}, NOW + SECOND),
        ({"changed_at": None, "made_at": NOW + SECOND}, NOW + SECOND),
        ({"changed_at": None, "made_at": None, "heard_at": NOW + HOUR}, NOW + HOUR),
        ({"changed_at": model.CARRIED, "made_at": NOW + SECOND}, NOW + SECOND),
        ({"changed_at": model.CARRIED, "made_at": None, "heard_at": NOW + HOUR}, NOW + HOUR),
    ],
)
def test_an_end_has_the_best_time_that_is_known(fields: dict[str, Any], ended_at: datetime) -> None:
    """A time that a migration put there is not used."""
    assert linked(report("a-1", "cancelled", **fields)).cancelled_at == ended_at


def test_of_bookings_without_a_start_the_first_made_is_named() -> None:
    """One with a start comes before them, and of equals the first by name."""
    without = [
        report("a-1", sid="late", made_at=NOW + SECOND),
        report("a-1", sid="early", made_at=NOW),
        report("a-1", sid="never", made_at=None, stood_at=NOW),
        report("a-1", sid="also-early", made_at=NOW),
    ]
    assert linked(*without).booking_sid == "also-early"
    assert (
        linked(*without, report("a-1", sid="far", starts_at=NOW + 999 * HOUR)).booking_sid == "far"
    )
    assert linked(report("a-1", sid=model.unnamed_sid("a-1"))).booking_sid is None
    assert model.unnamed_sid("a-1") == "unnamed:a-1"


def test_a_link_of_which_nothing_stood_stays_as_it_is() -> None:
    """That holds for any number of unpaid forms, while a booked retired link becomes consumed."""
    unpaid = report("a-1", "incomplete")
    for state in State:
        assert linked(unpaid, state=state) == linked(state=state)
        assert linked(state=state).state is state
    assert linked(report("a-1"), state=State.RETIRED).state is State.CONSUMED


@pytest.mark.parametrize(
    ("given", "compared"),
    [
        ("  Ann@X.Test ", "ann@x.test"),
        ("ANN.B+tag@x.test", "ann.b+tag@x.test"),
        ("\u00c4nn@X.TEST", "\u00c4nn@x.test"),
        ("zoe\u0308@\u00c4.test", "zo\u00eb@\u00e4.test"),
        ("a@b@C.test", "a@b@c.test"),
        ("NoAt", "noat"),
    ],
)
def test_addresses_are_compared_in_one_form(given: str, compared: str) -> None:
    """They are also found in the forms in which older releases stored them."""
    assert same_email(given) == compared
    assert same_email(compared) == compared
    assert {compared, given.strip().casefold()} <= kept_forms(given)
