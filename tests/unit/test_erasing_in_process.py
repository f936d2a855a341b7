"""Test erasing a customer: nothing of them is left in the ledger, and their neighbours stay."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from pool.model.links import State
from pool.store.records import payload
from tests.in_process import InProcess
from tests.set_aside import all_set_aside


def everything(product: InProcess) -> str:
    """Return all that stands in the ledger's tables, in small letters."""
    url = product.parts.settings.database_url
    assert url is not None
    with closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")))) as file:
        tables = [
            name for (name,) in file.execute("select name from sqlite_master where type='table'")
        ]
        rows = [row for table in tables for row in file.execute(f'select * from "{table}"')]
    return repr(rows).lower()


async def claim(product: InProcess, sid: str, who: str) -> None:
    name = product.store.names.name(sid, who)
    document = payload(who, f"{who.title()}@Mail.Example", {"note": f"about {who}"})
    await product.store.claim(sid, [(name, document)])


async def test_nothing_of_an_erased_customer_is_left_in_the_ledger(product: InProcess) -> None:
    """The id, every form of the e-mail and the claim's metadata are gone."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2")
    for who in ("walburga", "benjamin"):
        await claim(product, "intro", who)
    await product.parts.recorder.record("intro")
    assert "walburga@mail.example" in everything(product)
    assert await product.parts.erasure.forget("intro", "walburga") == 1
    left = everything(product)
    assert "walburga" not in left
    assert "benjamin@mail.example" in left
    assert await product.store.claim_of("intro", "walburga") is None
    assert await product.store.claim_of("intro", "benjamin") is not None
    assert await product.state("a-1") is State.LAPSED
    assert await product.state("a-2") is State.CLAIMED


async def test_a_claim_on_its_way_is_erased_too(product: InProcess) -> None:
    """The claim that Redis still holds for the recorder is recorded first."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await claim(product, "intro", "walburga")
    assert await product.parts.erasure.forget("intro", "walburga") == 1
    await product.parts.recorder.record("intro")
    assert "walburga" not in everything(product)


async def test_only_the_claims_of_this_meeting_are_erased(product: InProcess) -> None:
    """The same id at another meeting may be another person's."""
    for sid in ("intro", "demo"):
        await product.meeting(sid)
        await product.stock(sid, f"{sid}-1")
        await claim(product, sid, "walburga")
        await product.parts.recorder.record(sid)
    assert await product.parts.erasure.forget("intro", "walburga") == 1
    row = await product.ledger.links.get("demo-1")
    assert row is not None
    assert (row.customer_id, row.state) == ("walburga", State.CLAIMED)


async def test_a_booked_link_stays_booked(product: InProcess) -> None:
    """A booked link was used, whether its customer is erased or not."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await claim(product, "intro", "walburga")
    await product.parts.recorder.record("intro")
    await product.book("a-1", sid="b-1")
    await product.parts.erasure.forget("intro", "walburga")
    assert await product.state("a-1") is State.CONSUMED


async def test_an_erased_link_is_given_to_nobody(product: InProcess) -> None:
    """The link has been seen; a customer who comes back gets another."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2")
    await claim(product, "intro", "walburga")
    await product.parts.recorder.record("intro")
    await product.parts.erasure.forget("intro", "walburga")
    assert await product.claim("intro", "walburga", "benjamin") == ["a-2", ""]


async def test_who_is_unknown_is_erased_from_nowhere(product: InProcess) -> None:
    """No other customer is erased, either."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await claim(product, "intro", "walburga")
    await product.parts.recorder.record("intro")
    assert await product.parts.erasure.forget("intro", "benjamin") == 0
    assert "walburga@mail.example" in everything(product)


async def test_an_entry_set_aside_loses_the_customers_id_and_keeps_the_rest(
    product: InProcess,
) -> None:
    """Other customers of the same entry can still be read by a person."""
    await product.meeting("intro")
    fields = {b"s": b"a-1 a-2", b"c": b"broken walburga, benjamin"}
    for sid in ("intro", "other"):
        await product.store.set_aside.keep(sid, "1-1", fields, "it cannot be read")
    await product.parts.erasure.forget("intro", "walburga")
    intro, other = await all_set_aside(product.store)
    assert intro.fields == {b"s": b"a-1 a-2", b"c": b"broken xxxxxxxx, benjamin"}
    assert other.fields == fields
