"""Test the marks of the erased: whose events are recognised, and whose are not."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete, update

from pool.ledger.tables import erased_marks, inbox
from pool.model.marks import MARK_BYTES, PSEUDONYM, SOUGHT, Marks, packed
from pool.store.records import payload
from tests.bookings_machine import _sign
from tests.in_process import InProcess

MARKS = Marks(b"the secret key of these tests")
STRASSE, SHARP = "strasse@x.test", "stra\u00dfe@x.test"


def test_an_address_has_one_mark_however_it_is_written() -> None:
    """Addresses are equal exactly where matching takes them for equal."""
    same = ("Zo\u00eb@X.test", " zoe\u0308@x.TEST ", "ZO\u00eb@x.test")
    assert len({MARKS.of_email(each) for each in same}) == 1
    others = ("zoe@x.test", "zo\u00eb@y.test", "zo.\u00eb@x.test", "ZO\u00cb@x.test")
    assert not {MARKS.of_email(each) for each in others} & {MARKS.of_email(same[0])}
    assert MARKS.of_email(STRASSE) != MARKS.of_email(SHARP)
    assert MARKS.of_email_before(STRASSE) == MARKS.of_email_before(SHARP.upper())
    assert MARKS.of_email(STRASSE) != MARKS.of_email_before(STRASSE)
    assert Marks(b"another key").of_email(STRASSE) != MARKS.of_email(STRASSE)
    assert len(bytes.fromhex(MARKS.of_email(STRASSE))) == MARK_BYTES


def test_what_is_kept_of_an_address_recognises_it_by_its_own_mark_alone() -> None:
    """The earlier one is only searched for."""
    own, sought = MARKS.of_email(SHARP), MARKS.of_email_before(SHARP)
    assert MARKS.kept_of_email(SHARP) == {own, f"{SOUGHT}{sought}"}
    assert bytes.fromhex(f"{SOUGHT}{sought}") == bytes.fromhex(sought)


@pytest.mark.parametrize(
    ("customer_id", "emails", "texts"),
    [
        ("ann@x.test", 2, 1),
        ("order-4711", 0, 1),
        ("1234567", 0, 0),  # too short to be found anywhere
        ("12345678", 0, 1),
        ("walburga", 0, 0),  # a word
        ("a@b", 2, 0),
    ],
)
def test_an_id_that_says_little_is_not_looked_for(
    customer_id: str, emails: int, texts: int
) -> None:
    """It would be found everywhere."""
    found = list(MARKS.of_customer(customer_id))
    assert (MARKS.of_text(customer_id) in found) is bool(texts)
    assert set(found) - {MARKS.of_text(customer_id)} == (
        MARKS.kept_of_email(customer_id) if emails else set()
    )


def test_what_a_text_says_is_found_in_it() -> None:
    """Addresses and ids, also in URLs; no short words, no words of letters alone."""
    text = "see https://x.test/?ref=order-4711&e=zoe%40example.com. Or ann@x.test, abc a-1 ab12"
    found = set(MARKS.in_texts([text]).values())
    assert {"order-4711", "zoe@example.com", "ann@x.test", "ab12"} <= found
    assert not {"abc", "a-1", "see", "https", "Or"} & found
    assert MARKS.of_email("Xavier@x.test") in MARKS.in_texts(["to Xavier@x.test"])
    told = MARKS.in_texts(["ann@x.test."])
    assert told[MARKS.of_email("ann@x.test")] == told[MARKS.of_email_before("ann@x.test")]
    assert MARKS.in_texts(["Xena@x.teX."])[MARKS.of_email("Xena@x.teX")] == "Xena@x.teX"
    assert MARKS.in_texts([]) == {}
    assert len(MARKS.in_texts([f"id-{n:04}" for n in range(9_000)])) < 4_200
    assert set(MARKS.in_texts(["x" * 256 + "1"])) & {MARKS.of_text("x" * 256 + "1")} == set()
    assert MARKS.of_text("x" * 255 + "1") in MARKS.in_texts(["x" * 255 + "1"])


def test_a_pseudonym_is_the_same_for_the_same_booking() -> None:
    """It stays the same when it is renamed again."""
    name = MARKS.pseudonym("default", "b-1")
    assert name.startswith(PSEUDONYM)
    assert len(name) == len(PSEUDONYM) + 32
    assert name == MARKS.pseudonym("default", "b-1") == MARKS.pseudonym("other", name)
    assert len({MARKS.pseudonym(w, s) for w in ("a", "b") for s in ("c", "d")}) == 4
    assert MARKS.of_booking("a", "b") != MARKS.of_booking("b", "a")
    assert packed([MARKS.of_text("a"), MARKS.of_text("b"), MARKS.of_text("a")]) == bytes.fromhex(
        MARKS.of_text("a") + MARKS.of_text("b")
    )


# -- whose events are redacted ---------------------------------------------------------------


async def erased(product: InProcess, email: str) -> None:
    """Have a customer who gave this address claim, and be erased."""
    await product.meeting("intro")
    await product.stock("intro", "link-1", "link-2")
    name = product.store.names.name("intro", "cust-1")
    await product.store.claim("intro", [(name, payload("cust-1", email))])
    await product.parts.recorder.record("intro")
    assert await product.parts.erasure.forget("intro", "cust-1") == 1


async def received(product: InProcess, sid: str, email: str) -> str:
    """Receive and settle a booking that names no link. Return its event id."""
    body = json.dumps(
        {"event": "booking_created", "booking": {"sid": sid, "email": email}},
        ensure_ascii=False,
    ).encode()
    event_id = await product.parts.bookings.receive("default", body, [_sign(body)])
    while await product.parts.bookings.settle_due():
        pass
    return event_id


async def says(product: InProcess, event_id: str, email: str) -> bool:
    """Return True if an event still holds this address."""
    event = await product.ledger.inbox.get(event_id)
    assert event is not None
    return email.encode() in event.body


@pytest.mark.parametrize(("gone", "stays"), [(STRASSE, SHARP), (SHARP, STRASSE)])
async def test_another_mailboxs_events_stay(product: InProcess, gone: str, stays: str) -> None:
    """Only events of the erased lose their words, before and after."""
    before = [await received(product, f"b-{n}", each) for n, each in enumerate((gone, stays))]
    await erased(product, gone)
    after = [await received(product, f"c-{n}", each) for n, each in enumerate((gone, stays))]
    for theirs, others in (before, after):
        assert not await says(product, theirs, gone)
        assert await says(product, others, stays)


async def test_events_with_the_marks_of_an_earlier_release_are_found(product: InProcess) -> None:
    """A customer who is erased now has left them before."""
    marks: Marks = product.store.names.marks
    event_id = await received(product, "b", "ANN@x.test")
    old = bytes.fromhex(marks.of_email_before("ann@x.test"))
    await product.ledger._database.change(update(inbox).values(marks=old))
    await erased(product, "ann@x.test")
    assert not await says(product, event_id, "ANN@x.test")


async def test_customers_whom_an_earlier_release_erased_are_recognised(product: InProcess) -> None:
    """Its marks are all there is of them."""
    marks: Marks = product.store.names.marks
    await erased(product, "ann@x.test")

    def as_before(connection: object) -> None:
        from sqlalchemy import Connection

        assert isinstance(connection, Connection)
        new = erased_marks.c.mark.in_(sorted(marks.kept_of_email("ann@x.test")))
        connection.execute(
            update(erased_marks)
            .where(erased_marks.c.mark == marks.of_email("ann@x.test"))
            .values(mark=marks.of_email_before("ann@x.test"))
        )
        connection.execute(delete(erased_marks).where(new))

    await product.ledger._database.write(as_before)
    event_id = await received(product, "c", "ANN@x.test")
    assert not await says(product, event_id, "ANN@x.test")
