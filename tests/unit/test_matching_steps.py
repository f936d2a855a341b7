"""Test the small steps of matching a booking to a link, and of learning meetings' ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pool.bookings.meeting_ids import MeetingIds
from pool.errors import (
    InvalidRequest,
    LedgerUnavailable,
    ProviderFailed,
)
from pool.model.emails import check_email
from pool.providers import BookingEvent, ProviderMeeting
from tests.bookings_machine import _sign
from tests.in_process import InProcess
from tests.integration.ledger_samples import report
from tests.unit.test_matcher import EVENT, claim

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


async def test_what_matches_nothing_of_ours_is_known_at_once(product: InProcess) -> None:
    """Slug, parent and e-mail decide; a booking without a SID cannot be judged."""
    await product.meeting("intro")
    await product.ledger.links.record([claim("link-ada", "ada", "ada@x.test")])
    await product.ledger.bookings.settle(report("link-ada", sid="known", provider_id="id-of-known"))
    says: dict[str, dict[str, Any]] = {
        "slug": {"tokens": ("zzz", "link-ada")},
        "field": {"ref": "link-ada"},
        "parent": {"parent_sid": "known"},
        "parent by id": {"parent_sid": "id-of-known"},
        "e-mail": {"email": "ADA@x.test"},
        "nothing": {"tokens": ("zzz",), "parent_sid": "other", "email": "bob@x.test"},
        "nothing at all": {},
    }
    events = [replace(EVENT, booking_sid=sid, **fields) for sid, fields in says.items()]
    matcher = product.parts.bookings._matcher
    found = await matcher.hopeless("default", [*events, replace(EVENT, booking_sid=None)])
    assert found == {"nothing", "nothing at all"}
    elsewhere = await matcher.hopeless("other", [events[2]])
    assert elsewhere == {"parent"}


async def ids_of(
    product: InProcess, meetings: Callable[[], list[ProviderMeeting]], clock: list[float]
) -> MeetingIds:
    async def listed() -> list[ProviderMeeting]:
        return meetings()

    product.provider.meetings = listed  # type: ignore[method-assign]
    return MeetingIds(product.ledger, product.parts.providers, clock=lambda: clock[0])


async def test_ids_are_learned_from_a_provider_that_comes_and_goes(product: InProcess) -> None:
    """A learned id stays, also for a meeting that is not listed any more."""
    clock, answers = [100.0], [ProviderFailed("500", status=500)]
    listed: list[ProviderMeeting] = []

    def meetings() -> list[ProviderMeeting]:
        if answers:
            raise answers.pop()
        return listed

    ids = await ids_of(product, meetings, clock)
    assert await ids.sid_of("default", "1") is None
    assert not ids.gives_none("default")
    clock[0] += 300
    listed.append(ProviderMeeting("one", "One", disabled=False, id="1"))
    assert await ids.sid_of("default", "1") == "one"
    listed[:] = [ProviderMeeting("two", "Two", disabled=False, id="2")]
    clock[0] += 300
    assert await ids.sid_of("default", "2") == "two"
    assert await ids.sid_of("default", "1") == "one"
    assert await product.ledger.facts.get("meeting-ids:default") == '{"1":"one","2":"two"}'
    assert await ids.sid_of("not configured", "1") is None


async def test_a_provider_without_ids_is_known_as_such(product: InProcess) -> None:
    """It must list a meeting for that, and one id shows the opposite."""
    clock, listed = [100.0], list[ProviderMeeting]()
    ids = await ids_of(product, lambda: listed, clock)
    for meetings, without in (
        ([], False),
        ([ProviderMeeting("a", "A", disabled=False, id="7")], False),
        ([ProviderMeeting("a", "A", disabled=False)], True),
    ):
        listed[:] = meetings
        clock[0] += 301
        await ids.sid_of("default", "9")
        assert ids.gives_none("default") is without
        assert not ids.gives_none("other")


async def test_a_ledger_that_keeps_no_ids_is_no_reason_not_to_know_them(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process knows them."""

    async def away(*_: object) -> None:
        raise LedgerUnavailable("away")

    listed = [ProviderMeeting("one", "One", disabled=False, id="1")]
    ids = await ids_of(product, lambda: listed, [100.0])
    monkeypatch.setattr(product.ledger.facts, "put", away)
    assert await ids.sid_of("default", "1") == "one"


async def test_questions_that_are_remembered_are_bounded(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of ids may be made up by a sender who has the secret."""
    monkeypatch.setattr("pool.bookings.meeting_ids._ASKED_MOST", 10)
    clock = [100.0]
    ids = await ids_of(product, list, clock)
    for number in range(40):
        clock[0] += 2
        assert await ids.sid_of("default", str(number)) is None
    assert 0 < len(ids._asked) <= 12


async def test_of_a_customers_claims_the_one_held_then_is_meant(product: InProcess) -> None:
    """The minute decides, with two minutes for the clocks; an e-mail of several customers does not
    match.
    """
    await product.meeting("intro")
    now = datetime.now(UTC).replace(microsecond=0)
    await product.ledger.links.record(
        [
            claim("first", "ada", "a@x.test", claimed_at=now - 4 * HOUR, lapses_at=now),
            claim("second", "ada", "a@x.test", claimed_at=now - 2 * HOUR, lapses_at=now + HOUR),
        ]
    )

    async def matched(made_at: datetime) -> str | None:
        said: BookingEvent = replace(EVENT, email="a@x.test", made_at=made_at)
        found = await product.parts.bookings._matcher.match("default", said, now + 9 * HOUR)
        return getattr(getattr(found, "link", None), "slug", None)

    assert await matched(now - 4 * HOUR - timedelta(minutes=2, seconds=1)) is None
    assert await matched(now - 4 * HOUR - timedelta(minutes=2)) == "first"
    assert await matched(now - 2 * HOUR - timedelta(minutes=2, seconds=1)) == "first"
    assert await matched(now - 2 * HOUR - timedelta(minutes=2)) == "second"
    assert await matched(now + HOUR) == "second"
    assert await matched(now + HOUR + SECOND) is None


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("a@b", True),
        ("a@b@c", True),
        ("@b@c", True),
        ("@b", False),
        ("a@", False),
        ("a@b@", False),
        ("ab", False),
        ("a b@c", False),
        ("a\n@c", False),
        ("a" * 252 + "@c", True),
        ("a" * 253 + "@c", False),
    ],
)
def test_an_address_has_text_on_both_sides_of_its_last_at_sign(address: str, fits: bool) -> None:
    """Something on both sides of its last at sign, and no longer than mail can carry."""
    if fits:
        check_email(address)
    else:
        with pytest.raises(InvalidRequest) as refused:
            check_email(address)
        assert str(refused.value) == "invalid email"
        assert refused.value.errors == ("email: not an e-mail address - `$.email`",)


async def test_an_event_is_kept_with_all_that_it_names(product: InProcess) -> None:
    """Later events of its parent are matched by these names."""
    body = (
        b'{"event":"booking_created","booking":{"sid":"b-1","parent_booking_id":"p-1",'
        b'"meeting_sid":"intro","email":"x@x.test"}}'
    )
    event_id = await product.parts.bookings.receive("default", body, [_sign(body)])
    kept = await product.ledger.inbox.get(event_id)
    assert kept is not None
    assert (kept.workspace, kept.booking_sid, kept.parent_sid) == ("default", "b-1", "p-1")
    assert (kept.source, kept.event, kept.body) == ("webhook", "booking_created", body)
