"""Fill a pool at a provider that is limited, broken or closed."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from product import PROBE_SECONDS, Product, wait_until
from stopwatch import Stopwatch

LIMIT = 20.0  # links a second
LINKS = 200
# Every 429 is taken for the limit, and here they come at random: that fills slowly.
LINKS_OF_BROKEN, BROKEN_SECONDS = 60, 60.0
SHARE = 0.95  # of the limit
EXCUSED = 0.16  # the greatest part of the time that a busy machine may be blamed for
SLUG = re.compile(r"one-off-[0-9a-f]{12}")


@pytest.fixture
def stage(probing: Product) -> Product:
    """Return a product that probes a broken provider often, and waits 1 s for each answer."""
    return probing


def full(product: Product, sid: str, links: int, seconds: float) -> float:
    """Wait until a pool is full. Return the seconds that took. Fail if they are more than these."""
    watch = product.stopwatch()
    wait_until(
        lambda: product.meeting(sid)["fresh"] >= links,
        3 * seconds,  # a busy machine may take longer
        every=0.2,
        what=f"{sid} is full",
    )
    took = watch.seconds
    assert took <= seconds
    return took


def test_a_limited_provider_is_used_to_its_limit(stage: Product) -> None:
    """200 links at 20 links/s and 150 ms of latency: at least 95 % of what is allowed."""
    with stage.turned(latency_seconds=0.15, limit_per_second=LIMIT):
        stage.control("reset")
        stage.put("limited", fill=False, min_fresh=LINKS, cover_seconds=0)
        # Not of all parts: their waits, however short, would add up over ten seconds.
        watch = Stopwatch(lambda: [*stage.pids("worker"), *stage.pids("sandbox")])
        began = time.monotonic()
        full(stage, "limited", LINKS, 60)
        waited = time.monotonic() - began - watch.seconds
        calls = stage.sandbox("GET", "/_control/calls").json()["calls"]
    made = [call["at"] for call in calls if call["status"] == "200"][:LINKS]
    refused = sum(call["status"] == "429" for call in calls)
    seconds = made[-1] - made[0]
    rate = (LINKS - 1) / (seconds - min(waited, EXCUSED * seconds))
    share = LINKS / (LIMIT + LIMIT * seconds)  # a second's worth is allowed at once
    print(
        f"\n  {rate:.2f} links/s, {share:.1%} of what is allowed, {refused} calls refused", end=" "
    )
    assert rate >= SHARE * LIMIT


def test_a_broken_provider_fills_the_pool_all_the_same(stage: Product) -> None:
    """Refusals, failures, hangs, repeats, HTML and bad slugs: full in time, with good links."""
    with stage.turned(
        p_429=0.1,
        p_500=0.1,
        p_hang=0.02,
        hang_seconds=2.0,
        p_duplicate=0.05,
        p_html=0.03,
        p_bad_slug=0.03,
        shape="alternate",
        seed=7,
    ):
        stage.put("broken", fill=False, min_fresh=LINKS_OF_BROKEN, cover_seconds=0, on_empty="fail")
        seconds = full(stage, "broken", LINKS_OF_BROKEN, BROKEN_SECONDS)
        print(f"\n  {LINKS_OF_BROKEN} links in {seconds:.1f} s", end=" ")
    stage.api("POST", "/v1/meetings/broken/pause")  # nothing is added from here on
    time.sleep(1.5)
    fresh = stage.meeting("broken")["fresh"]
    stage.put("broken", fill=False, min_fresh=0, max_fresh=1)
    # Paused, nobody gets a link; so unpause without letting top-up add to what there is.
    with stage.turned(fail_status=422, fail_meeting="broken"):
        stage.api("POST", "/v1/meetings/broken/resume")
        given = [stage.slug("broken", f"c{number}") for number in range(fresh)]
        assert stage.claim("broken", "one-more").status_code == 503
    assert len(set(given)) == len(given) >= LINKS_OF_BROKEN
    assert all(SLUG.fullmatch(slug) for slug in given)
    assert set(given) <= set(stage.sandbox_links("broken"))


def test_a_meeting_that_is_disabled_at_the_provider_hands_out_nothing(stage: Product) -> None:
    """Until it is enabled again: then with new links, as the old ones may be dead."""
    stage.put("surveyed", min_fresh=5, cover_seconds=0)
    slug = stage.slug("surveyed", "holds")
    old = set(stage.sandbox_links("surveyed"))
    stage.control("meeting", meeting_sid="surveyed", disabled=True)
    try:
        # Making a link may be refused before the provider's list is read.
        listed = "the provider says that this meeting is disabled"
        wait_until(lambda: listed in stage.meeting("surveyed")["reason"], 30)
        assert stage.meeting("surveyed")["state"] == "blocked"
        refused = stage.claim("surveyed", "new")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/pool-paused")
        assert "retry-after" in refused.headers
        assert stage.slug("surveyed", "holds") == slug
    finally:
        stage.control("meeting", meeting_sid="surveyed", disabled=False)
    wait_until(lambda: stage.meeting("surveyed")["state"] == "ok", 30)
    assert stage.slug("surveyed", "new") not in old
    assert stage.slug("surveyed", "holds") == slug


def test_a_refused_key_is_probed_and_not_hammered(stage: Product) -> None:
    """401: the pool is blocked with a reason, claims go on, and it recovers by itself."""
    stage.put("refused", min_fresh=20, cover_seconds=0)
    stage.knobs(fail_status=401)
    try:
        stage.control("reset")
        stage.slug("refused", "first")
        wait_until(lambda: stage.meeting("refused")["state"] == "blocked", 10)
        assert "API key" in stage.meeting("refused")["reason"]
        stage.control("reset")
        started = time.time()
        for number in range(12):
            assert stage.claim("refused", f"c{number}").status_code == 201
            time.sleep(0.6)
        calls = stage.sandbox("GET", "/_control/calls").json()["calls"]
        elapsed = time.time() - started
        most = elapsed / PROBE_SECONDS + 1
        print(f"\n  {len(calls)} probes in {elapsed:.1f} s", end=" ")
        assert 1 <= len(calls) <= most
        apart = [b["at"] - a["at"] for a, b in pairwise(calls)]
        assert all(gap >= PROBE_SECONDS - 0.1 for gap in apart), apart
        assert stage.meeting("refused")["state"] == "blocked"
    finally:
        stage.knobs(fail_status=0)
    started = time.monotonic()
    wait_until(lambda: stage.meeting("refused")["state"] == "ok", 3 * PROBE_SECONDS + 10)
    wait_until(lambda: stage.meeting("refused")["fresh"] >= 20, 20)
    print(f"\n  full again {time.monotonic() - started:.1f} s after the key worked", end=" ")
