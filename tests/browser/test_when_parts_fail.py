"""Test that no view shows a failed part as healthy, and that each reports the part's recovery.

Every view of the page is open in one browser. Within three seconds of a fault no view may show
anything as healthy that is not; within five seconds of its end each says how long it lasted and
what it cost. Time that a busy machine took from the processes does not count
(tests/browser/wall.py).
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.product import Product, wait_until
from tests.browser.faults import frozen, killed, ledger_locked
from tests.browser.tab import WAIT_MS
from tests.browser.test_views import unmatched
from tests.browser.wall import LIES, UNSAID, Since, Wall, open_wall

expect.set_options(timeout=WAIT_MS)

Fault = Callable[[Product, str], AbstractContextManager[None]]
SID = "viewed-in-trouble"
HONEST_SECONDS = 3.0
BACK_SECONDS = 5.0
POOLS = ".badge.ok, .sign.ok, #now strong"  # what says that pools are well
COST = r"(No visitor was|[\d,]+ visitors?) turned away"


@pytest.fixture(scope="module")
def wall(browser: Browser, shared_product: Product) -> Iterator[Wall]:
    """Open every view."""
    product = shared_product
    product.put(SID, min_fresh=10, cover_seconds=0)
    slug = product.slug(SID, "order-in-trouble", email="in-trouble@example.com")
    wait_until(lambda: product.link(slug).get("customer_id"), 10, what="it is recorded")
    paths = {
        "overview": f"/ops?q={SID}",
        "meeting": f"/ops/meetings/{SID}",
        "drain": f"/ops/meetings/{SID}/drain",
        "workspace": "/ops/workspaces/default",
        "add": "/ops/add",
        "find": "/ops/find",
        "link": f"/ops/links/{slug}",
        "history": "/ops/history?span=10min",
        "inbox": "/ops/inbox",
        "event": f"/ops/inbox/{unmatched(product, 'bk-in-trouble', 'nobody@example.com')}",
        "audit": "/ops/audit",
        "keys": "/ops/keys",
        "runbook": "/ops/runbooks/LinkpoolDown",
    }
    with open_wall(browser, product, paths) as wall:
        yield wall


@pytest.fixture(autouse=True)
def all_well(wall: Wall) -> None:
    """Begin each test, and its second try, when no part is reported silent any more."""
    for page in wall.pages.values():
        page.locator("#live.on").wait_for()
        expect(page.locator("#banner .silent")).to_have_count(0)


def _answers(ask: Callable[..., httpx.Response], path: str) -> bool:
    try:
        return ask("GET", path, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _over(wall: Wall, what: str, silent: str, cost: str = COST) -> None:
    wall.note(UNSAID, silent=silent, says=rf"{what} for \d+ (s|min) .*{cost}")


def _opened(wall: Wall, path: str, says: str) -> Page:
    """Open a view while a part is silent, and check that it has its frame and says what is missing.

    Return its page, which reloads once the part answers.
    """
    page = wall.pages["overview"].context.new_page()
    page.add_init_script("window.openedAt = Date.now()")
    page.goto(wall.product.url + path)
    expect(page.locator("[data-reload]").first).to_contain_text(says)
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    said = page.locator("#banner .silent").filter(has_text=says)
    expect(said.get_by_role("link", name="Runbook")).to_be_visible()
    assert page.title().startswith("("), path
    return page


def _completed(page: Page, since: Since, what: str) -> None:
    """Wait until a view that `_opened` returned has reloaded in full, and check that it did so in
    time.
    """
    expect(page.locator("[data-reload]")).to_have_count(0)
    took = page.evaluate("window.openedAt") / 1000 - since.began
    print(f"{what}: asked for the whole after {took:.2f} s, {since.lost():.2f} s lost")
    assert took - since.lost() <= BACK_SECONDS, what
    page.close()


def _ask_for_links(product: Product) -> None:
    """Claim links, so that top-up asks the provider: a silent provider is noticed only then."""
    for number in range(3):
        assert product.claim(SID, f"{time.time()}-{number}").is_success


def _try_the_provider(wall: Wall) -> None:
    """Try the provider by hand, as an operator does. A blocked workspace is probed once a minute
    only.
    """
    page = wall.pages["overview"].context.new_page()
    page.goto(f"{wall.product.url}/ops/workspaces/default")
    page.get_by_role("button", name="Try the provider now").click()
    page.locator(".flash").wait_for()
    page.close()


PROVIDER = {
    "says": "The provider does not answer",
    "tile": "Provider",
    "signs": "#workspace-state .ok",
}
WORKER = {"says": "No worker is running", "tile": "Worker"}
LEDGER = {"says": "The ledger does not answer", "tile": "Ledger"}
REDIS = {"says": "Redis does not answer", "signs": POOLS}


@pytest.mark.parametrize("how", [frozen, killed])
def test_a_silent_provider_is_said_and_so_is_its_end(wall: Wall, how: Fault) -> None:
    """It is reported as soon as top-up asks it, although pools are well stocked."""
    product = wall.product
    wait_until(lambda: product.meeting(SID)["fresh"] >= 10, what="the pool is full")
    wall.note(LIES, **PROVIDER)
    with how(product, "sandbox"):
        _ask_for_links(product)
        wall.assert_all_within(Since(product), HONEST_SECONDS, f"provider {how.__name__}")
        _over(wall, "The provider did not answer", "The provider")
    wait_until(lambda: _answers(product.sandbox, "/_control/knobs"), what="it is back")
    _try_the_provider(wall)
    wall.assert_all_within(Since(product), BACK_SECONDS, "provider back")


def test_a_silent_ledger_and_worker_are_said_together(wall: Wall) -> None:
    """Two faults are reported beside each other, and each ends alone.

    The worker is frozen first and killed later.
    """
    product = wall.product
    with ExitStack() as faults:
        wall.note(LIES, **LEDGER)
        faults.enter_context(ledger_locked(product))
        wall.assert_all_within(Since(product), HONEST_SECONDS, "ledger locked")
        wall.note(LIES, **WORKER)
        faults.enter_context(frozen(product, "worker"))
        wall.assert_all_within(Since(product), HONEST_SECONDS, "worker frozen")
        for name, page in wall.pages.items():
            assert page.locator("#banner .silent").count() == 2, name
        # Charts of the last hour need no ledger, so the meeting is shown and stays live.
        assert wall.pages["meeting"].locator(".chart").count()
        assert wall.pages["meeting"].locator("#live.on").count()
        audit = _opened(wall, "/ops/audit", "The ledger does not answer")
        _over(wall, "The ledger did not answer", "The ledger")
    since = Since(product)
    wall.assert_all_within(since, BACK_SECONDS, "ledger back")
    _completed(audit, since, "audit log")
    for page in wall.pages.values():
        over = page.locator("#banner .over").filter(has_text="No worker was running")
        expect(over).to_contain_text("turned away")
    wall.note(LIES, **WORKER)
    since = Since(product)
    with killed(product, "worker"):
        wall.assert_all_within(since, HONEST_SECONDS, "worker killed")
        _over(wall, "No worker was running", "No worker")
    wait_until(lambda: _works(product), what="a worker is at work")
    wall.assert_all_within(Since(product), BACK_SECONDS, "worker back")


def _works(product: Product) -> bool:
    """Return True if a worker has swept within the last moment."""
    found = re.search(
        r"^linkpool_worker_heartbeat_seconds (\S+)", product.api("GET", "/metrics").text, re.M
    )
    return found is not None and float(found[1]) < 2.0


def test_nothing_is_claimed_of_pools_while_redis_is_silent(wall: Wall) -> None:
    """Redis is frozen and then killed; a view that is opened meanwhile shows no number either."""
    product, page = wall.product, wall.pages["overview"]
    wall.note(LIES, **REDIS)
    with frozen(product, "redis"):
        wall.assert_all_within(Since(product), HONEST_SECONDS, "Redis frozen")
        expect(wall.pages["meeting"].locator("#state")).to_contain_text("unknown")
        assert product.claim("demo", "turned-away-by-redis").status_code == 503
        opened = {
            name: _opened(wall, path, REDIS["says"])
            for name, path in (
                ("meeting", f"/ops/meetings/{SID}"),
                ("history", "/ops/history"),
                ("drain", f"/ops/meetings/{SID}/drain"),
            )
        }
        expect(opened["meeting"].locator("#state")).to_contain_text("unknown")
        expect(opened["meeting"].get_by_role("heading", name="Settings")).to_be_visible()
        assert opened["meeting"].evaluate(LIES, REDIS) == []
        page.reload()
        expect(page.locator("#instead")).to_contain_text(REDIS["says"])
        assert page.evaluate(LIES, REDIS) == []
        _over(wall, "Redis did not answer", "Redis", r"[1-9]\d* visitors? turned away")
    since = Since(product)
    wall.assert_all_within(since, BACK_SECONDS, "Redis back")
    for name, view in opened.items():
        _completed(view, since, name)
    wall.note(LIES, **REDIS)
    since = Since(product)
    with killed(product, "redis"):
        wall.assert_all_within(since, HONEST_SECONDS, "Redis killed")
        # What the fence costs: links that may have been shown before Redis forgot it.
        _over(wall, "Redis did not answer", "Redis", rf"[1-9]\d* links quarantined.*{COST}")
    wall.assert_all_within(Since(product), BACK_SECONDS, "Redis back, and what the fence cost")


def test_an_api_that_freezes_and_is_replaced_is_said_and_so_is_its_end(wall: Wall) -> None:
    """No view claims to be current, and each reconnects without a reload."""
    product = wall.product
    wall.note(LIES, says="Disconnected from linkpool", signs=POOLS, gone=True)
    pids = product.pids("api")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wall.assert_all_within(Since(product), HONEST_SECONDS, "API frozen")
    wall.note(UNSAID, silent="", says=r"Connected again at .* after \d+ s .*History")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _answers(product.api, "/v1/meetings"), what="the API is back")
    wall.assert_all_within(Since(product), BACK_SECONDS, "API replaced")


def test_a_session_that_ends_shuts_every_view(wall: Wall) -> None:
    """Each view leads to the sign-in, except one with typed text, which says so and keeps the
    text.
    """
    product, pages = wall.product, wall.pages
    asked = pages["find"].get_by_label("Customer id")
    asked.fill("half an ord")
    since = Since(product)
    pages["keys"].get_by_role("button", name="End all sessions of this key").click()
    for name, page in pages.items():
        if name != "find":
            expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(pages["find"].locator("#trouble")).to_contain_text("You are signed out")
    print(f"signed out: {time.time() - since.began - since.lost():.2f} s for all")
    assert time.time() - since.began - since.lost() <= BACK_SECONDS
    assert pages["find"].title().startswith("(signed out)")
    assert asked.input_value() == "half an ord"
    again = pages["meeting"]
    again.get_by_label("API key").fill(product.key)
    again.get_by_role("button", name="Sign in").click()
    again.locator("#live.on").wait_for()
    assert again.url.endswith(f"/ops/meetings/{SID}")
