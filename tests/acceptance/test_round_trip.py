"""Follow a link through its life: made, claimed, booked, cancelled, forgotten."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from product import Product, wait_until

NEWS_SECONDS = 2.0  # from a booking to a claim that says so

NewMeeting = Callable[..., str]


class _Form(HTMLParser):
    """The fields of the only form of a page, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self.action = found.get("action") or ""
        if tag == "input" and (found.get("type") != "radio" or "checked" in found):
            self.fields[found.get("name") or ""] = found.get("value") or ""


def book(product: Product, claim: dict[str, Any], **visitor: str) -> str:
    """Book on the page the embed shows, as a browser does. Return the booking's SID."""
    slug = claim["claim"]["slug"]
    page = httpx.get(claim["claim"]["url"], params=claim["embed"]["queryParams"], trust_env=False)
    form = _Form(page.text)
    assert form.action == f"/{slug}"
    visitor = {"name": "Zoë <&>", "email": "zoe@example.com"} | visitor
    answer = product.sandbox("POST", form.action, data=form.fields | visitor)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def until_state(product: Product, sid: str, customer: str, state: str) -> float:
    """Wait until a claim is in this state. Return the seconds that passed."""
    watch = product.stopwatch()

    def there() -> bool:
        answer = product.api("GET", f"/v1/meetings/{sid}/claims/{customer}")
        return answer.status_code == 200 and answer.json()["claim"]["state"] == state

    wait_until(there, 10, every=0.02, what=f"the claim is {state}")
    return watch.seconds


