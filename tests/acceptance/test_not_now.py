"""Provoke the errors that pass: limits, an empty pool, and a Redis or ledger that is away."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from problem_answers import check
from product import LINKPOOL, Product, wait_until

from pool.up import ports
from tests.ending import end

CLAIM_SECONDS = 2.0  # the default deadline of a claim
SLACK_SECONDS = 1.0
NewMeeting = Callable[..., str]


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
