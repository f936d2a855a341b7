"""Test that one claim which the database cannot take holds up no other."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pool.config.settings import load
from pool.durability.recorder import Recorder
from pool.errors import LedgerUnavailable
from pool.ledger.records import Recorded, RecordedClaim
from pool.store.records import StreamedClaim

SID = "intro"


class Stream:
    """A store whose stream holds these claims until they are trimmed."""

    def __init__(self, claims: list[StreamedClaim]) -> None:
        self.claims = claims
        self.trimmed: list[str] = []
        self.stream = self

    async def unrecorded(self, _sid: str, _limit: int, **_: object) -> list[StreamedClaim]:
        return list(self.claims)

    async def trim(self, _sid: str, last_entry_id: str) -> None:
        self.trimmed.append(last_entry_id)


class Links:
    """A ledger that takes no metadata with a poison in it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.written: dict[str, RecordedClaim] = {}

    async def record(self, claims: Sequence[RecordedClaim]) -> Recorded:
        if any(claim.metadata and "poison" in claim.metadata for claim in claims):
            raise self.error
        self.written |= {claim.slug: claim for claim in claims}
        return Recorded(len(claims), (), (), ())


def claims() -> list[StreamedClaim]:
    metadata: list[dict[str, object] | None] = [{"a": 1}, {"poison": 1}, None]
    return [
        StreamedClaim(f"{n}-0", f"a-{n}", f"c{n}", "a@b.c", each, "pool", 1_000 + n)
        for n, each in enumerate(metadata)
    ]


def recorder(stream: Stream, links: Links) -> Recorder:
    async def meeting(_sid: str) -> None:
        return None

    ledger: Any = SimpleNamespace(links=links, meetings=SimpleNamespace(get=meeting))
    store: Any = stream
    return Recorder(store, ledger, load({}), conflict=lambda: None)


async def test_a_claim_that_cannot_be_written_is_written_bare() -> None:
    """The customer and the link stay true; the rest of the claim's data is given up."""
    stream, links = Stream(claims()), Links(RecursionError("too deep"))
    assert await recorder(stream, links).record(SID) == 3
    assert stream.trimmed == ["2-0"]
    assert [each.customer_id for each in links.written.values()] == ["c0", "c1", "c2"]
    assert links.written["a-0"].metadata == {"a": 1}
    assert links.written["a-1"].metadata is None
    assert links.written["a-1"].email is None


async def test_a_ledger_that_is_away_is_waited_for() -> None:
    """No claim is given up, and none leaves the stream."""
    stream, links = Stream(claims()), Links(LedgerUnavailable("away"))
    with pytest.raises(LedgerUnavailable):
        await recorder(stream, links).record(SID)
    assert stream.trimmed == []
    assert links.written == {}