def test_the_printed_curl_line_works_as_it_stands(product: Product) -> None:
    """Pasted into a shell it claims a link with 201, and the same one with 200 the second time."""
    line = re.search(r"^ +(curl .*)$", product.said.read_text(), re.MULTILINE)
    assert line

    def run() -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [*["bash", "-c"], line[1] + " -w '\\n%{http_code}'"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    status, first = run()
    assert status == 201
    assert first["reused"] is False
    assert first["claim"]["state"] == "claimed"
    assert first["claim"]["url"].endswith("/" + first["claim"]["slug"])
    assert first["embed"]["slug"] == first["claim"]["slug"]
    status, again = run()
    assert status == 200
    assert again == first | {"reused": True}


def test_the_pool_tops_itself_up(product: Product, sid: str) -> None:
    """Claimed links are replaced without a request for a top-up."""
    for number in range(4):
        assert product.claim(sid, f"c{number}").status_code == 201
    wait_until(lambda: product.meeting(sid)["fresh"] >= 5, 10)


def test_a_booking_is_known_within_two_seconds(product: Product, sid: str) -> None:
    """When a visitor books on the provider's page, claim, link and counts show it at once."""
    claim = product.claim(sid, "visitor", email="zoe@example.com").json()
    booking_sid = book(product, claim)
    assert until_state(product, sid, "visitor", "consumed") <= NEWS_SECONDS
    answer = product.claim(sid, "visitor")
    assert answer.status_code == 200
    again = answer.json()
    assert again["reused"] is True
    assert again["claim"]["state"] == "consumed"
    assert again["claim"]["booking_sid"] == booking_sid
    assert again["claim"]["slug"] == claim["claim"]["slug"]
    assert again["claim"]["consumed_at"] is not None
    link = product.link(claim["claim"]["slug"])
    assert (link["state"], link["customer_id"], link["booking_sid"], link["match"]) == (
        "consumed",
        "visitor",
        booking_sid,
        "field",
    )
    assert product.meeting(sid)["consumed"] == 1
    assert "expired" in httpx.get(claim["claim"]["url"], trust_env=False).text


def test_after_booking_new_gives_another_link(product: Product, new_meeting: NewMeeting) -> None:
    """With after_booking "new", the next claim after a booking gets a fresh link."""
    sid = new_meeting(after_booking="new")
    claim = product.claim(sid, "visitor").json()
    book(product, claim)
    until_state(product, sid, "visitor", "consumed")
    answer = product.claim(sid, "visitor")
    assert answer.status_code == 201
    assert answer.json()["claim"]["slug"] != claim["claim"]["slug"]
    assert answer.json()["claim"]["state"] == "claimed"


def test_a_cancelled_booking_frees_the_customer(product: Product, sid: str) -> None:
    """After a cancellation on the provider's page the next claim gets a fresh link."""
    claim = product.claim(sid, "visitor").json()
    booking_sid = book(product, claim)
    until_state(product, sid, "visitor", "consumed")
    assert product.sandbox("POST", f"/bookings/{booking_sid}/cancel").status_code == 303
    watch = product.stopwatch()
    wait_until(lambda: product.claim(sid, "visitor").json()["claim"]["state"] == "claimed", 10)
    assert watch.seconds <= NEWS_SECONDS
    again = product.claim(sid, "visitor")
    assert again.status_code == 200
    assert again.json()["claim"]["slug"] != claim["claim"]["slug"]
    assert product.link(claim["claim"]["slug"])["state"] == "cancelled"


def test_a_rescheduled_booking_stays_booked(product: Product, sid: str) -> None:
    """Rescheduling changes the time, and nothing about the link."""
    claim = product.claim(sid, "visitor").json()
    booking_sid = book(product, claim)
    until_state(product, sid, "visitor", "consumed")
    product.sandbox("POST", f"/bookings/{booking_sid}/reschedule")
    wait_until(lambda: product.sandbox("GET", "/_control/state").json()["webhooks"]["pending"] == 0)
    events = product.api("GET", "/v1/events?limit=1000").json()["events"]
    kinds = [event["event"] for event in events if event["booking_sid"] == booking_sid]
    assert sorted(kinds) == ["booking_created", "booking_rescheduled"]
    assert until_state(product, sid, "visitor", "consumed") <= NEWS_SECONDS


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
@pytest.mark.parametrize("escape", ["raw", "escaped_body", "escaped_hash_only"])
def test_webhooks_five_times_late_and_shuffled_end_the_same(
    product: Product, sid: str, escape: str, wrapped: bool
) -> None:
    """Events that come repeatedly, late and out of order leave one booking."""
    with product.turned(
        webhook_times=5,
        webhook_delay_seconds=0.2,
        webhook_shuffle=10,
        webhook_escape=escape,
        webhook_wrapped=wrapped,
    ):
        kept, freed = product.claim(sid, "kept").json(), product.claim(sid, "freed").json()
        book(product, kept)
        booking_sid = book(product, freed)
        product.sandbox("POST", f"/bookings/{booking_sid}/cancel")
        wait_until(lambda: product.link(freed["claim"]["slug"]).get("state") == "cancelled", 8)
        wait_until(lambda: product.link(kept["claim"]["slug"]).get("state") == "consumed", 8)
        wait_until(lambda: _nothing_pending(product), 8)
    events = product.api("GET", "/v1/events?limit=1000").json()["events"]
    of_booking = [event for event in events if event["booking_sid"] == booking_sid]
    assert {event["event"]: event["seen"] for event in of_booking} == {
        "booking_created": 5,
        "booking_cancelled": 5,
    }
    assert product.link(freed["claim"]["slug"])["state"] == "cancelled"
    assert product.link(kept["claim"]["slug"])["state"] == "consumed"
    assert product.slug(sid, "freed") != freed["claim"]["slug"]


def _nothing_pending(product: Product) -> bool:
    waiting = product.api("GET", "/v1/events?state=pending").json()["events"]
    sent = product.sandbox("GET", "/_control/state").json()["webhooks"]["pending"] == 0
    return sent and not waiting


def test_a_webhook_before_the_claim_is_recorded_ends_the_same(product: Product, sid: str) -> None:
    """A booking that comes before the recorder has written its claim is not lost."""
    for number in range(5):
        claim = product.claim(sid, f"fast-{number}").json()
        product.control("book", slug=claim["claim"]["slug"], name="F", email="f@example.com")
    for number in range(5):
        assert until_state(product, sid, f"fast-{number}", "consumed") <= NEWS_SECONDS
    wait_until(lambda: product.meeting(sid)["unrecorded_claims"] == 0)
    for number in range(5):
        assert product.link(product.slug(sid, f"fast-{number}"))["customer_id"] == f"fast-{number}"


def test_a_cancellation_before_its_booking_ends_cancelled(product: Product, sid: str) -> None:
    """The final state does not depend on the order of events."""
    slug = product.slug(sid, "visitor")
    with product.turned(webhook_times=0):
        booking = product.control("book", slug=slug)["booking"]
        product.control("cancel", booking_sid=booking["sid"])
    for event in ("booking_cancelled", "booking_created"):
        product.control("emit", booking_sid=booking["sid"], event=event)
        wait_until(lambda: _nothing_pending(product), 8)
    assert product.link(slug)["state"] == "cancelled"
    assert product.slug(sid, "visitor") != slug


def test_a_wrong_signature_is_refused(product: Product, sid: str) -> None:
    """An event that is signed with another secret is answered 401 and changes nothing."""
    slug = product.slug(sid, "visitor")
    with product.turned(webhook_wrong_signature=True, webhook_retry_seconds=3600):
        booking = product.control("book", slug=slug)["booking"]

        def answered() -> list[dict[str, Any]]:
            log = product.sandbox("GET", "/_control/state").json()["webhooks"]["deliveries"]
            return [d for d in log if d["booking_sid"] == booking["sid"] and d["last_status"]]

        assert wait_until(answered)[0]["last_status"] == 401
    time.sleep(0.5)
    assert product.claim(sid, "visitor").json()["claim"]["state"] == "claimed"


def test_an_unmatched_booking_waits_in_the_inbox_and_can_be_replayed(
    product: Product, sid: str
) -> None:
    """The booking is kept, and a replay matches it once its visitor has claimed."""
    booking = product.control("book", meeting_sid=sid, name="O", email="o@example.com")["booking"]

    def event() -> dict[str, Any] | None:
        events = product.api("GET", "/v1/events?state=unmatched").json()["events"]
        return next((e for e in events if e["booking_sid"] == booking["sid"]), None)

    found = wait_until(event)
    assert found

    def replay() -> dict[str, Any]:
        answer = product.api("POST", f"/v1/events/{found['id']}/replay")
        return dict(answer.json()["event"])

    # The provider is asked for a new meeting's id at most every two seconds.
    reason = "no claim gave its e-mail"
    wait_until(lambda: reason in replay()["reason"], 20, what=f"the reason is that {reason}")
    replayed = replay()
    assert replayed["state"] == "unmatched"
    slug = product.slug(sid, "ordinary", email="O@example.com")
    replayed = product.api("POST", f"/v1/events/{found['id']}/replay").json()["event"]
    assert (replayed["state"], replayed["match"], replayed["slug"]) == ("settled", "probable", slug)
    assert product.claim(sid, "ordinary").json()["claim"]["state"] == "consumed"


def test_a_link_booked_while_in_the_pool_leaves_it(product: Product, sid: str) -> None:
    """A leaked link that was booked is not handed out any more."""
    slug = product.sandbox_links(sid)[0]  # the oldest, which the next claim would get
    product.control("book", slug=slug)
    wait_until(lambda: product.link(slug)["state"] == "consumed", 5)
    assert product.slug(sid, "visitor") != slug


def test_a_claim_tells_what_is_booked(product: Product, sid: str) -> None:
    """It has the booking's times, time zone and address for changes; a fresh link has none."""
    claim = product.claim(sid, "visitor").json()["claim"]
    assert "booking" not in claim
    booking = product.control("book", slug=claim["slug"])["booking"]
    until_state(product, sid, "visitor", "consumed")
    for answer in (
        product.claim(sid, "visitor"),
        product.api("GET", f"/v1/meetings/{sid}/claims/visitor"),
    ):
        told = answer.json()["claim"]["booking"]
        assert (told["sid"], told["state"]) == (booking["sid"], "confirmed")
        assert told["time_zone"] == "UTC"
        assert told["manage_url"].startswith("http")
        starts, ends = (datetime.fromisoformat(told[name]) for name in ("starts_at", "ends_at"))
        assert ends > starts > datetime.now(UTC)


def test_a_claim_is_true_at_once(product: Product, sid: str) -> None:
    """GET returns the answer of POST before and after the ledger has recorded the claim."""
    posted = product.claim(sid, "visitor").json()
    shown = product.api("GET", f"/v1/meetings/{sid}/claims/visitor")
    assert shown.status_code == 200
    assert shown.json() == posted | {"reused": True}
    assert shown.headers["cache-control"] == "no-store"
    wait_until(lambda: product.meeting(sid)["unrecorded_claims"] == 0)
    assert product.api("GET", f"/v1/meetings/{sid}/claims/visitor").json() == shown.json()


def test_a_link_has_its_history(product: Product, sid: str) -> None:
    """GET of a link returns its history in order, and its customer."""
    metadata = {"order": [1, "zwei", None]}
    claim = product.claim(sid, "visitor", email="v@example.com", metadata=metadata).json()
    slug = claim["claim"]["slug"]
    booking = product.control("book", slug=slug)["booking"]
    until_state(product, sid, "visitor", "consumed")
    product.control("cancel", booking_sid=booking["sid"])
    wait_until(lambda: product.link(slug).get("state") == "cancelled")
    answer = product.api("GET", f"/v1/links/{slug}").json()
    story = [step["what"] for step in answer["history"]]
    assert story == ["created", "claimed", "consumed", "cancelled"]
    assert [step["at"] for step in answer["history"]] == sorted(
        step["at"] for step in answer["history"]
    )
    link = answer["link"]
    assert (link["email"], link["metadata"]) == ("v@example.com", metadata)
    assert (link["source"], link["meeting_sid"]) == ("pool", sid)


def test_a_forgotten_customer_is_gone_and_the_link_is_never_reused(
    product: Product, sid: str
) -> None:
    """DELETE erases id, e-mail and metadata; the next claim of that id starts anew."""
    slug = product.slug(sid, "visitor", email="v@example.com", metadata={"a": 1})
    path = f"/v1/meetings/{sid}/claims/visitor"
    answer = product.api("DELETE", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert product.api("GET", path).status_code == 404
    link = product.link(slug)
    assert [link[name] for name in ("customer_id", "email", "metadata")] == [None, None, None]
    assert product.api("DELETE", path).status_code == 404
    others = {product.slug(sid, f"other-{number}") for number in range(4)}
    again = product.claim(sid, "visitor")
    assert again.status_code == 201
    assert slug not in others | {again.json()["claim"]["slug"]}


def test_pausing_keeps_bindings_and_stops_the_rest(product: Product, sid: str) -> None:
    """A paused meeting serves customers who hold a link, refuses others, and is not topped up."""
    slug = product.slug(sid, "before")
    answer = product.api("POST", f"/v1/meetings/{sid}/pause", json={"reason": "on holiday"})
    paused = answer.json()["meeting"]
    assert (paused["state"], paused["paused"], paused["reason"]) == ("paused", True, "on holiday")
    assert product.slug(sid, "before") == slug
    refused = product.claim(sid, "after")
    assert refused.status_code == 503
    assert "on holiday" in refused.json()["detail"]
    resumed = product.api("POST", f"/v1/meetings/{sid}/resume").json()["meeting"]
    assert resumed["paused"] is False
    assert product.claim(sid, "after").status_code == 201
    wait_until(lambda: product.meeting(sid)["state"] == "ok")


def test_draining_retires_every_fresh_link(product: Product, sid: str) -> None:
    """Drained links are never handed out, and a top-up makes new ones."""
    answer = product.api("POST", f"/v1/meetings/{sid}/drain", json={"reason": "leaked"}).json()
    rows = product.rows("SELECT slug FROM links WHERE meeting_sid = ? AND state = 'retired'", sid)
    drained = {slug for (slug,) in rows}
    assert answer["retired"] == len(drained) >= 5
    assert product.api("POST", f"/v1/meetings/{sid}/top-up").status_code == 200
    wait_until(lambda: product.meeting(sid)["fresh"] >= 5)
    given = {product.slug(sid, f"c{number}") for number in range(5)}
    assert not given & drained
    assert {product.link(slug)["state"] for slug in drained} == {"retired"}


def test_meetings_are_added_changed_and_checked(product: Product) -> None:
    """PUT answers 201 then 200, keeps settings that are left out, and refuses invalid ones."""
    url = "/v1/meetings/put-me"
    first = product.api("PUT", url, json={"min_fresh": 3, "fallback_url": "https://example.com/b"})
    assert first.status_code == 201
    second = product.api("PUT", url, json={"max_fresh": 7})
    assert second.status_code == 200
    kept = second.json()["meeting"]
    assert (kept["min_fresh"], kept["max_fresh"]) == (3, 7)
    assert kept["fallback_url"] == "https://example.com/b"
    assert (
        product.api("PUT", url, json={"fallback_url": None}).json()["meeting"]["fallback_url"]
        is None
    )
    for bad in (
        {"min_fresh": -1},
        {"min_fresh": "3"},
        {"min_fresh": 8},  # above max_fresh
        {"max_fresh": 2},  # below min_fresh
        {"max_fresh": 0},
        {"claim_ttl_seconds": 59},
        {"cover_seconds": 1.5},
        {"after_booking": "maybe"},
        {"on_empty": None, "unknown": 1},
        {"fallback_url": "javascript:alert(1)"},
        {"workspace": "no such"},
    ):
        answer = product.api("PUT", url, json=bad)
        assert answer.status_code == 422, (bad, answer.text)
        assert answer.json()["errors"], bad
    assert product.api("PUT", url, json={"workspace": "elsewhere"}).status_code == 404
    assert product.api("PUT", "/v1/meetings/a%20b", json={}).status_code == 404
    unchanged = product.api("GET", url).json()["meeting"]
    assert (unchanged["min_fresh"], unchanged["max_fresh"]) == (3, 7)
    listed = product.api("GET", "/v1/meetings").json()["meetings"]
    assert "put-me" in [meeting["sid"] for meeting in listed]


@pytest.mark.parametrize(
    "customer",
    [
        "a/b",
        "/",
        "//x//",
        "a/../b",
        ". .",
        "100%25",
        "a%2Fb",
        "space here",
        "?q=1#frag",
        "Zoë",
        "客户-7",
        "👩‍👩‍👧",
        "a+b&c=d;e",
        "x" * 256,
        "客" * 256,
    ],
)
def test_any_customer_id_finds_its_claim(product: Product, customer: str) -> None:
    """An id with slashes, percent signs or letters of any script works when it is percent-encoded
    in the path.
    """
    slug = product.slug("demo", customer)
    path = f"/v1/meetings/demo/claims/{quote(customer, safe='')}"
    shown = product.api("GET", path)
    assert shown.status_code == 200, shown.text
    assert shown.json()["claim"]["customer_id"] == customer
    assert shown.json()["claim"]["slug"] == slug
    assert product.slug("demo", customer) == slug
    wait_until(lambda: product.link(slug).get("customer_id") == customer, 8)
    assert product.api("DELETE", path).status_code == 204
    assert product.api("GET", path).status_code == 404


def test_a_body_is_json_whatever_it_is_called(product: Product) -> None:
    """curl -d declares its body as a form, and the settings in it are accepted all the same."""
    headers = {"X-API-Key": product.key, "Content-Type": "application/x-www-form-urlencoded"}
    answer = httpx.put(
        f"{product.url}/v1/meetings/as-curl-does",
        content=b'{"min_fresh": 3}',
        headers=headers,
        trust_env=False,
    )
    assert answer.status_code == 201
    assert answer.json()["meeting"]["min_fresh"] == 3
