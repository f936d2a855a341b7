"""What bookings do to links, in whatever order things happen."""

from __future__ import annotations

import itertools
import uuid
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import NOW, TTL, claim, fresh, known

from pool.errors import UnknownLink
from pool.ledger import Ledger
from pool.links import State, may_move

pytest_plugins = ("ledger_fixtures",)

Event = tuple[State, int, str]

CREATED: Event = (State.CONSUMED, 1, "probable")
RESCHEDULED: Event = (State.CONSUMED, 5, "slug")
CANCELLED: Event = (State.CANCELLED, 9, "probable")


async def _settle(ledger: Ledger, slug: str, event: Event) -> None:
    state, second, match = event
    at = NOW + timedelta(seconds=second, microseconds=789)
    returned = await ledger.links.settle(slug, state, booking_sid="bk", at=at, match=match)
    assert returned == await known(ledger, slug)


async def test_the_order_of_a_bookings_events_does_not_count(ledger: Ledger) -> None:
    """Repeated, late or shuffled, the events of one booking end in the same link."""
    ends = set()
    orders = list(itertools.permutations([CREATED, RESCHEDULED, CANCELLED, CREATED]))
    for number, order in enumerate(orders):
        slug = f"a-{number}"
        await ledger.links.insert_fresh([fresh(slug)])
        for event in order:
            await _settle(ledger, slug, event)
        link = await known(ledger, slug)
        ends.add((link.state, link.consumed_at, link.cancelled_at, link.booking_sid, link.match))
    assert ends == {
        (State.CANCELLED, NOW + timedelta(seconds=1), NOW + timedelta(seconds=9), "bk", "slug")
    }


async def test_a_cancellation_alone_is_final(ledger: Ledger) -> None:
    """A link that was cancelled first is cancelled, and a late booking changes its times alone."""
    await ledger.links.record([claim("a-1", "ada")])
    await _settle(ledger, "a-1", CANCELLED)
    assert (await known(ledger, "a-1")).consumed_at is None
    await _settle(ledger, "a-1", CREATED)
    link = await known(ledger, "a-1")
    assert (link.state, link.consumed_at) == (State.CANCELLED, NOW + timedelta(seconds=1))


async def test_a_booking_of_an_unknown_link_is_refused(ledger: Ledger) -> None:
    """A slug that is not ours raises UnknownLink."""
    with pytest.raises(UnknownLink):
        await ledger.links.settle("a-1", State.CONSUMED, booking_sid="b", at=NOW, match="slug")


async def test_only_bookings_settle(ledger: Ledger) -> None:
    """A link cannot be settled into a state that no booking makes."""
    with pytest.raises(ValueError, match="retired"):
        await ledger.links.settle("a-1", State.RETIRED, booking_sid="b", at=NOW, match="slug")


STEPS = ("record", "retire", "quarantine", "lapse", "consume", "cancel")


async def _step(ledger: Ledger, slug: str, sid: str, step: str) -> None:
    if step == "record":
        await ledger.links.record([claim(slug, "ada", meeting_sid=sid)])
    elif step == "retire":
        await ledger.links.move([slug], State.RETIRED, at=NOW)
    elif step == "quarantine":
        await ledger.links.quarantine_fresh(sid, keep_epoch=None, at=NOW)
    elif step == "lapse":
        await ledger.links.lapse(NOW + 2 * TTL)
    else:
        await _settle(ledger, slug, CREATED if step == "consume" else CANCELLED)


def _right_of(old: State, new: State) -> bool:
    """Whether `new` can be reached from `old` by allowed moves."""
    return old is new or any(may_move(old, mid) and _right_of(mid, new) for mid in State)


def _expected(steps: list[str]) -> set[State]:
    """In which states a link may end after these steps."""
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
    """Any order of steps moves a link right only, ends where it must, and may be repeated."""
    unique = uuid.uuid4().hex
    slug, sid = f"a-{unique}", f"m-{unique}"
    await ledger.links.insert_fresh([fresh(slug, meeting_sid=sid)])
    state = State.FRESH
    for step in steps:
        await _step(ledger, slug, sid, step)
        link = await known(ledger, slug)
        assert _right_of(state, link.state)
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
    """A claim and its booking's events end in one and the same link, whatever their order."""
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
