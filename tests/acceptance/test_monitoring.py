"""Test what a real Prometheus sees of a running linkpool with several API processes."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from observed import Collector, Prometheus, dashboard_queries, prometheus
from product import Product, signed, wait_until

SID = "watched"
CLAIMS = 120


@pytest.fixture(scope="module")
def watched(talkative: Product) -> Product:
    """Return the product that says all, with a meeting to watch."""
    talkative.put(SID, min_fresh=CLAIMS // 2, cover_seconds=0)  # for all that will claim
    return talkative


@pytest.fixture(scope="module")
def server(watched: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes it."""
    directory = tmp_path_factory.mktemp("prometheus") / "p"
    with prometheus(directory, f"127.0.0.1:{watched.port}") as running:
        yield running


@pytest.fixture(scope="module")
def traffic(watched: Product, server: Prometheus) -> None:
    """Make claims, a booking, and a booking of nothing known, and wait until all are counted."""
    slug = ""
    for n in range(CLAIMS):
        slug = watched.slug(SID, f"visitor-{n // 2}")  # each comes twice
    watched.control("book", slug=slug)
    stray = {"event": "booking_created", "booking": {"sid": "stray", "email": "x@example.com"}}
    body = json.dumps(stray).encode()
    sent = watched.api(
        "POST", "/v1/webhooks/default", content=body, headers=signed(watched, body), key=""
    )
    assert sent.status_code == 202
    wait_until(lambda: server.values("sum(linkpool_claims_total)") == [CLAIMS], 10)
    wait_until(lambda: server.values('linkpool_webhooks_total{outcome="settled"}'), 15)
    wait_until(lambda: max(server.values("linkpool_unmatched_events"), default=0) >= 1, 15)


def test_every_query_of_the_dashboard_has_data(
    watched: Product, server: Prometheus, traffic: None
) -> None:
    """No panel stands empty while links are claimed, booked and made."""
    queries = dashboard_queries()
    assert len(queries) > 20

    def missing() -> list[tuple[str, str]]:
        watched.slug(SID, os.urandom(4).hex())  # rates need somebody who claims
        return [(title, expr) for title, expr in queries if not server.values(expr)]

    ends = time.monotonic() + 60
    while (left := missing()) and time.monotonic() < ends:
        time.sleep(0.2)
    assert not left


def test_the_rules_load_and_nothing_fires_while_all_is_well(
    server: Prometheus, traffic: None
) -> None:
    """Each rule is evaluated without an error, and the alerts know the metrics they read."""
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == 21
    wait_until(
        lambda: all(
            rule["health"] == "ok"
            for group in server.get("rules")["groups"]
            for rule in group["rules"]
        ),
        10,
    )
    firing = server.get("query", query='ALERTS{alertstate="firing"}')["result"]
    assert not firing
    pending = server.get("query", query='ALERTS{alertstate="pending"}')["result"]
    # The stray booking is really unmatched, and a busy machine is really slow.
    expected = {"LinkpoolUnmatchedEvents", "LinkpoolClaimsSlow"}
    assert {each["metric"]["alertname"] for each in pending} <= expected


def exposed(text: str) -> dict[str, float]:
    """Return every sample in the text of /metrics."""
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def total(product: Product, name: str) -> float:
    """Return the sum of a metric over its labels, once both processes of the API say the same.

    Each of them keeps its text for a moment.
    """

    def says() -> float:
        # A connection each, so that either process may answer.
        with httpx.Client(base_url=product.url, trust_env=False, timeout=20) as http:
            found = exposed(http.get("/metrics").text)
        return sum(v for k, v in found.items() if re.match(rf"{name}(\{{|$)", k))

    def agreed() -> set[float]:
        said = {says() for _ in range(8)}
        return said if len(said) == 1 else set()

    return wait_until(agreed).pop()


def settled(product: Product, name: str) -> float:
    """Return the sum of a metric once all that was counted is in it.

    Processes hand over what they counted twice a second.
    """

    def unchanged() -> list[float]:
        before = total(product, name)
        time.sleep(2)
        return [before] if total(product, name) == before else []

    return wait_until(unchanged, 60)[0]


