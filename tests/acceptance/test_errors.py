"""Provoke the errors that are the caller's: what was sent, by whom, and where to.

Those that pass by themselves are in test_not_now.py.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
from problem_answers import check, raw
from product import Product, signed, wait_until

KIB = 1024
REVOKED_SECONDS = 5.0  # until a revoked key is refused everywhere


# -- 400, 422: the body


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nothing", b"'{}'", b'{"customer_id": "\xff"}', b"\xef\xbb\xbf{}", b"[" * 10_000],
    ids=["empty", "cut", "word", "quotes", "latin-1", "bom", "deep"],
)
def test_what_is_not_json_is_malformed(product: Product, body: bytes) -> None:
    """A claim whose body is not JSON in UTF-8 is answered 400."""
    check(product, raw(product, "demo", body), 400, "malformed-json")


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7", b"null"])
def test_json_that_is_no_object_is_malformed(product: Product, body: bytes) -> None:
    """JSON other than an object is answered 400."""
    check(product, raw(product, "demo", body), 400, "malformed-json")


def test_malformed_json_elsewhere(product: Product) -> None:
    """The framework's routes answer such a body in the same way."""
    header = {"content-type": "application/json"}
    answer = product.api("PUT", "/v1/meetings/demo", content=b"{", headers=header)
    check(product, answer, 400, "malformed-json")
    answer = product.api("PUT", "/v1/meetings/demo", json=[])
    check(product, answer, 400, "malformed-json")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"event":"\xff"}', b"[" * 10_000])
def test_a_signed_event_that_cannot_be_read_is_kept(product: Product, body: bytes) -> None:
    """It is answered 202 like any other event, also when repeated, and waits in the inbox
    unchanged.
    """
    kept = product.api(
        "POST", "/v1/webhooks/default", key="", content=body, headers=signed(product, body)
    )
    assert kept.status_code == 202, kept.text
    event_id = kept.json()["event_id"]
    [(state, stored)] = wait_until(
        lambda: product.rows(
            "SELECT state, body FROM inbox WHERE id = ? AND state != 'pending'", event_id
        ),
        what="the event was looked at",
    )
    assert (state, stored) == ("ignored", body)


def test_a_slash_behind_a_webhook_address_changes_nothing(product: Product) -> None:
    """An owner who pastes the address with a slash loses no event."""
    body = b'{"event":"booking_slashed"}'
    given = [
        product.api("POST", url, key="", content=body, headers=signed(product, body))
        for url in ("/v1/webhooks/default", "/v1/webhooks/default/")
    ]
    assert [each.status_code for each in given] == [202, 202]
    assert given[0].json() == given[1].json()
    nobody = product.api("POST", "/v1/webhooks/nobody/", key="", content=body)
    check(product, nobody, 404, "unknown-workspace")
    unsigned = product.api("POST", "/v1/webhooks/default/", key="", content=body)
    check(product, unsigned, 401, "bad-signature")


@pytest.mark.parametrize(
    "customer",
    ["", "x" * 257, "客" * 257, "a\nb", "a\tb", "\x00", "a\x00b", "\x7f", "\x85", "\x1b[31m"],
)
def test_customer_ids_that_cannot_be_used(product: Product, customer: str) -> None:
    """Ids that are empty, over 256 characters or hold control characters have a problem of their
    own.
    """
    check(product, product.claim("demo", customer), 422, "invalid-customer-id")


def test_a_lone_surrogate_is_no_customer_id(product: Product) -> None:
    """Half a character is refused and not stored."""
    answer = raw(product, "demo", b'{"customer_id": "\\ud800"}')
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"customer_id": None},
        {"customer_id": 7},
        {"customer_id": ["x"]},
        {"customer_id": "x", "custumer": "y"},
        {"customer_id": "x", "email": 7},
        {"customer_id": "x", "email": "no address"},
        {"customer_id": "x", "metadata": []},
        {"customer_id": "x", "metadata": {"note": "x" * 2 * KIB}},
        {"customer_id": "x", "metadata": {"note": "a\x00b"}},
    ],
    ids=lambda body: next(reversed(body), "none") + str(len(str(body))),
)
def test_claims_that_are_not_as_they_should_be(product: Product, body: dict[str, Any]) -> None:
    """Missing, wrong and unknown fields are answered 422, with `errors` that say where."""
    answer = product.api("POST", "/v1/meetings/demo/claims", json=body)
    problem = check(product, answer, 422, "invalid-request")
    assert problem["errors"]
    assert all(isinstance(each, str) and each for each in problem["errors"])


