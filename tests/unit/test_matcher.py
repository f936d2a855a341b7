"""Match bookings to links: a table of what events say, and the link each is matched to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pool.bookings.bookings import Bookings
from pool.bookings.matcher import Match, Mismatch
from pool.bookings.meeting_ids import MeetingIds
from pool.ledger import Ledger
from pool.ledger.records import RecordedClaim
from pool.model.links import State
from pool.providers import BookingEvent, ProviderMeeting
from tests.in_process import InProcess

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
ADA, BOB = "ada@x.test", "bob@x.test"
EVENT = BookingEvent("booked", "booking_created", "new", None, None, None, (), None)


def claim(slug: str, who: str, email: str, **fields: Any) -> RecordedClaim:
    values: dict[str, Any] = {
        "slug": slug,
        "url": f"https://acme.neetocal.com/{slug}",
        "meeting_sid": "intro",
        "customer_id": who,
        "email": email,
        "metadata": None,
        "source": "pool",
        "claimed_at": NOW - HOUR,
        "lapses_at": NOW + HOUR,
    }
    return RecordedClaim(**values | fields)


CLAIMS = [
    claim("link-ada", "ada", ADA),
    claim("link-bob", "bob", BOB),
    claim("link-demo", "ada", ADA, meeting_sid="demo"),
    # Several customers with one address, of whom one's claim lapsed a minute ago.
    claim("link-two-1", "two-1", "two@x.test"),
    claim("link-two-2", "two-2", "two@x.test", lapses_at=NOW - timedelta(minutes=1)),
    # One customer who booked and claimed again.
    claim("link-again-1", "again", "again@x.test", claimed_at=NOW - 2 * HOUR),
    claim("link-again-2", "again", "again@x.test"),
    claim("link-silent", "ada", ADA, meeting_sid="silent"),
    claim("link-eszett", "eszett", "stra\u00dfe@x.test"),
    claim("link-nfd", "nfd", "zoe\u0308@x.test"),
]


@dataclass(frozen=True)
class Case:
    """One event, and the link it is matched to: by which rule, or why to none."""

    says: dict[str, Any]
    slug: str | None
    how: str


MADE = {"made_at": NOW - timedelta(minutes=30)}
CASES = {
    "its field names the link": Case({"ref": "link-ada"}, "link-ada", "field"),
    "a slug anywhere": Case({"tokens": ("zzz", "link-ada")}, "link-ada", "slug"),
    "the field before other slugs": Case(
        {"ref": "link-ada", "tokens": ("link-bob", "link-ada")}, "link-ada", "field"
    ),
    "several slugs": Case({"tokens": ("link-ada", "link-bob")}, None, "several links"),
    "a slug of another meeting, by SID": Case(
        {"ref": "link-demo", "meeting_sid": "intro"}, None, "another meeting"
    ),
    "a slug of another meeting, by id": Case(
        {"ref": "link-demo", "meeting_id": "id-intro"}, None, "another meeting"
    ),
    "a slug, with a meeting that is not ours by id": Case(
        {"ref": "link-demo", "meeting_id": "id-strange"}, None, "another meeting"
    ),
    "a slug of this meeting, by id": Case(
        {"ref": "link-demo", "meeting_id": "id-demo"}, "link-demo", "field"
    ),
    "a slug and an id that nobody knows": Case(
        {"ref": "link-demo", "meeting_id": "id-new"}, "link-demo", "field"
    ),
    "a slug and a SID that nobody knows": Case(
        {"ref": "link-demo", "meeting_sid": "strange"}, "link-demo", "field"
    ),
    "a known booking": Case({"booking_sid": "known"}, "link-bob", "booking"),
    "a known booking and another's slug": Case(
        {"booking_sid": "known", "ref": "link-ada"}, "link-bob", "booking"
    ),
    "a known booking and its slug": Case(
        {"booking_sid": "known", "ref": "link-bob"}, "link-bob", "field"
    ),
    "a child of a known booking": Case({"parent_sid": "known"}, "link-bob", "booking"),
    "a child that names its parent by the provider's id": Case(
        {"parent_sid": "id-of-known"}, "link-bob", "booking"
    ),
    "a child with a slug of its own": Case(
        {"parent_sid": "known", "ref": "link-ada"}, "link-ada", "field"
    ),
    "an e-mail": Case({"email": "ADA@x.Test", "meeting_sid": "intro"}, "link-ada", "probable"),
    "an e-mail, with the meeting's id": Case(
        {"email": ADA, "meeting_id": "id-demo"}, "link-demo", "probable"
    ),
    "an e-mail, and no meeting": Case({"email": ADA}, None, "meeting is not known"),
    "an e-mail, and an id nobody knows": Case(
        {"email": ADA, "meeting_id": "id-new"}, None, "meeting is not known"
    ),
    "an e-mail, and a meeting that is not ours": Case(
        {"email": ADA, "meeting_id": "id-strange"}, None, "not one of ours"
    ),
    "an e-mail of a meeting that does not match by it": Case(
        {"email": ADA, "meeting_sid": "silent"}, None, "does not match by e-mail"
    ),
    "an e-mail, made just before the claim": Case(
        {"email": ADA, "meeting_sid": "intro", "made_at": NOW - HOUR - timedelta(seconds=119)},
        "link-ada",
        "probable",
    ),
    "an e-mail, made before the claim": Case(
        {"email": ADA, "meeting_sid": "intro", "made_at": NOW - HOUR - timedelta(seconds=121)},
        None,
        "no claim gave its e-mail before it was made",
    ),
    "an e-mail, made as the claim lapses": Case(
        {"email": "two@x.test", "meeting_sid": "intro", "made_at": NOW - timedelta(minutes=1)},
        None,
        "several claims",
    ),
    "an e-mail, made once one of two claims had lapsed": Case(
        {"email": "two@x.test", "meeting_sid": "intro", "made_at": NOW}, "link-two-1", "probable"
    ),
    "an e-mail of two claims, of which one has lapsed since": Case(
        {"email": "two@x.test", "meeting_sid": "intro"}, None, "several claims"
    ),
    "an e-mail of a customer who claimed again": Case(
        {"email": "again@x.test", "meeting_sid": "intro"}, "link-again-2", "probable"
    ),
    "an e-mail of a customer, before they claimed again": Case(
        {"email": "again@x.test", "meeting_sid": "intro", "made_at": NOW - HOUR * 1.5},
        "link-again-1",
        "probable",
    ),
    "a cancellation by e-mail alone": Case(
        {"email": ADA, "meeting_sid": "intro", "kind": "cancelled", "state": "cancelled"},
        None,
        "never seen",
    ),
    "a rejection by e-mail alone": Case(
        {"email": ADA, "meeting_sid": "intro", "state": "rejected"}, None, "never seen"
    ),
    "ss is not \u00df": Case({"email": "strasse@x.test", "meeting_sid": "intro"}, None, "no claim"),
    "\u00df is \u00df": Case(
        {"email": "STRA\u00dfE@X.test", "meeting_sid": "intro"}, "link-eszett", "probable"
    ),
    "composed or not": Case(
        {"email": "zo\u00eb@x.test", "meeting_sid": "intro"}, "link-nfd", "probable"
    ),
    "nothing": Case({}, None, "no e-mail"),
}


async def claimed(product: InProcess) -> None:
    await product.meeting("intro")
    await product.meeting("demo")
    await product.meeting("silent", match_email=False)
    product.provider.listed = [
        ProviderMeeting(sid, sid, disabled=False, id=f"id-{sid}")
        for sid in ("intro", "demo", "silent", "strange")
    ]
    await product.ledger.links.record(CLAIMS)


@pytest.mark.parametrize("case", CASES)
async def test_an_event_is_matched_by_its_best_sign(product: InProcess, case: str) -> None:
    """An event that fits none is left unmatched, with the reason."""
    await claimed(product)
    bookings: Bookings = product.parts.bookings
    known = replace(EVENT, booking_sid="known", provider_id="id-of-known", ref="link-bob", **MADE)
    link = await product.ledger.links.get("link-bob")
    assert link is not None
    report = bookings._settler.report("default", known, "link-bob", "field", NOW)
    await product.ledger.bookings.settle(report)
    expected = CASES[case]
    event = replace(EVENT, **MADE | expected.says)
    found = await bookings._matcher.match("default", event, NOW)
    if expected.slug is None:
        assert isinstance(found, Mismatch)
        assert expected.how in found.reason
    else:
        assert isinstance(found, Match)
        assert (found.link.slug, found.how) == (expected.slug, expected.how)


async def test_the_provider_is_asked_for_its_meetings_seldom(product: InProcess) -> None:
    """One request learns all listed ids.

    An unlisted one is asked for again after five minutes, and never more often than every two
    seconds.
    """
    await claimed(product)
    asked = []
    meetings = product.provider.meetings

    async def counted() -> list[ProviderMeeting]:
        asked.append(clock[0])
        return await meetings()

    product.provider.meetings = counted  # type: ignore[method-assign]
    clock = [1_000.0]
    ids = MeetingIds(product.ledger, product.parts.providers, clock=lambda: clock[0])
    assert [await ids.sid_of("default", f"id-{sid}") for sid in ("intro", "demo")] == [
        "intro",
        "demo",
    ]
    assert asked == [1_000.0]
    for at, meeting_id in ((1_001.9, "id-new"), (1_002.0, "id-new"), (1_004.0, "id-newer")):
        clock[0] = at
        assert await ids.sid_of("default", meeting_id) is None
    assert asked == [1_000.0, 1_002.0, 1_004.0]
    clock[0] = 1_301.0
    assert await ids.sid_of("default", "id-new") is None
    product.provider.listed.append(ProviderMeeting("new", "", disabled=False, id="id-new"))
    clock[0] = 1_302.0
    assert await ids.sid_of("default", "id-new") == "new"
    # Another process need not ask at all, and a provider that is away changes nothing.
    another = MeetingIds(product.ledger, product.parts.providers, clock=lambda: clock[0])
    assert await another.sid_of("default", "id-new") == "new"
    assert asked == [1_000.0, 1_002.0, 1_004.0, 1_302.0]


async def test_with_one_meeting_none_need_be_named(product: InProcess) -> None:
    """A provider that names no meeting in its bookings."""
    await product.meeting("intro")
    await product.ledger.links.record(CLAIMS[:1])
    match = product.parts.bookings._matcher.match
    found = await match("default", replace(EVENT, email=ADA, **MADE), NOW)
    assert isinstance(found, Match)
    assert found.link.slug == "link-ada"
    product.provider.listed = [ProviderMeeting("intro", "Intro", disabled=False)]
    found = await match("default", replace(EVENT, email=ADA, meeting_id="7", **MADE), NOW)
    assert isinstance(found, Match)


async def test_without_a_time_the_event_was_made_when_it_was_heard(product: InProcess) -> None:
    """A claim made since then is not the booked one, however often matching is repeated."""
    await product.meeting("intro")
    await product.ledger.links.record(CLAIMS[:1])
    match = product.parts.bookings._matcher.match
    event = replace(EVENT, email=ADA)
    assert isinstance(await match("default", event, NOW - HOUR * 1.5), Mismatch)
    assert isinstance(await match("default", event, NOW), Match)
    ahead = replace(event, made_at=NOW + HOUR)
    assert isinstance(await match("default", ahead, NOW - HOUR * 1.5), Mismatch)


async def test_a_booking_by_another_route_never_takes_a_later_claim(
    product: InProcess, sqlite_ledger: Ledger
) -> None:
    """It stays unmatched and is tried again and again; a customer who claims later gets a usable
    link.
    """
    del sqlite_ledger
    await product.meeting("intro")
    body = (
        b'{"event":"booking_created","booking":{"sid":"b","email":"ada@x.test",'
        b'"created_at":"%s"}}' % (NOW - 2 * HOUR).isoformat().encode()
    )
    from tests.bookings_machine import _sign

    await product.parts.bookings.receive("default", body, [_sign(body)])
    await product.parts.bookings.settle_due()
    await product.ledger.links.record(CLAIMS[:1])
    for days in range(1, 30):
        await product.ledger.inbox.reopen_unmatched(NOW + timedelta(days=days))
        await product.parts.bookings.settle_due()
    assert await product.state("link-ada") is State.CLAIMED
