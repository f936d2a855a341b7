"""Test that a claim's short cut, with a head read now or known from before, and the server's own
way answer the same, to the byte.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable

import pytest
from product import Product

NewMeeting = Callable[..., str]
PATH = "/v1/meetings/{sid}/claims"


def request(
    product: Product,
    sid: str,
    body: bytes,
    *headers: str,
    key: str | None = None,
    method: str = "POST",
    path: str = PATH,
    version: str = "1.1",
    length: int | None = None,
) -> bytes:
    """Return a request as it goes over the wire."""
    key = product.key if key is None else key
    lines = [
        f"{method} {path.format(sid=sid)} HTTP/{version}",
        f"Host: 127.0.0.1:{product.port}",
        f"Content-Length: {len(body) if length is None else length}",
        "X-Request-Id: the-same",
        *([f"X-API-Key: {key}"] if key else []),
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """A browser's connection, read byte by byte."""

    def __init__(self, product: Product) -> None:
        self._socket = socket.create_connection(("127.0.0.1", product.port), timeout=60)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send the pieces, each to be read by itself."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.03)
            self._socket.sendall(piece)

    def answer(self, *, bodyless: bool = False) -> tuple[bytes, bytes]:
        """Return the head and the body of the next answer; one to HEAD has none."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._file.readline()
            assert line, f"the connection ended after {head!r}"
            head += line
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        return head, b"" if bodyless else self._file.read(int(length[1]))

    def ended(self) -> bool:
        """Return True if the server closed the connection."""
        return self._file.read(1) == b""


def ask(product: Product, *pieces: bytes) -> tuple[bytes, bytes]:
    """Return one answer on a connection of its own; its date is not compared."""
    with Connection(product) as connection:
        connection.send(*pieces)
        head, body = connection.answer(bodyless=pieces[0].startswith(b"HEAD"))
    return re.sub(rb"date: [^\r]+", b"date: -", head), body


def claim_of(who: str, **more: object) -> bytes:
    return json.dumps({"customer_id": who, **more}).encode()


BODIES = {
    "held": claim_of("held"),
    "with e-mail": claim_of("held", email="zoe@example.com", metadata={"a": [1, {"b": "é"}]}),
    "no json": b"{",
    "no object": b"[]",
    "empty body": b"",
    "unknown field": claim_of("a", colour="red"),
    "wrong type": b'{"customer_id": 7}',
    "no customer": b"{}",
    "empty customer": claim_of(""),
    "long customer": claim_of("x" * 257),
    "control character": claim_of("a\x00b"),
    "lone surrogate": b'{"customer_id": "\\ud800"}',
    "no address": claim_of("a", email="nobody"),
    "large metadata": claim_of("a", metadata={"a": "x" * 2100}),
    "twice the same name": b'{"customer_id": "held", "customer_id": "held"}',
    "too large": claim_of("x" * 17_000),
}


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_answer_a_body_the_same(product: Product, sid: str, name: str) -> None:
    """A claim that arrives in two pieces takes the server's way, and one that arrives whole takes
    the lane.

    From the second claim on its head is known.
    """
    product.slug(sid, "held")
    whole = request(product, sid, BODIES[name], f"User-Agent: {name}")
    cut = len(whole) - max(1, len(BODIES[name]) // 2)
    answer = ask(product, whole)
    assert ask(product, whole) == answer
    assert ask(product, whole[:cut], whole[cut:]) == answer
    assert ask(product, whole) == answer


def test_both_ways_answer_every_caller_the_same(product: Product, sid: str) -> None:
    """Callers without a key, with a wrong or limited one, with two keys, or with an odd id are
    compared.
    """
    product.slug(sid, "held")
    reader, elsewhere = product.new_keys(
        ("--scope", "read"), ("--scope", "claim", "--meeting", "elsewhere")
    )
    body = claim_of("held")
    for key, headers in (
        ("", ()),
        ("lp_00000000_wrong", ()),
        (reader, ()),
        (elsewhere, ()),
        (product.key, ("X-API-Key: another",)),
        ("", (f"Authorization: Bearer {product.key}",)),
        (product.key, ("Content-Type: text/plain", "Accept: text/html", "Cookie: a=b")),
    ):
        whole = request(product, sid, body, *headers, key=key)
        assert ask(product, whole) == ask(product, whole[:-3], whole[-3:]), headers


def test_both_ways_answer_a_new_customer_the_same(product: Product, sid: str) -> None:
    """The answers differ only in the link and its time."""

    def told(who: str, cut: int | None) -> tuple[bytes, bytes]:
        whole = request(product, sid, claim_of(who))
        head, body = ask(product, *((whole,) if cut is None else (whole[:cut], whole[cut:])))
        assert head.startswith(b"HTTP/1.1 201 Created")
        return head, re.sub(rb"one-off-\w+|20\d\d-[^\"]+", b"-", body)

    head, body = told("ann", None)
    for who, cut in (("bob", -3), ("cec", 30), ("dan", None)):
        assert told(who, cut) == (head, body.replace(b"ann", who.encode()))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"version": "1.0"}, b"201"),
        ({"path": PATH + "?a=b"}, b"201"),
        ({"path": "/v1/meet%69ngs/{sid}/claims"}, b"201"),
        ({"path": "/v1/meetings/none-such/claims"}, b"404"),
        ({"path": "/v1/meetings/%7B%7D/claims"}, b"404"),
        ({"path": "/v1/meetings/../claims"}, b"404"),
        ({"method": "GET"}, b"405"),
        ({"method": "HEAD"}, b"405"),
        ({"method": "OPTIONS"}, b"405"),
        ({"method": "PUT"}, b"405"),
    ],
    ids=lambda each: str(each),
)
def test_what_is_no_plain_claim_is_answered_too(
    product: Product, sid: str, change: dict[str, str], status: bytes
) -> None:
    """Other versions, queries, escapes, methods and meetings take the server's way."""
    head, _ = ask(product, request(product, sid, claim_of("ann"), **change))  # type: ignore[arg-type]
    assert head.split(b" ")[1] == status


