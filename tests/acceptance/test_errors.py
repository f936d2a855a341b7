"""Provoke every row of the contract's table of errors over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from product import LINKPOOL, Product, signed, wait_until

from pool.up import ports
from tests.ending import end

KIB = 1024
REVOKED_SECONDS = 5.0  # until a revoked key is refused everywhere
CLAIM_SECONDS = 2.0  # the default deadline of a claim
SLACK_SECONDS = 1.0

NewMeeting = Callable[..., str]


def check(
    product: Product,
    answer: httpx.Response,
    status: int,
    name: str,
    *,
    instance: str | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Check that an answer is this problem, in all that the contract names. Return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{name}", body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == (instance or answer.request.url.path)
    assert ("retry-after" in answer.headers) is retry
    if retry:
        assert int(answer.headers["retry-after"]) >= 1
    page = product.api("GET", body["type"], key="")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert body["title"] in page.text
    return body


def raw(product: Product, sid: str, content: Any, **more: Any) -> httpx.Response:
    """Send a claim with any body."""
    return product.api("POST", f"/v1/meetings/{sid}/claims", content=content, **more)


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


# -- 429 and the unconfigured webhook: an API with settings of its own


@pytest.fixture(scope="module")
def strict_api(shared: Product) -> Iterator[str]:
    """Start a second API on the same data with 3 new claims a minute per key and no webhook
    secret.
    """
    port, said = ports.choose(), shared.directory / "strict-api.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*LINKPOOL, "api", "--data-dir", str(shared.data), "--port", str(port)],
            env=shared.environ
            | {
                "LINKPOOL_NEW_CLAIMS_PER_MINUTE_PER_KEY": "3",
                "LINKPOOL_NEETOCAL_WEBHOOK_SECRET": "",
            },
            cwd=shared.directory,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _serves(url), 20, what="the second API serves")
        yield url
    finally:
        end(process, said)


def _serves(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    return False


def test_new_claims_are_limited_per_key(product: Product, sid: str, strict_api: str) -> None:
    """Beyond the limit a key gets 429 with Retry-After, while customers who hold a link still get
    it.
    """
    held = product.slug(sid, "held")
    key = product.new_key("--scope", "claim")
    wait_until(lambda: product.claim(sid, "held", key=key, url=strict_api).status_code == 200, 5)
    for number in range(3):
        assert product.claim(sid, f"c{number}", key=key, url=strict_api).status_code == 201
    refused = product.claim(sid, "one-more", key=key, url=strict_api)
    check(product, refused, 429, "rate-limited", retry=True)
    for customer in ("held", "c0", "c2"):
        assert product.claim(sid, customer, key=key, url=strict_api).status_code == 200
    assert product.slug(sid, "held", key=key, url=strict_api) == held
    # Another key has a limit of its own.
    assert product.claim(sid, "one-more", url=strict_api).status_code == 201


def test_without_a_secret_webhooks_are_not_taken(product: Product, strict_api: str) -> None:
    """A workspace without a webhook secret answers 503 and names the reason."""
    answer = product.api("POST", "/v1/webhooks/default", url=strict_api, content=b"{}")
    check(product, answer, 503, "webhooks-unconfigured")


# -- 503: not now


def test_an_empty_pool_says_when_to_come_back(product: Product, new_meeting: NewMeeting) -> None:
    """With an empty pool and no link from the provider, the answer is 503 with Retry-After and the
    fallback's URL.
    """
    with product.turned(fail_status=422, fail_meeting="dry"):
        product.put("dry", fill=False, min_fresh=1)
        problem = check(product, product.claim("dry", "x"), 503, "pool-empty", retry=True)
        assert "fallback_url" not in problem
        url = "https://acme.neetocal.com/intro?a=1"
        product.put("dry", fill=False, fallback_url=url)
        wait_until(lambda: "fallback_url" in product.claim("dry", "x").json(), 5)
        problem = check(product, product.claim("dry", "x"), 503, "pool-empty", retry=True)
        assert problem["fallback_url"] == url
        wait_until(lambda: product.meeting("dry")["state"] == "blocked")
        assert "422" in product.meeting("dry")["reason"]
    product.api("POST", "/v1/meetings/dry/top-up")
    wait_until(lambda: product.claim("dry", "x").status_code in (200, 201), 10)


def test_an_empty_pool_may_make_a_link_on_the_spot(
    product: Product, new_meeting: NewMeeting
) -> None:
    """With on_empty "direct" the visitor of an empty pool still gets a link."""
    sid = new_meeting(fill=False, min_fresh=0, max_fresh=1)
    answer = product.claim(sid, "visitor")
    assert answer.status_code == 201, answer.text
    assert answer.json()["claim"]["source"] in ("direct", "pool")
    failing = new_meeting(fill=False, min_fresh=0, max_fresh=1, on_empty="fail")
    check(product, product.claim(failing, "visitor"), 503, "pool-empty", retry=True)


def test_a_paused_pool_says_so(product: Product, sid: str) -> None:
    """The answer is 503 pool-paused with Retry-After."""
    product.api("POST", f"/v1/meetings/{sid}/pause")
    check(product, product.claim(sid, "x"), 503, "pool-paused", retry=True)


def test_a_sealed_pool_is_recovering(product: Product, sid: str) -> None:
    """A pool that is sealed for a restart hands nothing out, and undoing the seal loses nothing."""
    slug = product.slug(sid, "before")
    wait_until(lambda: product.meeting(sid)["fresh"] >= 5)
    fresh = set(product.sandbox_links(sid)) - {slug}
    done = product.command("seal")
    assert done.returncode == 0, done.stderr
    try:
        check(product, product.claim(sid, "x"), 503, "recovering", retry=True)
        assert product.meeting(sid)["state"] == "recovering"
    finally:
        done = product.command("seal", "--undo")
    assert done.returncode == 0, done.stderr
    assert product.slug(sid, "before") == slug
    assert product.slug(sid, "x") in fresh


def test_a_redis_that_hangs_is_answered_within_the_deadline(product: Product, sid: str) -> None:
    """While Redis does not answer, claims get 503 in bounded time, and succeed again afterwards."""
    slug = product.slug(sid, "before")
    redis = product.pid("redis")
    os.kill(redis, signal.SIGSTOP)
    try:
        watch = product.stopwatch()
        answer = product.claim(sid, "x")
        assert watch.seconds <= CLAIM_SECONDS + SLACK_SECONDS
        check(product, answer, 503, "store-unavailable", retry=True)
        ready = product.api("GET", "/readyz")
        check(product, ready, 503, "store-unavailable", retry=True)
        assert product.api("GET", "/livez").status_code == 200
    finally:
        os.kill(redis, signal.SIGCONT)
    wait_until(lambda: product.claim(sid, "before").status_code == 200, 5)
    assert product.slug(sid, "before") == slug
    assert product.claim(sid, "x").status_code in (200, 201)


def test_a_locked_database_refuses_webhooks_and_no_claims(product: Product, sid: str) -> None:
    """While another writer locks the ledger, webhooks are answered 503 and claims succeed as
    usual.
    """
    slug = product.slug(sid, "before")
    with contextlib.closing(
        sqlite3.connect(product.data / "ledger.sqlite3", isolation_level=None, timeout=60)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        with product.turned(webhook_retry_seconds=0.5):
            booking = product.control("book", slug=slug)["booking"]
            answer = product.api("POST", f"/v1/meetings/{sid}/pause")
            check(product, answer, 503, "ledger-unavailable", retry=True)
            wait_until(lambda: _delivery(product, booking["sid"])["last_status"] == 503, 12)
            watch = product.stopwatch()
            assert product.claim(sid, "x").status_code == 201
            assert watch.seconds <= SLACK_SECONDS
            other.execute("ROLLBACK")
            wait_until(lambda: _delivery(product, booking["sid"])["state"] == "delivered", 12)
    wait_until(lambda: product.claim(sid, "before").json()["claim"]["state"] == "consumed", 10)


def _delivery(product: Product, booking_sid: str) -> dict[str, Any]:
    log = product.sandbox("GET", "/_control/state").json()["webhooks"]["deliveries"]
    found: dict[str, Any] = next(d for d in log if d["booking_sid"] == booking_sid)
    return found


# -- every answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/meetings/demo/claims"),
        ("GET", "/v1/meetings"),
        ("GET", "/livez"),
        ("GET", "/nowhere"),
        ("GET", "/problems"),
    ],
)
def test_request_ids_are_echoed_if_sane(product: Product, method: str, path: str) -> None:
    """A sane X-Request-Id is returned, and any other is replaced by a new one."""

    def said(identity: str | bytes | None) -> str:
        headers = {} if identity is None else {"X-Request-Id": identity}
        body = {"customer_id": "x"} if method == "POST" else None
        answer = product.api(method, path, headers=headers, json=body)
        return answer.headers["x-request-id"]

    for sane in ("abc-123", "0b:1_2.3", "x" * 128):
        assert said(sane) == sane
    ours = said(None)
    assert ours
    assert said(None) != ours
    for insane in ("", "a b", "x" * 129, "<script>", 'a"b', "Zoë".encode()):
        given = insane if isinstance(insane, str) else insane.decode("latin-1")
        assert said(insane) not in ("", given)


def test_every_problem_has_its_page(product: Product) -> None:
    """The list of problem types links to a page for each."""
    listing = product.api("GET", "/problems", key="").text
    names = set(_hrefs(listing))
    assert len(names) >= 20
    for name in names:
        assert product.api("GET", name, key="").status_code == 200


def _hrefs(page: str) -> Iterator[str]:
    for piece in page.split('href="')[1:]:
        yield piece.partition('"')[0]


@contextlib.asynccontextmanager
async def _both_doors(product: Product) -> AsyncIterator[tuple[httpx.AsyncClient, ...]]:
    """Yield an API process's application on the product's data, with and without the lane."""
    from pool.api.server.app import Application
    from pool.config.settings import load

    application = Application(load(product.environment()))
    framework = application.framework
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(framework.router.lifespan_context(framework))
        yield tuple(
            [
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        transport=httpx.ASGITransport(door), base_url="http://linkpool"
                    )
                )
                for door in (application, framework)
            ]
        )


async def test_lane_and_framework_answer_byte_for_byte_the_same(product: Product, sid: str) -> None:
    """The framework's documented claim route gives the same answer as the lane."""
    key = {"X-API-Key": product.key, "X-Request-Id": "same"}
    product.claim(sid, "held")
    good = b'{"customer_id": "held"}'
    cases: list[tuple[str, bytes, dict[str, str]]] = [
        (sid, good, key),
        (sid, b"{", key),
        (sid, b'{"customer_id": ""}', key),
        (sid, b'{"customer_id": "x", "colour": 1}', key),
        (sid, good, {}),
        (sid, good.ljust(16 * KIB + 1), key),
        ("nowhere", good, key),
        ("a.b", good, key),
        ("%C3%A4", good, key),
    ]
    async with _both_doors(product) as (lane, framework):
        for meeting, body, headers in cases:
            url = f"/v1/meetings/{meeting}/claims"
            one, other = await asyncio.gather(
                lane.post(url, content=body, headers=headers),
                framework.post(url, content=body, headers=headers),
            )
            assert one.status_code == other.status_code, (meeting, body)
            assert one.content == other.content
            # The request id is the outermost layer's, which the bare framework is without.
            mine = {name: v for name, v in one.headers.items() if name != "x-request-id"}
            assert mine == dict(other.headers)
