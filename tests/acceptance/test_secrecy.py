"""Test that no log tells which customers came, which links they got, or how to get in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from product import Product, signed, wait_until

# Whatever a customer or the site sends; each is easily found, and nothing else looks like it.
CUSTOMER = "customer-Wq7vZ2"
EMAIL = "wq7vz2.mail@example.test"
METADATA = "metadata-Wq7vZ2"
NAME = "name-Wq7vZ2"
SIGNATURE_WORD = "5eedfeed" * 8
MARKUP = "<img src=x onerror=alert(7)>\"'&"


@pytest.fixture
def product(talkative: Product) -> Product:
    """Return the product that logs all that it can."""
    return talkative


def test_no_log_tells_a_customer_a_link_or_a_secret(product: Product) -> None:
    """After claims, bookings, errors, forgetting, an empty pool and a failing provider, the logs
    of every part but the sandbox hold no customer id, address, metadata, slug, key or secret."""
    slugs = _busy_hour(product)
    environment = product.environment()
    secrets = {
        name: value
        for name, value in environment.items()
        if name.endswith(("API_KEY", "SECRET", "ADMIN_KEY", "SECRET_KEY"))
    }
    secrets["the key of up"] = product.key
    secrets["the secret key"] = (product.data / "secret.key").read_text().strip()
    secrets["the password of Redis"] = environment["LINKPOOL_REDIS_URL"].split("@")[0][-20:]
    # An empty one would be found everywhere, and show nothing.
    assert all(len(value) >= 8 for value in secrets.values()), sorted(secrets)
    words = secrets | {
        "customer id": CUSTOMER,
        "customer id, escaped": quote(CUSTOMER + "/ä", safe="")[:-6],
        "email": EMAIL,
        "metadata": METADATA,
        "name of a booking": NAME,
        "signature": SIGNATURE_WORD,
    }
    assert len(slugs) >= 5
    logs = _logs(product)
    assert {"api", "worker"} <= {log.name.split(".")[0] for log in logs}
    said = {log.name: log.read_text("utf-8", "replace") for log in logs}
    # The logs were written to by the very things that were provoked, or this shows nothing.
    assert "debug" in said["api.log"] + said["worker.log"]
    found = [
        f"{log}: {what}"
        for log, text in said.items()
        for what, word in words.items()
        if word in text
    ]
    found += [f"{log}: a slug" for log, text in said.items() for slug in slugs if slug in text]
    # Also those nobody claimed, and the forms in which keys and slugs are made.
    found += [
        f"{log}: {match[0]}"
        for log, text in said.items()
        for match in re.finditer(r"one-off-[0-9a-f]{6,}|lp_[0-9a-f]{8}_\w{8,}", text)
    ]
    assert not found


def _logs(product: Product) -> list[Path]:
    files = [path for path in (product.data / "logs").iterdir() if "sandbox" not in path.name]
    return [*files, product.said.with_name("stderr")]


def _busy_hour(product: Product) -> list[str]:
    """Do everything that could leave a word in a log. Return the slugs that were given out."""
    product.put("busy", min_fresh=8, cover_seconds=0)
    slugs = [
        product.slug("busy", f"{CUSTOMER}-{n}", email=EMAIL, metadata={"note": METADATA})
        for n in range(5)
    ]
    slash = quote(f"{CUSTOMER}/ä", safe="")
    product.claim("busy", f"{CUSTOMER}\x00")
    product.claim("busy", CUSTOMER * 50)
    product.claim("busy", CUSTOMER, email="no address", metadata={"note": METADATA * 500})
    product.claim("busy", CUSTOMER, key=f"{product.key}x")
    product.claim("nowhere", CUSTOMER)
    url = "/v1/meetings/busy/claims"
    product.api("POST", url, content=f'{{"customer_id": "{CUSTOMER}'.encode())
    product.api("GET", f"{url}/{slash}")
    product.api("DELETE", f"{url}/{slash}")
    product.api("GET", f"/v1/links/{slugs[0]}")
    product.api("GET", f"/nowhere/{CUSTOMER}?email={EMAIL}")
    product.api("POST", "/ops/sign-in", key="", data={"key": product.key})
    # Bookings: matched, twice, cancelled; unmatched; unsigned; signed nonsense.
    booking = product.control("book", slug=slugs[0], email=EMAIL, name=NAME)["booking"]
    product.control("cancel", booking_sid=booking["sid"])
    for event in (
        {"event": "booking_created", "booking": {"email": EMAIL, "name": NAME, "sid": "unknown"}},
        {"event": "booking_created", "booking": {"form_responses": MARKUP, "name": NAME}},
    ):
        body = json.dumps(event).encode()
        hook = "/v1/webhooks/default"
        product.api("POST", hook, key="", content=body, headers=signed(product, body))
        forged = {"x-neeto-webhook-signature": f"sha256={SIGNATURE_WORD}"}
        product.api("POST", hook, key="", content=body, headers=forged)
    body = f'{{"{EMAIL}'.encode()
    product.api("POST", hook, key="", content=body, headers=signed(product, body))
    # A link made on the spot, and a provider that fails at it.
    product.put("straight", fill=False, min_fresh=0, max_fresh=1)
    slugs.append(product.slug("straight", f"{CUSTOMER}-direct", email=EMAIL))
    with product.turned(disabled_meetings="broken"):
        product.put("broken", fill=False, min_fresh=3)
        product.claim("broken", CUSTOMER, email=EMAIL)
        wait_until(lambda: product.meeting("broken")["state"] == "blocked")
    wait_until(lambda: product.link(slugs[0]).get("state") == "cancelled", 20)
    wait_until(lambda: product.link(slugs[4]).get("customer_id"), 20)
    product.api("DELETE", f"{url}/{CUSTOMER}-4")
    return slugs


def test_what_strangers_write_is_text_on_every_page(product: Product) -> None:
    """A hostile event, reason, customer id and address never become markup: not on a page of
    the operators, not in an error, and no page could run a script that did."""
    event = {"event": MARKUP, "booking": {"sid": MARKUP, "email": f"{MARKUP}@x.test"}}
    body = json.dumps(event).encode()
    hook = "/v1/webhooks/default"
    answer = product.api("POST", hook, key="", content=body, headers=signed(product, body))
    assert answer.status_code == 202
    product.api("POST", "/v1/meetings/demo/pause", json={"reason": MARKUP})
    product.api("POST", "/v1/meetings/demo/resume", json={"reason": MARKUP})
    product.slug("demo", MARKUP, metadata={MARKUP: MARKUP})
    escaped = quote(MARKUP, safe="")
    starts = ["/ops", "/docs", "/problems", f"/problems/{escaped}", f"/{escaped}"]
    starts += [f"/ops/{escaped}", f"/ops?q={escaped}", f"/v1/meetings/{escaped}"]
    signed_in = product.api("POST", "/ops/sign-in", key="", data={"key": product.key})
    cookie = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
    seen: dict[str, httpx.Response] = {}
    waiting = list(starts)
    while waiting and len(seen) < 80:
        path = waiting.pop(0)
        if path in seen:
            continue
        answer = seen[path] = product.api("GET", path, key="", headers=cookie)
        if answer.headers.get("content-type", "").startswith("text/html"):
            waiting += [
                link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"#]*)', answer.text)
            ]
    pages = {
        path: answer
        for path, answer in seen.items()
        if answer.headers.get("content-type", "").startswith("text/html")
    }
    assert len(pages) >= 20
    for path, answer in pages.items():
        assert "<img src=x" not in answer.text, path
        assert 'onerror=alert(7)>"' not in answer.text, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert not re.search(r"script-src[^;]*('unsafe|\*|data:|http)", policy), path
        assert "frame-ancestors 'none'" in policy, path
        assert answer.headers["x-content-type-options"] == "nosniff", path


def test_a_forged_cookie_signs_nobody_in_and_breaks_nothing(product: Product) -> None:
    """Any forged cookie is answered with the sign-in, not with an error."""
    answer = product.api("POST", "/ops/sign-in", key="", data={"key": product.key})
    name, _, good = answer.headers["set-cookie"].partition(";")[0].partition("=")
    key_id, expires, *rest = good.split(".")
    forged = [
        "", "x", "...", good[:-1], good + "0", good.upper(), f"{good}.{good}",
        ".".join([key_id, "9" * 12, *rest]), ".".join(["x" + key_id[1:], expires, *rest]),
        ".".join([key_id, "9" * 5_000, *rest]), ".".join([key_id, "-1", *rest]),
        ".".join([key_id, "²", *rest]), ".".join([key_id, expires, "ä" * 64]),
        ".".join([key_id, expires, "\xff" * 64]), "\xad.1.2",
    ]  # fmt: skip
    for value in forged:
        answer = product.api("GET", "/ops", key="", headers={"Cookie": f"{name}={value}".encode()})
        assert answer.status_code < 500, (value, answer.text)
        assert "demo" not in answer.text, value
    headers = {"Cookie": f"{name}={good}"}
    assert "demo" in product.api("GET", "/ops", key="", headers=headers).text
