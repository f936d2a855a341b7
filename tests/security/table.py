"""List byte sequences as they come from outside, and the one right outcome of each.

A row is sent on a connection of its own, with a sentinel behind it: whatever was sent, in
whatever pieces, the answers are those of the row, in their order, each with the id of the
request it answers; then either the sentinel's, or the end of the connection.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

KEY = b"lp-security-Zk3vQ9wT7yB2nM5xR8cJ4hF6"
SID = b"framing"
CLAIM = b'{"customer_id":"ann"}'  # who holds a link already, so that the answer is 200
CLAIMS = b"/v1/meetings/" + SID + b"/claims"
NOWHERE = b"/nowhere"
LIVEZ = b"/livez"


@dataclass(frozen=True, slots=True)
class Row:
    """`answers` are a status each, with the id of the request unless it was refused unread."""

    name: str
    sent: bytes
    answers: tuple[str, ...]
    ends: bool = False


def request(
    method: bytes = b"GET",
    target: bytes = LIVEZ,
    *fields: bytes,
    body: bytes | None = None,
    identity: bytes = b"one",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"x",
) -> bytes:
    """Return the bytes of a request; nothing is checked."""
    lines = [method + b" " + target + b" " + version]
    if host is not None:
        lines.append(b"Host: " + host)
    lines.append(b"X-Request-Id: " + identity)
    lines += fields
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body or b""])


def claim(*fields: bytes, identity: bytes = b"one", body: bytes = CLAIM) -> bytes:
    """Return a claim with a good key."""
    return request(b"POST", CLAIMS, b"X-API-Key: " + KEY, *fields, body=body, identity=identity)


def chunked(
    chunks: bytes, target: bytes = NOWHERE, *fields: bytes, identity: bytes = b"one"
) -> bytes:
    """Return a request in chunks."""
    fields = (*fields, b"Transfer-Encoding: chunked")
    return request(b"POST", target, *fields, identity=identity) + chunks


SENTINEL = request(identity=b"sentinel")
# What an attacker would have run on the next visitor's connection.
SMUGGLED = request(
    b"POST",
    b"/v1/meetings/" + SID + b"/pause",
    b"X-API-Key: " + KEY,
    body=b"{}",
    identity=b"smuggled",
)
REFUSED = ("400",)


def refused(kind: str, **each: bytes) -> Iterator[Row]:
    """Return rows that are answered 400, and the connection ends."""
    for name, sent in each.items():
        yield Row(f"{kind}: {name}", sent, REFUSED, ends=True)


def served() -> Iterator[Row]:
    """Return requests that are plain, or odd but can be read in one way only."""
    ok = ("200 one",)
    yield Row("get", request(), ok)
    yield Row("head", request(b"HEAD"), ok)
    sent = request(b"HEAD", CLAIMS, b"X-API-Key: " + KEY)
    yield Row("head of what has no get", sent, ("405 one",))
    yield Row("get with a body", request(body=SMUGGLED), ok)
    yield Row("head with a body", request(b"HEAD", body=SMUGGLED), ok)
    yield Row("delete with a body", request(b"DELETE", body=SMUGGLED), ("405 one",))
    yield Row("options with a body", request(b"OPTIONS", body=SMUGGLED), ("405 one",))
    yield Row("trace with a body", request(b"TRACE", body=SMUGGLED), ("405 one",))
    yield Row("webdav", request(b"PROPFIND", body=SMUGGLED), ("405 one",))
    yield Row("post elsewhere", request(b"POST", body=SMUGGLED), ("405 one",))
    yield Row("nowhere", request(b"POST", b"/nowhere", body=SMUGGLED), ("404 one",))
    yield Row("post without length", request(b"POST", NOWHERE), ("404 one",))
    yield Row("empty body", request(b"POST", NOWHERE, body=b""), ("404 one",))
    yield Row("webhook", request(b"POST", b"/v1/webhooks/nobody", body=SMUGGLED), ("404 one",))
    yield Row("empty lines before", b"\r\n\r\n" + request(), ok)
    yield Row("zeros before a length", request(b"POST", NOWHERE, b"Content-Length: 0002") + b"{}",
              ("404 one",))  # fmt: skip
    for blanks in (b"  2", b"\t2", b"2 ", b"2\t", b"2"):
        sent = request(b"POST", NOWHERE, b"Content-Length:" + blanks) + b"{}"
        yield Row(f"blanks around a length {blanks!r}", sent, ("404 one",))
    yield Row("letters of a name", request(b"POST", NOWHERE, b"cOnTeNt-LeNgTh: 2") + b"{}",
              ("404 one",))  # fmt: skip
    yield Row("empty value", request(b"GET", LIVEZ, b"X-Empty:"), ok)
    yield Row("bytes beyond ascii in a value", request(b"GET", LIVEZ, b"X-Any: \x80\xff"), ok)
    yield Row("two slashes", request(b"GET", b"//x/livez"), ("404 one",))
    yield Row("dots", request(b"GET", b"/a/../livez"), ("404 one",))
    yield Row("query", request(b"GET", b"/livez?a=http://b/"), ok)
    yield Row("escaped", request(b"GET", b"/l%69vez"), ok)
    yield Row("NUL in an address", request(b"GET", b"/%00"), ("404 one",))
    yield Row("CRLF in an address", request(b"GET", b"/%0d%0aX:%20y"), ("404 one",))
    yield Row("absolute address", request(b"GET", b"http://x/livez"), ok)
    yield Row("absolute claim", claim().replace(CLAIMS, b"http://X" + CLAIMS), ok)
    yield Row("te is no framing", request(b"GET", LIVEZ, b"TE: gzip, chunked"), ok)
    yield Row("host with port", request(host=b"x:8000"), ok)
    yield Row("host of ipv6", request(host=b"[::1]:8000"), ok)
    yield Row("host with blanks", request(host=b" x \t"), ok)
    old = {"version": b"HTTP/1.0"}
    yield Row("old", request(**old), ok, ends=True)  # type: ignore[arg-type]
    yield Row("old without host", request(host=None, **old), ok, ends=True)  # type: ignore[arg-type]
    kept = request(b"GET", LIVEZ, b"Connection: keep-alive", **old)  # type: ignore[arg-type]
    yield Row("old, to be kept", kept, ok, ends=True)
    yield Row("close", request(b"GET", LIVEZ, b"Connection: close"), ok, ends=True)
    yield Row("close among others", request(b"GET", LIVEZ, b"Connection: x, close"), ok, ends=True)
    yield Row("hundred fields", request(b"GET", LIVEZ, *[b"X-Some: y"] * 98), ok)
    yield Row("claim", claim(), ok)
    yield Row("claim with close", claim(b"Connection: close"), ok, ends=True)
    yield Row("claim with a query", claim().replace(b"/claims ", b"/claims?a=b "), ok)
    yield Row("claim without key", claim().replace(KEY, b"none", 1), ("401 one",))
    yield Row("claim of no json", claim(body=SMUGGLED), ("400 one",))
    yield Row("claim too large", claim(body=SMUGGLED * 200), ("413 one",))
    yield Row("keyless and too large", claim(body=SMUGGLED * 200).replace(KEY, b"none", 1),
              ("401 one",))  # fmt: skip
    yield Row("too large elsewhere", request(b"POST", NOWHERE, body=SMUGGLED * 600), ("413 one",))


def lengths() -> Iterator[Row]:
    """Return Content-Length in every way that two readers could take differently."""
    for value in (
        b"+2", b"-2", b"2, 2", b"2,2", b"2 2", b"0x2", b"2e0", b"2.0", b"", b" ", b"2;", b"2;a=b",
        b"\"2\"", b"\xc2\xb2", b"\xd9\xa2", b"2\x00", b"\x002", b"2\x0b", b"2_0", b"two", b"2,",
        b",2", b"18446744073709551618", b"99999999999999999999999999", b"-18446744073709551614",
    ):  # fmt: skip
        sent = request(b"POST", NOWHERE, b"Content-Length: " + value) + b"{}"
        yield Row(f"length {value!r}", sent, REFUSED, ends=True)
    for one, two in ((b"2", b"2"), (b"2", b"3"), (b"0", b"2"), (b"2", b"0"), (b"2", b"")):
        fields = (b"Content-Length: " + one, b"X: y", b"content-length: " + two)
        sent = request(b"POST", NOWHERE, *fields) + b"{}"
        yield Row(f"lengths {one!r} and {two!r}", sent, REFUSED, ends=True)


def encodings() -> Iterator[Row]:
    """Return Transfer-Encoding in every way but one."""
    yield Row("chunked", chunked(b"2\r\n{}\r\n0\r\n\r\n"), ("404 one",))
    loud = chunked(b"2\r\n{}\r\n0\r\n\r\n").replace(b": chunked", b":  CHUNKED ")
    yield Row("chunked aloud", loud, ("404 one",))
    for value in (
        b"gzip, chunked", b"chunked, gzip", b"gzip", b"identity", b"identity, chunked", b"cow",
        b"chunked, chunked", b"xchunked", b"chunkedx", b"chunked;a=b", b'"chunked"', b"chunked,",
        b",chunked", b", chunked", b"", b"\x0bchunked", b"chunked\x00", b"\x00chunked",
        b"chunked, identity", b"chun ked", b"\xa0chunked", b"chunked\xa0", b"'chunked'",
        b"chunked\r\n identity", b"\r\n chunked", b"x\rTransfer-Encoding: chunked",
        b"x\nTransfer-Encoding: chunked",
    ):  # fmt: skip
        sent = request(b"POST", NOWHERE, b"Transfer-Encoding: " + value)
        yield Row(f"coding {value!r}", sent + b"2\r\n{}\r\n0\r\n\r\n", REFUSED, ends=True)
    for one, two in (
        (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 12"),
        (b"Content-Length: 12", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 12", b"Transfer-Encoding: identity"),
        (b"Content-Length: 12", b"Transfer-Encoding: "),
        (b"Transfer-Encoding : chunked", b"Content-Length: 12"),
        (b"Transfer-Encoding\t: chunked", b"Content-Length: 12"),
        (b" Transfer-Encoding: chunked", b"Content-Length: 12"),
        (b"Transfer-Encoding\x00: chunked", b"Content-Length: 12"),
    ):
        sent = request(b"POST", NOWHERE, one, two) + b"2\r\n{}\r\n0\r\n\r\n"
        yield Row(f"{one!r} with {two!r}", sent, REFUSED, ends=True)
    old = chunked(b"2\r\n{}\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    yield Row("chunked in 1.0", old, REFUSED, ends=True)


def chunks() -> Iterator[Row]:
    """Return the grammar of chunks, and what may stand behind the last one."""
    good = ("404 one",)
    inner = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    yield Row("a request in a chunk", chunked(inner), good)
    yield Row("extension", chunked(b"2;a=b\r\n{}\r\n0;x\r\n\r\n"), good)
    yield Row("quoted extension", chunked(b'2;a="b c"\r\n{}\r\n0\r\n\r\n'), good)
    yield Row("zeros", chunked(b"000002\r\n{}\r\n000\r\n\r\n"), good)
    yield Row("capitals", chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), good)
    for bad in (
        b"2 \r\n{}\r\n0\r\n\r\n", b" 2\r\n{}\r\n0\r\n\r\n", b"\t2\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n", b"2\r\n{}0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"2\r\n{}\r0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n",
        b"g\r\n{}\r\n0\r\n\r\n", b"2;\r\n{}\r\n0\r\n\r\n", b"2;a\n{}\r\n0\r\n\r\n",
        b"2;a\rb\r\n{}\r\n0\r\n\r\n", b"2;a\x00\r\n{}\r\n0\r\n\r\n", b"2\r{}\r\n0\r\n\r\n",
        b'2;a="b\r\n"\r\n{}\r\n0\r\n\r\n', b"\r\n2\r\n{}\r\n0\r\n\r\n", b"2_0\r\n{}\r\n0\r\n\r\n",
        b"1\r\n{}\r\n0\r\n\r\n", b"3\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\n\r\n",
        b"10000000000000002\r\n{}\r\n0\r\n\r\n", b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b";a=b\r\n{}\r\n0\r\n\r\n", b"2,2\r\n{}\r\n0\r\n\r\n", b"\xb2\r\n{}\r\n0\r\n\r\n",
    ):  # fmt: skip
        yield Row(f"chunks {bad!r}", chunked(bad), REFUSED, ends=True)


def trailers() -> Iterator[Row]:
    """Return trailers: what stands behind the last chunk is no header, under any name."""
    body = b"%x\r\n%b\r\n0\r\n" % (len(CLAIM), CLAIM)
    key = b"X-API-Key: " + KEY
    for name, field in (
        ("key", key),
        ("bearer", b"Authorization: Bearer " + KEY),
        ("address", b"X-Forwarded-For: 192.0.2.1"),
        ("host", b"Host: y"),
        ("id", b"X-Request-Id: smuggled"),
        ("expect", b"Expect: 100-continue"),
        ("upgrade", b"Connection: Upgrade\r\nUpgrade: websocket"),
        ("anything", b"X-Any: thing"),
    ):
        yield Row(f"trailer: {name}", chunked(body + field + b"\r\n\r\n", CLAIMS), ("401 one",))
        keyed = chunked(body + field + b"\r\n\r\n", CLAIMS, key)
        yield Row(f"trailer behind a key: {name}", keyed, ("200 one",))
    closing = chunked(body + b"Connection: close\r\n\r\n", CLAIMS, key)
    yield Row("trailer: close", closing, ("200 one",), ends=True)
    sent = chunked(body + b"Connection: close\r\n\r\n")
    yield Row("trailer: close elsewhere", sent, ("404 one",), ends=True)
    for bad in (
        b"Content-Length: 5", b"Transfer-Encoding: chunked", b" X: y", b"X : y", b"X", b"X\x00: y",
        b"X: a\r\n b", b"X: a\nY: b", b"X: a\x00b", b": y",
    ):  # fmt: skip
        sent = chunked(body + bad + b"\r\n\r\n", CLAIMS, key)
        yield Row(f"trailer {bad!r}", sent, REFUSED, ends=True)


def heads() -> Iterator[Row]:
    """Return hosts, versions, addresses and lines of a head."""
    host = b"GET /livez HTTP/1.1\r\n"
    yield from refused(
        "host",
        none=host + b"\r\n",
        empty=host + b"Host:\r\n\r\n",
        two=host + b"Host: x\r\nHost: y\r\n\r\n",
        same_twice=host + b"Host: x\r\nHost: x\r\n\r\n",
        two_apart=host + b"Host: x\r\nA: b\r\nhost: y\r\n\r\n",
        two_of_old=host.replace(b"1.1", b"1.0") + b"Host: x\r\nHost: y\r\n\r\n",
        path=request(host=b"x/y"),
        listed=request(host=b"x, y"),
        user=request(host=b"u@x"),
        blank=request(host=b"x y"),
        scheme=request(host=b"http://x"),
        letters=request(host=b"\xff"),
        port=request(host=b"x:80:90"),
        word_port=request(host=b"x:http"),
        folded=request(host=b"x\r\n y"),
        of_another_address=request(b"GET", b"http://y/livez"),
        claim_elsewhere=claim().replace(CLAIMS, b"http://y" + CLAIMS),
    )
    yield from refused(
        "version",
        of_0_9=request(version=b"HTTP/0.9"),
        simple=b"GET /livez\r\n\r\n",
        of_2_0=request(version=b"HTTP/2.0"),
        of_1_2=request(version=b"HTTP/1.2"),
        of_3=request(version=b"HTTP/3"),
        preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
        small=request(version=b"http/1.1"),
        zeros=request(version=b"HTTP/01.1"),
        more_digits=request(version=b"HTTP/1.10"),
        rtsp=request(b"SETUP", version=b"RTSP/1.0"),
        ice=request(b"SOURCE", version=b"ICE/1.0"),
        tls=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        answer=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        proxy_protocol=b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + request(),
    )
    yield from refused(
        "address",
        authority=request(b"GET", b"x:80"),
        connect=request(b"CONNECT", b"x:80"),
        connect_with_body=request(b"CONNECT", b"x:80", body=SMUGGLED),
        connect_path=request(b"CONNECT", LIVEZ, body=SMUGGLED),
        star=request(b"OPTIONS", b"*"),
        star_get=request(b"GET", b"*"),
        other_scheme=request(b"GET", b"ftp://x/livez"),
        no_path=request(b"GET", b"http://x"),
        no_path_query=request(b"GET", b"http://x?/livez"),
        user=request(b"GET", b"http://u@x/livez"),
        fragment=request(b"GET", b"/livez#a"),
        relative=request(b"GET", b"livez"),
        control=request(b"GET", b"/livez\x01"),
        letters=request(b"GET", b"/livez\xff"),
        blank=request(b"GET", b"/livez x"),
        tab=request(b"GET", b"/livez\tx"),
        empty=request(b"GET", b""),
    )
    yield from refused(
        "line",
        lf=request().replace(b"\r\n", b"\n"),
        lf_of_one=request(b"GET", LIVEZ, b"A: b\nC: d"),
        cr_of_one=request(b"GET", LIVEZ, b"A: b\rC: d"),
        crcr=request(b"GET", LIVEZ, b"A: b\r"),
        fold=request(b"GET", LIVEZ, b"A: b\r\n c"),
        fold_tab=request(b"GET", LIVEZ, b"A: b\r\n\tContent-Length: 2"),
        fold_empty=request(b"GET", LIVEZ, b"A:\r\n b"),
        fold_first=b"GET /livez HTTP/1.1\r\n Host: x\r\n\r\n",
        blank_before_colon=request(b"GET", LIVEZ, b"A : b"),
        no_colon=request(b"GET", LIVEZ, b"A b"),
        no_name=request(b"GET", LIVEZ, b": b"),
        nul_in_value=request(b"GET", LIVEZ, b"A: b\x00c"),
        nul_in_name=request(b"GET", LIVEZ, b"A\x00: b"),
        del_in_value=request(b"GET", LIVEZ, b"A: b\x7fc"),
        control_in_value=request(b"GET", LIVEZ, b"A: b\x1bc"),
        bracket_in_name=request(b"GET", LIVEZ, b"A(): b"),
        letters_in_name=request(b"GET", LIVEZ, b"\xc3\xa9: b"),
        lf_end=request()[:-2] + b"\n",
        tab_for_blank=request().replace(b"GET ", b"GET\t"),
        blank_before=b" " + request(),
        small_method=request(b"get"),
        unknown_method=request(b"BREW"),
        long_method=request(b"G" * 300),
        nul_before=b"\x00" + request(),
        blank_after_version=request(version=b"HTTP/1.1 "),
        cr_after_version=request(version=b"HTTP/1.1\r"),
    )


def upgrades() -> Iterator[Row]:
    """Return offers to upgrade, which are ignored: the request is served as it is, body and all."""
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA"
    offers = {
        "foo": b"Connection: Upgrade\r\nUpgrade: foo",
        "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "h2c": h2c,
        "several": b"Upgrade: a, b/1\r\nUpgrade: c\r\nConnection: x\r\nConnection: upgrade",
        "not named": b"Upgrade: foo",
        "nothing named": b"Connection: Upgrade",
    }
    ways = (
        (b"GET", LIVEZ, "200 one"),
        (b"HEAD", LIVEZ, "200 one"),
        (b"POST", NOWHERE, "404 one"),
        (b"PUT", LIVEZ, "405 one"),
        (b"DELETE", b"/nowhere", "404 one"),
    )
    inner = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    for (name, offer), (method, target, answer) in itertools.product(offers.items(), ways):
        about = f"{name}: {method.decode()} {target.decode()}"
        yield Row(f"upgrade {about}", request(method, target, offer), (answer,))
        sent = request(method, target, offer, body=SMUGGLED)
        yield Row(f"upgrade with a body {about}", sent, (answer,))
        sent = request(method, target, offer, b"Transfer-Encoding: chunked") + inner
        yield Row(f"upgrade in chunks {about}", sent, (answer,))
    for name, offer in offers.items():
        yield Row(f"upgrade of a claim: {name}", claim(offer), ("200 one",))
        two = claim(offer) + claim(offer, identity=b"two")
        yield Row(f"upgrade of two claims: {name}", two, ("200 one", "200 two"))
        sent = request(b"GET", LIVEZ, b"Connection: close", offer)
        yield Row(f"close and upgrade: {name}", sent, ("200 one",), ends=True)
        sent = request(b"GET", LIVEZ, offer, b"Connection: close")
        yield Row(f"upgrade and close: {name}", sent, ("200 one",), ends=True)
        many = b"".join(request(b"GET", LIVEZ, offer, identity=b"%d" % n) for n in range(20))
        yield Row(f"many upgrades: {name}", many, tuple(f"200 {n}" for n in range(20)))
        sent = request(b"POST", NOWHERE, offer, b"Content-Length: 2, 2") + b"{}"
        yield Row(f"upgrade with two lengths: {name}", sent, REFUSED, ends=True)
        sent = request(b"POST", NOWHERE, offer, host=None, body=b"{}")
        yield Row(f"upgrade without host: {name}", sent, REFUSED, ends=True)


def expectations() -> Iterator[Row]:
    """Return clients that wait for a go-ahead: they get it, or the connection's last answer."""
    expect = b"Expect: 100-continue"
    go = ("100", "404 one")
    yield Row("expect", request(b"POST", NOWHERE, expect, body=SMUGGLED), go)
    loud = request(b"POST", NOWHERE, b"EXPECT:  100-Continue ", body=SMUGGLED)
    yield Row("expect aloud", loud, go)
    yield Row("expect in chunks", chunked(b"2\r\n{}\r\n0\r\n\r\n", NOWHERE, expect), go)
    yield Row("expect of a claim", claim(expect), ("100", "200 one"))
    keyless = claim(expect, body=SMUGGLED).replace(KEY, b"none", 1)
    yield Row("expect without key", keyless, ("401 one",), ends=True)
    large = request(b"POST", NOWHERE, expect, b"Content-Length: 300000")
    yield Row("expect of too much", large, ("413 one",), ends=True)
    other = request(b"POST", NOWHERE, b"Expect: a-miracle", body=SMUGGLED)
    yield Row("expect anything else", other, ("404 one",))
    old = request(b"POST", NOWHERE, expect, body=SMUGGLED, version=b"HTTP/1.0")
    yield Row("expect of old", old, ("404 one",), ends=True)
    both = request(b"POST", NOWHERE, expect, b"Connection: Upgrade\r\nUpgrade: foo", body=SMUGGLED)
    yield Row("expect and upgrade", both, go)


