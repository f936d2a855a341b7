"""Test reading the claims stream: entry by entry, page by page, past unreadable entries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pool.store import key_names
from pool.store.claims_stream import ClaimsStream, Unreadable, streamed
from pool.store.records import BATCH_LIMIT, StreamedClaim

ANN = ["ann", "ann@x.test", {"plan": "pro"}]


def packed(*customers: list[Any]) -> bytes:
    return msgspec.msgpack.encode(customers)


def claim(slug: str, who: str, **fields: Any) -> StreamedClaim:
    values: dict[str, Any] = {
        "entry_id": "1700-3", "slug": slug, "customer_id": who, "email": None, "metadata": None,
        "source": "pool", "claimed_at_ms": 1700,
    }  # fmt: skip
    return StreamedClaim(**values | fields)


@pytest.mark.parametrize(
    ("fields", "claims"),
    [
        (
            {b"s": b"one-off-1", b"c": packed(ANN)},
            [claim("one-off-1", "ann", email="ann@x.test", metadata={"plan": "pro"})],
        ),
        # Slugs that begin alike are written by their last parts.
        (
            {b"s": b"one-off-1~2~3 other-4~5", b"c": packed(*([c] for c in "abcde"))},
            [
                claim(slug, who)
                for slug, who in zip(
                    ["one-off-1", "one-off-2", "one-off-3", "other-4", "one-off-5"], "abcde",
                    strict=True,
                )
            ],
        ),
        ({b"s": b"plain~2", b"c": packed(["a"], ["b"])}, [claim("plain", "a"), claim("2", "b")]),
        (
            {b"s": b"s-1", b"c": packed(["a"]), b"a": b"1650"},
            [claim("s-1", "a", claimed_at_ms=1650)],
        ),
        ({b"s": b"s-1", b"c": packed(["a"]), b"d": b"1"}, [claim("s-1", "a", source="direct")]),
        (
            {b"s": b"s-2", b"c": packed(["a"]), b"r": b"s-1", b"w": b"burnt"},
            [claim("s-2", "a", replaces="s-1", reason="burnt")],
        ),
    ],
)  # fmt: skip
def test_an_entry_holds_its_claims_in_a_compact_form(
    fields: dict[bytes, bytes], claims: list[StreamedClaim]
) -> None:
    """The time is that of the entry unless it says another."""
    assert streamed(b"1700-3", fields) == claims


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"s": b"s-1"},
        {b"c": packed(["a"])},
        {b"s": b"s-1", b"c": packed(["a"], ["b"])},
        {b"s": b"s-1 s-2", b"c": packed(["a"])},
        {b"s": b"s-1", b"c": b"\xc1"},
        {b"s": b"\xff", b"c": packed(["a"])},
        {b"s": b"s-1", b"c": packed(["a"]), b"a": b"soon"},
    ],
)
def test_an_entry_of_another_form_is_refused_without_a_word_of_it(
    fields: dict[bytes, bytes],
) -> None:
    """Its content may be personal."""
    with pytest.raises(Unreadable, match=r"^it cannot be read \(\w+\)$"):
        streamed(b"1700-3", fields)


class FakeStream:
    """A stream in Redis, which notes the commands and the entries that are set aside."""

    def __init__(self, *sizes: int) -> None:
        self.entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        for number, size in enumerate(sizes, 1):
            slugs = [f"s-{number}-{n}" for n in range(size)]
            fields = {b"s": " ".join(slugs).encode(), b"c": packed(*([each] for each in slugs))}
            self.entries.append((f"{number}-0".encode(), fields if size else {b"x": b"odd"}))
        self.asked: list[tuple[str, int]] = []
        self.trimmed: list[dict[str, Any]] = []
        self.aside: list[tuple[Any, ...]] = []

    async def xrange(self, key: str, *, min: str, count: int) -> list[Any]:  # noqa: A002
        assert key == key_names.claims("intro")
        self.asked.append((min, count))
        first = 0 if min == "-" else int(min[1:].split("-")[0])
        return self.entries[first : first + count]

    async def xtrim(self, key: str, **how: Any) -> None:
        assert key == key_names.claims("intro")
        self.trimmed.append(how)

    async def put(self, *each: Any) -> None:
        self.aside.append(each)

    def stream(self) -> ClaimsStream:
        mine: Any = self
        return ClaimsStream(mine, mine)

    async def entries_of(self, limit: int, after: str | None = None) -> list[str]:
        claims = await self.stream().unrecorded("intro", limit, after=after)
        return list(dict.fromkeys(each.entry_id for each in claims))


async def test_as_many_claims_are_read_as_are_wanted() -> None:
    """An entry is read whole or not at all, and what was read of further entries is read again."""
    full = FakeStream(*[BATCH_LIMIT] * 5)
    assert await full.entries_of(2 * BATCH_LIMIT) == ["1-0", "2-0"]
    assert full.asked == [("-", 2)]
    assert await full.entries_of(2 * BATCH_LIMIT, after="2-0") == ["3-0", "4-0"]
    assert await full.entries_of(2 * BATCH_LIMIT + 1) == ["1-0", "2-0", "3-0"]
    assert await full.entries_of(2 * BATCH_LIMIT, after="4-0") == ["5-0"]
    assert await full.entries_of(2 * BATCH_LIMIT, after="5-0") == []


async def test_entries_of_few_claims_take_few_round_trips() -> None:
    """Each asks for four times as many entries, after the last of those before."""
    sparse = FakeStream(*[1] * 30)
    assert len(await sparse.entries_of(BATCH_LIMIT)) == 30
    assert sparse.asked == [("-", 1), ("(1-0", 4), ("(5-0", 16), ("(21-0", 64)]
    sparse.asked.clear()
    assert len(await sparse.entries_of(20)) == 20
    assert sparse.asked == [("-", 1), ("(1-0", 4), ("(5-0", 16)]


async def test_an_entry_that_cannot_be_read_holds_up_no_other() -> None:
    """It is set aside as it is, with the reason."""
    odd = FakeStream(2, 0, 2)
    assert await odd.entries_of(99) == ["1-0", "3-0"]
    [(sid, entry, fields, reason)] = odd.aside
    assert (sid, entry, fields) == ("intro", "2-0", {b"x": b"odd"})
    assert "cannot be read" in reason


async def test_a_stream_is_trimmed_up_to_and_with_an_entry() -> None:
    """The next entry of the same millisecond stays."""
    some = FakeStream(1)
    await some.stream().trim("intro", "1700-3")
    assert some.trimmed == [{"minid": "1700-4", "approximate": False}]