def test_each_metric_says_what_it_is(watched: Product, traffic: None) -> None:
    """HELP and TYPE for every family, and no customer and no slug anywhere."""
    text = watched.api("GET", "/metrics", key="").text
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    helped = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert families == set(helped)
    assert all(len(words.split()) >= 4 for words in helped.values()), helped
    assert "visitor-" not in text
    assert "one-off-" not in text


def test_a_trace_goes_through_every_process(
    watched: Product, collector: Collector, traffic: None
) -> None:
    """From the caller's own trace to the claim, its script call and the task that records it;
    and from a webhook to the task that settles it. A top-up's requests are its children."""
    trace = os.urandom(16).hex()
    headers = {"traceparent": f"00-{trace}-{'cd' * 8}-01"}

    def claimed() -> bool:
        # A hint that is sent already for another claim does not go out twice: try again.
        body = {"customer_id": os.urandom(4).hex()}
        watched.api("POST", f"/v1/meetings/{SID}/claims", json=body, headers=headers)
        return ("worker", "record") in collector.of(trace)

    wait_until(claimed, 20, every=0.7)
    assert {("api", "claim"), ("api", "claim script")} <= collector.of(trace)
    slug = watched.slug(SID, "visitor-booked")
    watched.control("book", slug=slug)

    def settled() -> bool:
        hooks = [each for each in collector.spans if "/v1/webhooks/" in each["name"]]
        return any(("worker", "settle") in collector.of(each["trace"]) for each in hooks)

    wait_until(settled, 20)

    def topped_up() -> bool:
        asked = {each["trace"] for each in collector.spans if each["name"] == "create link"}
        wanted = {("worker", "top-up"), ("worker", "create link"), ("worker", "add script")}
        return any(wanted <= collector.of(trace) for trace in asked)

    wait_until(topped_up, 60)  # a top-up's own span ends with it
    everything = "".join(each["text"] for each in collector.spans)
    assert {each["service"] for each in collector.spans} == {"linkpool"}
    assert "visitor-" not in everything
    assert "one-off-" not in everything.replace("/one-off-links", "")


def test_every_line_of_the_logs_is_json(watched: Product, traffic: None) -> None:
    """Celery's words included; requests with id, route, status and time; nobody's id or link."""
    watched.api("GET", f"/v1/meetings/{SID}/claims/visitor-1", headers={"X-Request-Id": "mine-7"})

    def lines(part: str) -> list[dict[str, Any]]:
        text = (watched.data / "logs" / f"{part}.log").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]

    (request,) = wait_until(
        lambda: [each for each in lines("api") if each.get("request_id") == "mine-7"], 5
    )
    assert (request["event"], request["route"], request["meeting"], request["status"]) == (
        "request", "/v1/meetings/{sid}/claims/{customer_id:path}", SID, 200,
    )  # fmt: skip
    assert 0 < request["seconds"] < 10
    assert any(each["event"] == "topped up" for each in lines("worker"))
    for part in ("api", "worker"):
        assert all({"timestamp", "level", "event"} <= each.keys() for each in lines(part))
        text = (watched.data / "logs" / f"{part}.log").read_text("utf-8")
        assert "visitor-" not in text
        assert "one-off-" not in text


def test_counters_never_run_back(watched: Product, traffic: None) -> None:
    """Not when the API is started anew, and not when the worker is: what a process had
    counted stays counted, and the sum over all of them goes on."""
    watched.slug(SID, "before")
    claims = int(settled(watched, "linkpool_claims_total"))
    asked = total(watched, "linkpool_provider_requests_total")
    assert claims > CLAIMS
    assert asked >= 30
    killed = {part: watched.pid(part) for part in ("api", "worker")}
    os.kill(killed["api"], signal.SIGTERM)
    os.kill(killed["worker"], signal.SIGTERM)

    def again() -> bool:
        alive = {part: watched.pids(part) for part in killed}
        return all(alive[part] and pid not in alive[part] for part, pid in killed.items())

    def answers() -> bool:
        try:
            return watched.api("GET", "/livez").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(again, 90)
    wait_until(answers, 90)
    assert total(watched, "linkpool_claims_total") == claims
    assert total(watched, "linkpool_provider_requests_total") >= asked
    watched.slug(SID, "after")
    wait_until(lambda: total(watched, "linkpool_claims_total") == claims + 1)
