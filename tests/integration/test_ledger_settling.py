"""Test the effect of bookings on links, in whatever order events come."""

from __future__ import annotations

import itertools
import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import NOW, TTL, claim, fresh, known, report

from pool.errors import UnknownLink
from pool.ledger import Ledger
from pool.model.bookings import Booking
from pool.model.links import State

pytest_plugins = ("ledger_fixtures",)

LEFT_TO_RIGHT = (
    {State.FRESH},
    {State.RETIRED, State.QUARANTINED},
    {State.CLAIMED},
    {State.LAPSED},
    {State.CONSUMED, State.CANCELLED},  # between these two both ways
)


def at(second: int) -> Any:
    return NOW + timedelta(seconds=second, microseconds=789)


def heard(slug: str, state: str, changed: int, **fields: Any) -> Booking:
    """Return a report of a booking that was made in second 1 and changed in this one."""
    return report(slug, state, **{"made_at": at(1), "changed_at": at(changed)} | fields)


def orders(reports: list[Any], database_url: str) -> list[tuple[Any, ...]]:
    """Return every order of these once, though one of them is there twice.

    What an order makes of a booking is computed in Python alone, for either database. So on
    PostgreSQL, where each report takes twice as long, each comes once in every place, from the
    front and from the back.
    """
    if database_url.startswith("sqlite"):
        return list(dict.fromkeys(itertools.permutations(reports)))
    turned = [(*reports[at:], *reports[:at]) for at in range(len(reports))]
    return list(dict.fromkeys([*turned, *(order[::-1] for order in turned)]))


async def test_the_order_of_a_bookings_events_does_not_count(
    ledger: Ledger, database_url: str
) -> None:
    """Repeated, late or shuffled, the events of one booking end in the same link."""
    ends = set()
    events = [("confirmed", 1, "probable"), ("confirmed", 5, "slug"), ("cancelled", 9, "probable")]
    for number, order in enumerate(orders([*events, events[0]], database_url)):
        slug = f"a-{number}"
        await ledger.links.insert_fresh([fresh(slug)])
        for state, second, match in order:
            sid = f"bk-{number}"
            settled = await ledger.bookings.settle(heard(slug, state, second, sid=sid, match=match))
            assert settled.link == await known(ledger, slug)
        link = await known(ledger, slug)
        assert link.booking_sid == sid
        ends.add((link.state, link.consumed_at, link.cancelled_at, link.match))
    assert ends == {
        (State.CANCELLED, NOW + timedelta(seconds=1), NOW + timedelta(seconds=9), "slug")
    }


async def test_a_cancellation_alone_tells_that_its_booking_stood(ledger: Ledger) -> None:
    """It comes last by the provider's time; a late report of the booking adds when it was made."""
    await ledger.links.record([claim("a-1", "ada")])
    await ledger.bookings.settle(heard("a-1", "cancelled", 9))
    link = await known(ledger, "a-1")
    assert (link.state, link.consumed_at) == (State.CANCELLED, None)
    await ledger.bookings.settle(heard("a-1", "confirmed", 1))
    link = await known(ledger, "a-1")
    assert (link.state, link.consumed_at) == (State.CANCELLED, NOW + timedelta(seconds=1))


# A link's bookings: (sid, state, second of change, parent), and what they make of a claimed link.
SETS: dict[str, tuple[list[tuple[str, str, int, str | None]], State]] = {
    "a child cancelled while its parent stands": (
        [("a", "confirmed", 1, None), ("b", "confirmed", 2, "a"), ("b", "cancelled", 3, "a")],
        State.CONSUMED,
    ),
    "a parent cancelled while its child stands": (
        [("a", "confirmed", 1, None), ("b", "confirmed", 2, "a"), ("a", "cancelled", 3, None)],
        State.CONSUMED,
    ),
    "rescheduled under a new SID": (
        [("a", "confirmed", 1, None), ("a", "cancelled", 2, None), ("b", "confirmed", 2, None)],
        State.CONSUMED,
    ),
    "rescheduled under a new SID, and cancelled": (
        [
            ("a", "confirmed", 1, None),
            ("a", "cancelled", 2, None),
            ("b", "confirmed", 2, None),
            ("b", "cancelled", 4, None),
        ],
        State.CANCELLED,
    ),
    "rescheduled under its SID": (
        [("a", "confirmed", 1, None), ("a", "confirmed", 2, None)],
        State.CONSUMED,
    ),
    "never paid": ([("a", "incomplete", 1, None)], State.CLAIMED),
    "paid later": ([("a", "incomplete", 1, None), ("a", "confirmed", 2, None)], State.CONSUMED),
    "waits for approval": ([("a", "pending", 1, None)], State.CONSUMED),
    "rejected": ([("a", "pending", 1, None), ("a", "rejected", 2, None)], State.CANCELLED),
    "approved after it was rejected": (
        [("a", "pending", 1, None), ("a", "rejected", 2, None), ("a", "confirmed", 3, None)],
        State.CONSUMED,
    ),
    "a state that is not documented": ([("a", "no_show", 1, None)], State.CONSUMED),
    "one unpaid, another cancelled": (
        [("a", "incomplete", 1, None), ("b", "cancelled", 2, None)],
        State.CANCELLED,
    ),
    "ended in the second it was made": (
        [("a", "confirmed", 1, None), ("a", "cancelled", 1, None)],
        State.CANCELLED,
    ),
}