def test_metadata_of_two_kib_is_taken(product: Product, sid: str) -> None:
    """Metadata of exactly the limit is accepted."""
    note = "x" * (2 * KIB - len('{"note":""}'))
    assert product.claim(sid, "x", metadata={"note": note}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/meetings/demo", {"colour": "blue"}),
        ("PUT", "/v1/meetings/demo", {"min_fresh": "many"}),
        ("POST", "/v1/meetings/demo/pause", {"why": "x"}),
        ("POST", "/v1/meetings/demo/drain", {"reason": "\x00"}),
    ],
)
def test_operators_requests_are_checked_too(
    product: Product, method: str, path: str, body: dict[str, Any]
) -> None:
    """Unknown fields and wrong types are answered 422 with `errors` everywhere."""
    assert check(product, product.api(method, path, json=body), 422, "invalid-request")["errors"]
    assert product.meeting("demo")["paused"] is False


def test_queries_are_checked(product: Product) -> None:
    """An unknown state of events is answered 422."""
    answer = product.api("GET", "/v1/events?state=lost")
    check(product, answer, 422, "invalid-request")


# -- 401, 403: who asks


def test_no_key_and_wrong_keys(product: Product) -> None:
    """Without a key or with a wrong one the answer is 401 and says how to send a key."""
    name = product.key[3:11]
    for headers in (
        {},
        {"X-API-Key": "nonsense"},
        {"X-API-Key": f"lp_{name}_wrong"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": f"Bearer {product.key}x"},
        {"X-API-Key": product.key, "Authorization": "Bearer another"},
        {"X-API-Key": "Zoë".encode()},
    ):
        answer = product.api(
            "POST", "/v1/meetings/demo/claims", key="", json={"customer_id": "x"}, headers=headers
        )
        check(product, answer, 401, "unauthorized")
        assert "Bearer" in answer.headers["www-authenticate"]


def test_a_key_may_come_either_way_or_both(product: Product) -> None:
    """X-API-Key, Authorization: Bearer, or both when they agree."""
    both = {"Authorization": f"bearer {product.key}"}
    for key, headers in (("", both), (None, {}), (None, both)):
        answer = product.api("GET", "/v1/meetings", key=key, headers=headers)
        assert answer.status_code == 200


def test_a_revoked_key_is_refused_within_five_seconds(product: Product) -> None:
    """Two keys work side by side; the revoked one stops working soon, and the other continues."""
    old, new = product.new_keys(("--scope", "read"), ("--scope", "read"))
    assert product.command("keys", "revoke", old[3:11]).returncode == 0
    watch = product.stopwatch()
    wait_until(lambda: product.api("GET", "/v1/meetings", key=old).status_code == 401, 15)
    assert watch.seconds <= REVOKED_SECONDS
    check(product, product.api("GET", "/v1/meetings", key=old), 401, "unauthorized")
    assert product.api("GET", "/v1/meetings", key=new).status_code == 200


def test_a_key_without_scope_or_meeting_is_forbidden(product: Product, sid: str) -> None:
    """A missing scope and a meeting that the key may not touch are answered 403."""
    reader, elsewhere = product.new_keys(
        ("--scope", "read"), ("--scope", "claim", "--meeting", "elsewhere")
    )
    for key in (reader, elsewhere):
        check(product, product.claim(sid, "x", key=key), 403, "forbidden")
    check(product, product.api("PUT", f"/v1/meetings/{sid}", key=reader, json={}), 403, "forbidden")


@pytest.mark.parametrize(
    "signature", [None, "", "sha256=", "sha256=" + "0" * 64, "sha1=" + "0" * 40, "Zoë".encode()]
)
def test_unsigned_webhooks_are_refused(product: Product, signature: str | bytes | None) -> None:
    """A missing or wrong signature is answered 401, whatever the body."""
    headers = {} if signature is None else {"x-neeto-webhook-signature": signature}
    answer = product.api(
        "POST", "/v1/webhooks/default", key="", content=b"no JSON", headers=headers
    )
    check(product, answer, 401, "bad-signature")


# -- 404, 405: where to


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/meetings/nowhere/claims", "unknown-meeting"),
        ("POST", "/v1/meetings/%7Bsid%7D/claims", "unknown-meeting"),
        ("POST", "/v1/meetings/a.b/claims", "unknown-meeting"),
        ("POST", f"/v1/meetings/{'x' * 65}/claims", "unknown-meeting"),
        ("GET", "/v1/meetings/nowhere", "unknown-meeting"),
        ("GET", "/v1/meetings/nowhere/claims/x", "unknown-meeting"),
        ("POST", "/v1/meetings/nowhere/pause", "unknown-meeting"),
        ("POST", "/v1/meetings/nowhere/drain", "unknown-meeting"),
        ("DELETE", "/v1/meetings/nowhere/claims/x", "unknown-meeting"),
        ("GET", "/v1/meetings/demo/claims/nobody", "unknown-claim"),
        ("DELETE", "/v1/meetings/demo/claims/nobody", "unknown-claim"),
        ("GET", "/v1/links/one-off-000000000000", "unknown-link"),
        ("GET", "/v1/links/%00", "unknown-link"),
        ("POST", "/v1/webhooks/nobody", "unknown-workspace"),
        ("POST", "/v1/events/0123456789abcdef/replay", "unknown-event"),
        ("GET", "/nowhere", "not-found"),
        ("GET", "/v1", "not-found"),
        ("GET", "/v1/meetings/", "not-found"),
        ("POST", "/v1/meetings//claims", "unknown-meeting"),
        ("POST", "/v1/meetings/demo/claims/", "method-not-allowed"),
        ("GET", "/problems/no-such", "not-found"),
        ("GET", "/livez/", "not-found"),
    ],
)
def test_names_that_lead_nowhere(product: Product, method: str, path: str, name: str) -> None:
    """The 404 names the thing that does not exist."""
    body = {"customer_id": "x"} if path.endswith("/claims") else None
    answer = product.api(method, path, json=body)
    status = 405 if name == "method-not-allowed" else 404
    # The instance is the address as it was asked for, escaped again or not.
    check(product, answer, status, name, instance=answer.json()["instance"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_only_post_claims(product: Product, method: str) -> None:
    """Other methods on the claim route are answered 405 with the allowed ones."""
    answer = product.api(method, "/v1/meetings/demo/claims")
    assert answer.headers["allow"] == "POST"
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (405, b"")
    else:
        check(product, answer, 405, "method-not-allowed")


def test_other_routes_name_their_methods_too(product: Product) -> None:
    """Every 405 carries Allow."""
    for path in ("/v1/meetings", "/v1/webhooks/default", "/livez"):
        answer = product.api("PATCH", path)
        check(product, answer, 405, "method-not-allowed")
        assert answer.headers["allow"]


# -- 413: how much


def test_claim_bodies_over_16_kib_are_too_large(product: Product, sid: str) -> None:
    """A body of exactly the limit passes this check, and one more byte does not."""
    fits = b'{"customer_id": "x"}'.ljust(16 * KIB)
    assert raw(product, sid, fits).status_code == 201
    check(product, raw(product, sid, fits + b" "), 413, "too-large")
    put = product.api("PUT", f"/v1/meetings/{sid}", content=b"{}".ljust(16 * KIB + 1))
    check(product, put, 413, "too-large")


WRONG = f"sha256={'0' * 64}"  # without the form of one, nothing of the body is read


def test_webhooks_over_256_kib_are_too_large(product: Product) -> None:
    """A webhook of 256 KiB is read, and a larger one is refused."""
    url, headers = "/v1/webhooks/default", {"x-neeto-webhook-signature": WRONG}
    for size, answer in ((256 * KIB, (401, "bad-signature")), (256 * KIB + 1, (413, "too-large"))):
        check(product, product.api("POST", url, content=b" " * size, headers=headers), *answer)


@pytest.mark.parametrize(
    ("path", "limit"), [("/v1/meetings/demo/claims", 16 * KIB), ("/v1/webhooks/default", 256 * KIB)]
)
def test_a_body_without_end_is_refused_while_it_is_read(
    product: Product, path: str, limit: int
) -> None:
    """An endless chunked body is answered as soon as it exceeds the limit."""
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    with socket.create_connection(("127.0.0.1", product.port), timeout=60) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {product.key}\r\n"
            f"X-Neeto-Webhook-Signature: {WRONG}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(limit // 4096 + 1):  # and no end
            connection.sendall(chunk)
        said = b""
        while not said.endswith(b"}"):
            piece = connection.recv(65_536)
            assert piece, said
            said += piece
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/too-large" in said


def test_a_lying_content_length_is_refused_before_the_body(product: Product) -> None:
    """A request that announces too much is refused without waiting for its body."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/meetings/demo/claims HTTP/1.1\r\nHost: x\r\n"
            b"X-API-Key: " + product.key.encode() + b"\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