def pipelines() -> Iterator[Row]:
    """Return several requests at once: answers come in their order, each with its own id."""
    two = claim() + claim(identity=b"two")
    yield Row("two claims", two, ("200 one", "200 two"))
    many = b"".join(claim(identity=b"%d" % number) for number in range(12))
    yield Row("twelve claims", many, tuple(f"200 {number}" for number in range(12)))
    mixed = (
        request() + claim(identity=b"two") + request(b"POST", NOWHERE, body=b"{}", identity=b"3")
    )
    yield Row("mixed", mixed + claim(identity=b"4"), ("200 one", "200 two", "404 3", "200 4"))
    closing = claim() + claim(b"Connection: close", identity=b"two") + SMUGGLED
    yield Row("nothing behind a close", closing, ("200 one", "200 two"), ends=True)
    yield Row("nothing behind an old one", request(version=b"HTTP/1.0") + SMUGGLED, ("200 one",),
              ends=True)  # fmt: skip
    yield Row("nonsense behind a claim", claim() + b"nonsense\r\n\r\n" + SMUGGLED,
              ("200 one", "400"), ends=True)  # fmt: skip
    lengths = b"Content-Length: 2\r\nContent-Length: 3"
    behind = two + request(b"POST", NOWHERE, lengths) + SMUGGLED
    yield Row("two lengths behind claims", behind, ("200 one", "200 two", "400"), ends=True)
    bad = claim() + chunked(b"zz\r\n", CLAIMS, b"X-API-Key: " + KEY, identity=b"two") + SMUGGLED
    yield Row("a bad chunk behind a claim", bad, ("200 one", "400"), ends=True)
    head = request(b"HEAD") + claim(identity=b"two")
    yield Row("behind a head", head, ("200 one", "200 two"))
    refused = claim().replace(KEY, b"none", 1) + claim(identity=b"two")
    yield Row("behind a refusal", refused, ("401 one", "200 two"))


def oversize() -> Iterator[Row]:
    """Return heads beyond the limits."""
    for name, sent in (
        ("fields", request(b"GET", LIVEZ, *[b"X-Some: y"] * 100)),
        ("a long field", request(b"GET", LIVEZ, b"X-Long: " + b"y" * 40_000)),
        ("a long address", request(b"GET", b"/" + b"x" * 40_000)),
        ("long names", request(b"GET", LIVEZ, *[b"x" * 990 + b": y"] * 40)),
        ("an upgrade", request(b"GET", LIVEZ, b"Connection: Upgrade\r\nUpgrade: " + b"y" * 40_000)),
    ):
        yield Row(f"oversize: {name}", sent, ("431",), ends=True)


ROWS: tuple[Row, ...] = tuple(
    itertools.chain(
        served(), lengths(), encodings(), chunks(), trailers(), heads(), upgrades(),
        expectations(), pipelines(), oversize(),
    )
)  # fmt: skip
assert len({row.name for row in ROWS}) == len(ROWS) >= 150
