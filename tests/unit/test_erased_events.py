"""Test how events of the erased are recognised: by booking, by slug, by e-mail alone, or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pool.durability.erased_events import ErasedEvents, Verdict
from pool.errors import MalformedJson
from pool.ledger.records import NewEvent
from pool.model.marks import Marks
from pool.providers import BookingEvent
from tests.integration.ledger_samples import NOW
from tests.unit.test_matcher import EVENT

MARKS = Marks(b"key")
ANN, BOB = "ann@x.test", "bob@x.test"
PARSED = replace(EVENT, booking_sid="b-1", parent_sid="p-1", provider_id="id-7", email=ANN)
BODY = json.dumps({"say": f"{ANN} {BOB} order-4711"}).encode()
NEW = NewEvent("e-1", "acme", "webhook", "booked", BODY, NOW, booking_sid="b-0", parent_sid="p-0")


class FakeProvider:
    """A provider whose bodies say what the test wants."""

    def __init__(self, parsed: BookingEvent | None) -> None:
        self._parsed = parsed

    def parse_event(self, body: bytes) -> BookingEvent:
        assert body == BODY
        if self._parsed is None:
            raise MalformedJson("no JSON")
        return self._parsed

    def redact(self, body: bytes, *, slugs: Sequence[str], rename: Callable[[str], str]) -> bytes:
        return b"|".join([body[:4], ",".join(slugs).encode(), rename("b-1").encode()])


class FakeLedger:
    """A ledger that erased some customers, and holds claims of others."""

    def __init__(self) -> None:
        self.hits: dict[str, set[str]] = {}  # marks, with the erased links they lead to
        self.erased_slugs: set[str] = set()
        self.holders: set[str] = set()  # addresses and ids of customers who are not erased
        self.linked: dict[str, str | None] = {}  # links of ours, with their customers
        self.erased = self.links = self

    async def among(self, marks: Sequence[str]) -> dict[str, set[str]]:
        return {mark: self.hits[mark] for mark in marks if mark in self.hits}

    async def slugs_among(self, slugs: Iterable[str]) -> set[str]:
        return self.erased_slugs & set(slugs)

    async def held(self, texts: Sequence[str]) -> set[str]:
        assert all(texts)
        return self.holders & set(texts)

    async def find(self, slugs: Sequence[str]) -> list[Any]:
        return [
            SimpleNamespace(slug=slug, customer_id=who)
            for slug, who in reversed(self.linked.items())
            if slug in slugs
        ]


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


def events(ledger: FakeLedger, parsed: BookingEvent | None = PARSED) -> ErasedEvents:
    made: Any = ledger
    providers: Any = {"acme": FakeProvider(parsed)}
    return ErasedEvents(made, providers, MARKS)


def booking(sid: str) -> str:
    return MARKS.of_booking("acme", sid)


OURS = {booking("b-1"), booking("p-1"), booking("id-7")}
MAIL = {MARKS.of_email(ANN), MARKS.of_email_before(ANN)}
BARE = {booking("b-0"), booking("p-0")}


@pytest.mark.parametrize(
    ("parsed", "bookings", "mails", "kept"),
    [
        (PARSED, OURS, MAIL, MARKS.kept_of_email(ANN)),
        (replace(PARSED, email=None), OURS, set(), set()),
        (replace(PARSED, email=""), OURS, set(), set()),
        (
            replace(PARSED, booking_sid=None, parent_sid=None, provider_id=None, email=None),
            BARE, set(), set(),
        ),
        (None, BARE, set(), set()),
        (
            replace(PARSED, booking_sid="erased-1", email=None),
            OURS - {booking("b-1")}, set(), set(),
        ),
    ],
)  # fmt: skip
async def test_an_event_is_known_by_its_bookings_and_its_address(
    ledger: FakeLedger, parsed: BookingEvent | None, bookings: set[str], mails: set[str],
    kept: set[str],
) -> None:  # fmt: skip
    """The provider's reading names them, or else the inbox; all of its texts are known, too."""
    made = events(ledger, parsed)
    said = MARKS.in_texts([f"{ANN} {BOB} order-4711"])
    marks = await made.marks_of(NEW)
    assert set(marks) == bookings | mails | set(said)
    assert {mark: marks[mark] for mark in said} == said
    assert all(marks[mark] == "" for mark in bookings)
    assert all(marks[mark] == ANN for mark in mails)
    inbox: Any = NEW
    assert made.own_marks(inbox) == bookings | kept


async def test_an_address_that_the_text_does_not_show_is_a_mark_too(ledger: FakeLedger) -> None:
    """The provider's reading knows it."""
    made = events(ledger, replace(PARSED, email="cyd@x.test"))
    marks = await made.marks_of(NEW)
    for mark in (MARKS.of_email("cyd@x.test"), MARKS.of_email_before("cyd@x.test")):
        assert marks[mark] == "cyd@x.test"


async def test_an_event_of_a_workspace_that_is_gone_is_known_by_the_inbox(
    ledger: FakeLedger,
) -> None:
    """Its body cannot be read, and nothing of it is kept."""
    made = events(ledger)
    gone = replace(NEW, workspace="gone")
    marks = await made.marks_of(gone)
    assert MARKS.of_booking("gone", "b-0") in marks
    assert not OURS & set(marks)
    verdict = Verdict((), "link-1", frozenset())
    body, *_ = made.redacted(gone, verdict)
    assert body == b""