def test_chunked_claims_and_those_who_wait_for_a_go_ahead_are_served(
    product: Product, sid: str
) -> None:
    """Claims of unknown length and claims with `Expect: 100-continue` are answered."""
    body = claim_of("ann")
    whole = request(product, sid, body).replace(
        b"Content-Length: %d\r\n" % len(body), b"Transfer-Encoding: chunked\r\n"
    )
    head, _, _ = whole.partition(b"\r\n\r\n")
    chunked = head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert ask(product, chunked)[0].startswith(b"HTTP/1.1 201")
    with Connection(product) as connection:
        patient = request(product, sid, body, "Expect: 100-continue")
        connection.send(patient[: -len(body)])
        assert connection._file.readline().startswith(b"HTTP/1.1 100")
        assert connection._file.readline() == b"\r\n"
        connection.send(body)
        assert connection.answer()[0].startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_their_order(
    product: Product, new_meeting: NewMeeting
) -> None:
    """Claims, other routes and a claim that closes the connection are all sent at once."""
    sid = new_meeting(min_fresh=12)
    asked = [request(product, sid, claim_of(f"p{n}")) for n in range(8)]
    asked.insert(3, request(product, sid, b"", method="GET", path="/livez"))
    asked.append(request(product, sid, claim_of("p7"), "Connection: close"))
    with Connection(product) as connection:
        connection.send(b"".join(asked))
        answers = [connection.answer() for _ in asked]
        assert connection.ended()
    assert [head.split(b" ")[1] for head, _ in answers] == [b"201"] * 3 + [b"200"] + [
        b"201"
    ] * 5 + [b"200"]
    told = [json.loads(body)["claim"]["customer_id"] for _, body in answers if b"claim" in body]
    assert told == [f"p{n}" for n in range(8)] + ["p7"]