@pytest.mark.parametrize("case", SETS)
async def test_a_links_state_follows_from_its_set_of_bookings(
    ledger: Ledger, database_url: str, case: str
) -> None:
    """In each order, and with one report twice."""
    reports, expected = SETS[case]
    for number, order in enumerate(orders([*reports, reports[0]], database_url)):
        slug = f"a-{number}"
        await ledger.links.record([claim(slug, f"c-{number}")])
        for sid, state, second, parent in order:
            parent_sid = parent and f"{parent}-{number}"
            await ledger.bookings.settle(
                heard(slug, state, second, sid=f"{sid}-{number}", parent_sid=parent_sid)
            )
        assert (await known(ledger, slug)).state is expected, order
        of_link = await ledger.bookings.of_link(slug)
        assert {each.sid for each in of_link} == {f"{sid}-{number}" for sid, *_ in reports}


async def test_without_times_an_end_is_believed(ledger: Ledger) -> None:
    """An end without a time is believed, in either order; any other report without a time is the
    least that is known.
    """
    for number, states in enumerate(itertools.permutations(["confirmed", "cancelled"])):
        slug = f"a-{number}"
        await ledger.links.record([claim(slug, f"c-{number}")])
        for state in states:
            await ledger.bookings.settle(
                report(slug, state, sid=slug, made_at=None, changed_at=None)
            )
        assert (await known(ledger, slug)).state is State.CANCELLED
        heard_at = (await known(ledger, slug)).cancelled_at
        assert heard_at == NOW


async def test_a_booking_stays_with_the_link_it_was_first_matched_to(ledger: Ledger) -> None:
    """Another slug in a later report moves neither link."""
    await ledger.links.record([claim("a-1", "ada"), claim("a-2", "bob")])
    await ledger.bookings.settle(heard("a-1", "confirmed", 1))
    settled = await ledger.bookings.settle(heard("a-2", "cancelled", 5))
    assert (settled.link.slug, settled.link.state) == ("a-1", State.CANCELLED)
    assert (await known(ledger, "a-2")).state is State.CLAIMED


async def test_of_several_bookings_the_first_to_begin_is_named(ledger: Ledger) -> None:
    """Only bookings that stand are considered."""
    await ledger.links.record([claim("a-1", "ada")])
    for sid, starts in (("a", 300), ("b", 200), ("c", 400)):
        settled = await ledger.bookings.settle(
            heard("a-1", "confirmed", 1, sid=sid, starts_at=at(starts))
        )
    assert settled.link.booking_sid == "b"
    settled = await ledger.bookings.settle(heard("a-1", "cancelled", 2, sid="b"))
    assert settled.link.booking_sid == "a"
    assert settled.foremost == await ledger.bookings.get("default", "a")


async def test_a_booking_of_an_unknown_link_is_refused(ledger: Ledger) -> None:
    """An unknown slug raises UnknownLink and leaves no booking behind."""
    with pytest.raises(UnknownLink):
        await ledger.bookings.settle(report("a-1"))
    assert await ledger.bookings.get("default", "bk") is None