@pytest.mark.parametrize("theirs", ["link-1", None])
@pytest.mark.parametrize("parent", ["p-0", None])
def test_the_bookings_of_the_erased_go_by_pseudonyms(
    ledger: FakeLedger, theirs: str | None, parent: str | None
) -> None:
    """Bookings that merely mention them keep their names."""

    def named(sid: str) -> str:
        return MARKS.pseudonym("acme", sid) if theirs else sid

    event = replace(NEW, parent_sid=parent)
    verdict = Verdict(("s-1", "s-2"), theirs, frozenset())
    assert events(ledger).redacted(event, verdict) == (
        b"|".join([BODY[:4], b"s-1,s-2", named("b-1").encode()]),
        named("b-0"),
        parent and named(parent),
    )
    assert events(ledger).redacted(replace(NEW, booking_sid=None), verdict)[1] is None


KEPT = frozenset(OURS | MARKS.kept_of_email(ANN))
ITS_MAIL = MARKS.of_email(ANN)


@pytest.mark.parametrize(
    ("hits", "erased", "linked", "holders", "slug", "verdict"),
    [
        # Nothing of an erased customer is in it.
        ({}, [], {}, [], None, None),
        ({}, [], {"s-1": "ann"}, [], "s-1", None),
        # It was matched to an erased link.
        ({}, ["s-1"], {"s-1": None}, [], "s-1", Verdict(("s-1",), "s-1", KEPT)),
        # Its booking is that of an erased customer, the first by name.
        ({booking("b-1"): {"z", "a"}}, [], {}, [], None, Verdict((), "a", KEPT)),
        ({booking("id-7"): {"z"}}, [], {"s-1": "bob"}, [], None, Verdict(("s-1",), "z", KEPT)),
        # It names one link, which was erased; of two it is not known.
        ({ITS_MAIL: {"z"}}, ["s-1"], {"s-1": None}, [], None, Verdict(("s-1",), "s-1", KEPT)),
        (
            {ITS_MAIL: {"z"}}, ["s-1"], {"s-1": None, "s-2": "bob"}, [ANN], None, None,
        ),
        (
            {ITS_MAIL: {"z"}}, ["s-1", "s-2"], {"s-1": None, "s-2": None}, [], None,
            Verdict(("s-2", "s-1"), "z", KEPT, by_email=True),
        ),
        # Only its e-mail says that it is theirs, and no customer who is there has that address.
        ({ITS_MAIL: {"z", "y"}}, [], {}, [], None, Verdict((), "y", KEPT, by_email=True)),
        ({MARKS.of_email_before(ANN): {"z"}}, [], {}, [], None,
         Verdict((), "z", KEPT, by_email=True)),
        ({ITS_MAIL: {"z"}}, [], {}, [ANN], None, None),
        # It names another customer's link, and mentions the erased.
        ({ITS_MAIL: {"z"}}, [], {"s-1": "bob"}, [], None, Verdict(("s-1",), None, frozenset())),
        ({ITS_MAIL: {"z"}}, [], {"s-1": "bob"}, [ANN], None, None),
        ({ITS_MAIL: {"z"}}, [], {}, [], "s-9", Verdict((), None, frozenset())),
        ({MARKS.of_text("order-4711"): {"z"}}, [], {}, [], None, Verdict((), None, frozenset())),
        ({MARKS.of_text("order-4711"): {"z"}}, [], {}, ["order-4711"], None, None),
        (
            {MARKS.of_text("order-4711"): {"z"}, MARKS.of_email(BOB): {"y"}}, [], {},
            ["order-4711"], None, Verdict((), None, frozenset()),
        ),
    ],
)  # fmt: skip
async def test_the_best_sign_says_whose_an_event_is(
    ledger: FakeLedger, hits: dict[str, set[str]], erased: list[str],
    linked: dict[str, str | None], holders: list[str], slug: str | None, verdict: Verdict | None,
) -> None:  # fmt: skip
    """The best sign decides, and a present customer is not mistaken for an erased one."""
    ledger.hits, ledger.erased_slugs = hits, set(erased)
    ledger.linked, ledger.holders = linked, set(holders)
    made = events(ledger, replace(PARSED, ref="s-2", tokens=("s-1", "s-2", "s-1")))
    assert await made.judge(NEW, await made.marks_of(NEW), slug=slug) == verdict


async def test_a_slug_that_an_event_names_is_no_mention(ledger: FakeLedger) -> None:
    """It is rather a link of ours, which may be another customer's."""
    said = replace(NEW, body=json.dumps({"say": "link-0001"}).encode())
    ledger.hits, ledger.linked = {MARKS.of_text("link-0001"): {"z"}}, {"link-0001": "bob"}
    made = events(ledger, replace(PARSED, email=None, ref=None, tokens=("link-0001",)))
    made._parse = lambda _event: replace(  # type: ignore[method-assign]
        PARSED, email=None, ref=None, tokens=("link-0001",)
    )
    assert await made.judge(said, await made.marks_of(said), slug=None) is None


async def test_a_body_without_a_reading_names_no_link(ledger: FakeLedger) -> None:
    """It may mention the erased all the same."""
    ledger.hits = {MARKS.of_text("order-4711"): {"z"}}
    made = events(ledger, None)
    verdict = await made.judge(NEW, await made.marks_of(NEW), slug=None)
    assert verdict == Verdict((), None, frozenset())