def test_a_connection_lives_on_after_every_kind_of_answer(product: Product, sid: str) -> None:
    """One connection serves a claim, a refusal, another route, a claim in pieces, and a claim
    again.
    """
    good = request(product, sid, claim_of("ann"))
    with Connection(product) as connection:
        for pieces, status in (
            ((good,), b"201"),
            ((request(product, sid, b"{"),), b"400"),
            ((good[:-4], good[-4:]), b"200"),
            ((request(product, sid, b"", method="GET", path="/livez"),), b"200"),
            ((good[:10], good[10:60], good[60:]), b"200"),
            ((request(product, sid, claim_of("x" * 17_000)),), b"413"),
            ((good,), b"200"),
        ):
            connection.send(*pieces)
            assert connection.answer()[0].split(b" ")[1] == status


def test_a_known_head_is_no_short_cut_for_anything_else(product: Product, sid: str) -> None:
    """Less or more than its body may follow it, or its connection may be busy or beyond its last
    request.
    """
    good = request(product, sid, claim_of("ann"), "User-Agent: known")
    head = good[: good.index(b"\r\n\r\n") + 4]
    closing = request(product, sid, claim_of("ann"), "Connection: close")
    listing = request(product, sid, b"", method="GET", path="/livez")
    for _ in range(2):
        assert ask(product, good)[0].split(b" ")[1] in (b"200", b"201")
    whole_body = f"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: {len(good)}\r\n\r\n".encode()
    for pieces, statuses in (
        ((head, good[len(head) :]), [b"200"]),
        ((good + good,), [b"200", b"200"]),
        ((good + listing, good), [b"200", b"200", b"200"]),
        ((listing + good, good), [b"200", b"200", b"200"]),
        ((b"\r\n" + good, good), [b"200", b"200"]),
        ((whole_body, good, good), [b"404", b"200"]),
        ((good[:30], good[30:] + good[:30], good[30:]), [b"200", b"200"]),
        ((good + good[:-4], good[-4:]), [b"200", b"200"]),
    ):
        with Connection(product) as connection:
            connection.send(*pieces)
            assert [connection.answer()[0].split(b" ")[1] for _ in statuses] == statuses, pieces
            connection.send(closing)
            assert connection.answer()[0].startswith(b"HTTP/1.1 200")
            assert connection.ended()


def test_a_known_head_does_not_outlive_its_key(product: Product, sid: str) -> None:
    """A revoked key stops working for everybody who sends the same bytes again."""
    (key,) = product.new_keys(("--scope", "claim"))
    whole = request(product, sid, claim_of("ann"), key=key)
    for _ in range(2):
        assert ask(product, whole)[0].split(b" ")[1] in (b"200", b"201")
    assert product.command("keys", "revoke", key[3:11]).returncode == 0
    ends = time.monotonic() + 30.0
    while not ask(product, whole)[0].startswith(b"HTTP/1.1 401"):
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_nonsense_is_answered_400_and_closed(product: Product) -> None:
    """Bytes that are no HTTP are refused, alone or after a claim."""
    with Connection(product) as connection:
        connection.send(b"NONSENSE\r\n\r\n")
        assert connection.answer()[0].startswith(b"HTTP/1.1 400")
        assert connection.ended()


def test_who_leaves_disturbs_nobody(product: Product, new_meeting: NewMeeting) -> None:
    """After clients that close in the middle of a claim, the next one is answered with its own
    link.
    """
    sid = new_meeting(min_fresh=40)
    for number in range(15):
        with Connection(product) as connection:
            connection.send(request(product, sid, claim_of(f"gone{number}")))
    answers = {product.slug(sid, f"here{number}") for number in range(15)}
    assert len(answers) == 15
    assert len({product.slug(sid, f"gone{number}") for number in range(15)} | answers) == 30
