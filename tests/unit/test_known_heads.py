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
    assert heads.find(HEAD + b"ab") == ("demo", HEADERS, b"ab")


def test_headers_are_known_for_all_meetings_that_were_claimed_from(heads: KnownHeads) -> None:
    """A backend sends the same headers with the claims of thousands of meetings."""
    other = HEAD.replace(b"demo", b"other")
    assert heads.find(other + b"ab") is None
    heads.learn(b"POST /v1/meetings/other/claims HTTP/1.1\r\nX: 1\r\n\r\n", "other", [], b"", "key")
    assert heads.find(other + b"ab") == ("other", HEADERS, b"ab")


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
        HEAD.replace(b"POST", b"PUT") + b"ab",
        HEAD.replace(b"1.1", b"1.0") + b"ab",
        HEAD.replace(b"Length: 2", b"Length: 3") + b"abc",
        HEAD[:-4] + b"ab",
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
        (b"\r\n" + HEAD + b"{}", b"{}"),  # behind an empty line
        (b"\r\n\r\n" + HEAD + b"{}", b"{}"),  # behind empty lines
        (HEAD.replace(b" /", b" http://a/") + b"{}", b"{}"),  # what it says binds the Host header
        (HEAD.replace(b"1.1\r\n", b"1.1\n") + b"{}", b"{}"),  # with a header in the first line
        (HEAD.replace(b"demo", b"%64emo") + b"{}", b"{}"),
        (HEAD[:-4] + b"\n\n{}", b"{}"),  # whose end the parser found elsewhere
        (b"{}", b"{}"),
        (HEAD[:-4] + b"\r\nX: " + b"x" * KNOWN_HEAD_BYTES + b"\r\n\r\n{}", b"{}"),
    ],
)
def test_what_is_not_a_head_and_its_body_is_not_learnt(data: bytes, body: bytes) -> None:
    """Its bytes would not say where the body ends."""
    heads = KnownHeads()
    heads.learn(data, "demo", HEADERS, body, "key")
    assert heads.find(data) is None


def learnt(heads: KnownHeads, key_id: str, count: int) -> list[bytes]:
    """Return a cache after this many heads of a key were learnt one after another."""
    line = b"POST /v1/meetings/demo/claims HTTP/1.1\r\n"
    every = [line + b"X: %b %d\r\n\r\n" % (key_id.encode(), number) for number in range(count)]
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
