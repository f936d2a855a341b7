"""Test heads that were read before: only what would be read the same again is known again."""

from __future__ import annotations

import pytest

from pool.api.claim_path.known_heads import HEADS, HEADS_OF_KEY, KNOWN_HEAD_BYTES, KnownHeads

HEAD = b"POST /v1/meetings/demo/claims HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
HEADERS = [(b"content-length", b"2")]


@pytest.fixture
def heads() -> KnownHeads:
    """Return a cache that knows one head, with a body of two bytes."""
    known = KnownHeads()
    known.learn(HEAD + b"{}", "demo", HEADERS, b"{}", "key")
    return known


def test_a_known_head_is_found_whatever_its_body(heads: KnownHeads) -> None:
    """The head is found with all that was read from it."""
    found = heads.find(HEAD + b"ab")
    assert found is not None
    assert (found.sid, list(found.headers), found.size_bytes) == ("demo", HEADERS, len(HEAD))


@pytest.mark.parametrize(
    "data",
    [
        HEAD,
        HEAD + b"a",
        HEAD + b"abc",
        HEAD + b"ab" + HEAD + b"ab",
        b"\r\n" + HEAD + b"ab",
        HEAD[:-2],
        HEAD.replace(b"demo", b"Demo") + b"ab",
        b"",
        b"ab",
    ],
)
def test_nothing_else_is_known(heads: KnownHeads, data: bytes) -> None:
    """A body that is cut or has something behind it, other heads, and no head at all."""
    assert heads.find(data) is None


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (HEAD + b"2\r\n{}\r\n0\r\n\r\n", b"{}"),  # in chunks
        (HEAD + b"{}" + HEAD + b"{}", b"{}"),  # with another behind it
        (b"\r\n\r\n" + HEAD + b"{}", b"{}"),  # behind empty lines
        (HEAD[:-4] + b"\n\n{}", b"{}"),  # whose end the parser found elsewhere
        (b"{}", b"{}"),
        (b"X: " + b"x" * KNOWN_HEAD_BYTES + b"\r\n\r\n{}", b"{}"),
    ],
)
def test_what_is_not_a_head_and_its_body_is_not_learnt(data: bytes, body: bytes) -> None:
    """Its bytes would not say where the body ends."""
    heads = KnownHeads()
    heads.learn(data, "demo", HEADERS, body, "key")
    assert heads.find(data) is None


def learnt(heads: KnownHeads, key_id: str, count: int) -> list[bytes]:
    """Return a cache after this many heads of a key were learnt one after another."""
    every = [b"X: %b %d\r\n\r\n" % (key_id.encode(), number) for number in range(count)]
    for head in every:
        heads.learn(head, "demo", [], b"", key_id)
    return every


def test_a_key_pushes_out_only_its_own_heads() -> None:
    """A caller whose every head differs costs a bounded amount of memory, and others nothing."""
    heads = KnownHeads()
    steady = learnt(heads, "steady", 3)
    every = learnt(heads, "restless", HEADS_OF_KEY + 1)
    assert [head for head in every if heads.find(head)] == every[-1:]
    assert all(heads.find(head) for head in steady)


def test_no_more_heads_are_kept_than_fit() -> None:
    """The key with most heads gives way, whatever the number of keys."""
    heads = KnownHeads()
    steady = learnt(heads, "steady", 3)
    every = [learnt(heads, f"key{number}", HEADS_OF_KEY // 2) for number in range(10)]
    kept = [head for heads_of_key in every for head in heads_of_key if heads.find(head)]
    assert 0 < len(kept) <= HEADS
    assert all(heads.find(head) for head in [*steady, *every[-1]])