async def test_the_oldest_thing_that_may_change(ledger: Ledger) -> None:
    """It is a live claim or a booking that has not ended long ago, of this workspace."""
    from pool.model.meetings import Meeting

    await ledger.meetings.put(Meeting("intro"))
    await ledger.meetings.put(Meeting("other", workspace="other"))
    over_since = NOW

    async def oldest() -> Any:
        return await ledger.bookings.oldest_open("default", over_since=over_since)

    assert await oldest() is None
    await ledger.links.record([claim(f"a-{n}", f"c{n}", claimed_at=NOW) for n in range(5)])
    await ledger.links.record([claim("o-1", "c", meeting_sid="other", claimed_at=NOW - 9 * TTL)])
    assert await oldest() == NOW
    long_ago = {"made_at": NOW - 3 * TTL}
    over = timedelta(seconds=1)
    await ledger.bookings.settle(report("a-0", sid="over", ends_at=NOW - over, **long_ago))
    assert await oldest() == NOW
    await ledger.bookings.settle(
        report("a-1", "cancelled", sid="gone", ends_at=NOW + over, **long_ago)
    )
    assert await oldest() == NOW
    await ledger.bookings.settle(report("a-2", sid="open", ends_at=NOW + over, **long_ago))
    assert await oldest() == NOW - 3 * TTL


STEPS = ("record", "retire", "quarantine", "lapse", "consume", "cancel")


async def _step(ledger: Ledger, slug: str, sid: str, step: str) -> None:
    if step == "record":
        await ledger.links.record([claim(slug, "ada", meeting_sid=sid)])
    elif step == "retire":
        await ledger.links.move([slug], State.RETIRED, at=NOW)
    elif step == "quarantine":
        await ledger.links.quarantine_fresh(sid, at=NOW)
    elif step == "lapse":
        await ledger.links.lapse(NOW + 2 * TTL)
    else:
        state, second = ("confirmed", 1) if step == "consume" else ("cancelled", 9)
        await ledger.bookings.settle(heard(slug, state, second, sid=f"bk-{slug}"))


def _place(state: State) -> int:
    return next(n for n, states in enumerate(LEFT_TO_RIGHT) if state in states)


def _expected(steps: list[str]) -> set[State]:
    """Return the states in which a link may end after these steps."""
    if "cancel" in steps:
        return {State.CANCELLED}
    if "consume" in steps:
        return {State.CONSUMED}
    if "record" in steps:
        lapsed = "lapse" in steps[steps.index("record") :]
        return {State.LAPSED if lapsed else State.CLAIMED}
    withdrawals = {"retire": State.RETIRED, "quarantine": State.QUARANTINED}
    first = next((withdrawals[step] for step in steps if step in withdrawals), State.FRESH)
    return {first}


@settings(
    max_examples=60,
    deadline=None,
    # Each example has a link and a meeting of its own, so one ledger serves all.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=8))
async def test_links_only_move_right(ledger: Ledger, steps: list[str]) -> None:
    """Any steps in any order move a link right only, end in a permitted state, and may be
    repeated.
    """
    unique = uuid.uuid4().hex
    slug, sid = f"a-{unique}", f"m-{unique}"
    await ledger.links.insert_fresh([fresh(slug, meeting_sid=sid)])
    state = State.FRESH
    for step in steps:
        await _step(ledger, slug, sid, step)
        link = await known(ledger, slug)
        assert _place(state) <= _place(link.state)
        state = link.state
        await _step(ledger, slug, sid, step)
        assert await known(ledger, slug) == link, f"{step} again changed the link"
    assert state in _expected(steps)
    assert (await known(ledger, slug)).customer_id == ("ada" if "record" in steps else None)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_claim_and_bookings_commute(ledger: Ledger, data: st.DataObject) -> None:
    """A claim and its booking's events end in one and the same link, in any order."""
    steps = data.draw(st.lists(st.sampled_from(("record", "consume", "cancel")), min_size=1))
    ends = []
    for order in (steps, data.draw(st.permutations(steps))):
        unique = uuid.uuid4().hex
        slug, sid = f"a-{unique}", f"m-{unique}"
        await ledger.links.insert_fresh([fresh(slug, meeting_sid=sid)])
        for step in order:
            await _step(ledger, slug, sid, step)
        link = await known(ledger, slug)
        ends.append(
            (link.state, link.customer_id, link.claimed_at, link.consumed_at, link.cancelled_at)
        )
    assert ends[0] == ends[1]
