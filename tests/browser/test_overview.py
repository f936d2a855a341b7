"""Test the overview as operators use it: in a browser, live, by mouse, by keyboard and on a
phone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.product import Product
from tests.browser.accessibility import grave_findings
from tests.browser.faults import frozen
from tests.browser.tab import PHONE, WAIT_MS, WIDE, OpenTab, Tab, listening

expect.set_options(timeout=WAIT_MS)


@pytest.fixture
def sid(product: Product) -> Iterator[str]:
    """Return a full meeting of 10 links, for the tests of this module."""
    product.put("looked-at", min_fresh=10, cover_seconds=0)
    yield "looked-at"
    product.api("POST", "/v1/meetings/looked-at/resume", json={})


def row_of(page: Page, sid: str) -> Locator:
    """Return the row of a meeting."""
    return page.locator(f'[data-sid="{sid}"]')


def test_nobody_gets_in_without_a_good_key(tab: Tab) -> None:
    """A wrong key is refused with the reason, and the page stays shut."""
    page = tab.open("/ops?state=low")
    page.get_by_label("API key").fill("lp_00000000_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("this API key is unknown, revoked or expired")
    # That the browser notes the refusal is not the page's doing.
    assert all("401" in said for said in tab.console)
    tab.console.clear()
    page.get_by_label("API key").fill(tab.product.key)
    page.get_by_label("API key").press("Enter")
    expect(page).to_have_url(f"{tab.product.url}/ops?state=low")


def test_signing_out_asks_for_a_key_again(tab: Tab) -> None:
    """After signing out, the page and its address ask for a key again."""
    page = tab.sign_in()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    tab.open("/ops")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_level_is_seen_to_fall_and_to_recover(tab: Tab, sid: str) -> None:
    """Without a reload the page shows the pool full, empty and full again."""
    page = tab.sign_in()
    tab.live()
    row = row_of(page, sid)
    level, bar = row.locator(".level strong"), row.locator(".bar .fill")
    expect(level).to_have_text("10")
    expect(bar).to_have_attribute("width", "100.0")
    with tab.product.turned(fail_status=422, fail_meeting=sid):
        for number in range(10):
            tab.product.claim(sid, f"visitor-{number}")
        expect(level).to_have_text("0")
        expect(bar).to_have_attribute("width", "0.0")
        expect(row.locator(".badge")).to_have_text(re.compile("empty|blocked"))
        expect(page.locator("#said")).to_contain_text(f"{sid} is now")
        expect(page.locator("#lead")).to_have_text(re.compile("empty|blocked"))
    tab.product.api("POST", f"/v1/meetings/{sid}/top-up", json={})
    expect(level).to_have_text("10")
    expect(row.locator(".badge")).to_have_text("ok")


def test_what_has_the_focus_keeps_it_while_rows_change(tab: Tab, sid: str) -> None:
    """An update does not send a keyboard user back to the top."""
    page = tab.sign_in()
    tab.live()
    link = row_of(page, sid).get_by_role("link")
    link.focus()
    tab.product.api("POST", f"/v1/meetings/{sid}/pause", json={"reason": "lunch"})
    expect(row_of(page, sid)).to_contain_text("lunch")
    expect(link).to_be_focused()


def test_a_paused_page_says_so_and_stands_still(tab: Tab, sid: str) -> None:
    """A paused page says so prominently, and nothing moves until it is resumed."""
    page = tab.sign_in()
    tab.live()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#trouble")).to_contain_text("Paused")
    tab.product.api("POST", f"/v1/meetings/{sid}/pause", json={"reason": "while paused"})
    expect(page.locator("#live-words")).to_have_text(re.compile("paused, [3-9] s old"))
    expect(row_of(page, sid)).not_to_contain_text("while paused")
    page.get_by_role("button", name="Resume").click()
    expect(row_of(page, sid)).to_contain_text("while paused")
    expect(page.locator("#trouble")).to_be_empty()


def test_a_lost_connection_is_shown_and_mended(tab: Tab) -> None:
    """The page says that it is cut off and how old it is, and then reconnects."""
    # Being offline does not reach shared workers here, so the page has a stream of its own.
    tab.page.add_init_script("delete window.SharedWorker")
    page = tab.sign_in()
    tab.live()
    page.context.set_offline(True)
    # Being offline ends no stream by itself; going to another tab and back opens a new one.
    _look_away_and_back(page)
    expect(page.locator("#trouble")).to_contain_text("Disconnected")
    expect(page.locator("body")).to_have_class(re.compile("stale"))
    page.context.set_offline(False)
    tab.live()
    expect(page.locator("#trouble")).to_be_empty()
    tab.console.clear()  # the browser's own notes about being offline


def test_a_frozen_part_is_shown_on_every_view_and_so_is_its_end(tab: Tab, sid: str) -> None:
    """For the worker, banner, title and icon change; for the API, nothing claims to be current."""
    page = tab.sign_in()
    tab.live()
    for path in ("/ops", f"/ops/meetings/{sid}"):
        tab.open(path)
        tab.live()
        with frozen(tab.product, "worker"):
            expect(page.locator("#banner .silent")).to_contain_text("No worker is running")
            expect(page).to_have_title(re.compile(r"worker silent\)"))
            expect(page.locator("#icon")).to_have_attribute("href", re.compile("icon_bad"))
        expect(page.locator("#banner .over")).to_contain_text("No worker was running for")
        expect(page.locator("#banner .silent")).to_have_count(0)
    with frozen(tab.product, "api"):
        expect(page.locator("#trouble")).to_contain_text("Disconnected")
        expect(page.locator("body")).to_have_class(re.compile("stale"))
        expect(page).to_have_title(re.compile(r"^\(no contact\)"))
    tab.live()
    expect(page.locator("#trouble")).to_be_empty()


def test_a_hidden_tab_keeps_its_title_and_icon_true(tab: Tab) -> None:
    """It requests nothing else, and shows everything as soon as it is visible again."""
    page = tab.sign_in()
    tab.live()
    rows = page.locator("#rows tr").count()
    assert rows
    _hide(page, hidden=True)
    expect(page.locator("#live")).not_to_have_class(re.compile(r"\bon\b"))
    with frozen(tab.product, "worker"):
        expect(page).to_have_title(re.compile(r"worker silent\)"))
        expect(page.locator("#icon")).to_have_attribute("href", re.compile("icon_bad"))
        expect(page.locator("#banner .silent")).to_have_count(0)
    expect(page).not_to_have_title(re.compile("worker silent"))
    assert page.locator("#rows tr").count() == rows
    with frozen(tab.product, "api"):
        expect(page).to_have_title(re.compile(r"^\(no contact\)"))
    expect(page).not_to_have_title(re.compile("no contact"))
    _hide(page, hidden=False)
    tab.live()
    expect(page.locator("#banner .over")).to_contain_text("No worker was running for")


def _hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def _look_away_and_back(page: Page) -> None:
    _hide(page, hidden=True)
    _hide(page, hidden=False)


def test_a_revoked_key_is_shut_out_of_an_open_page(tab: Tab) -> None:
    """The page shuts within seconds without any click."""
    key = tab.product.new_key("--scope", "read")
    page = tab.sign_in(key)
    tab.live()
    assert tab.product.command("keys", "revoke", key[3:11]).returncode == 0
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_it_works_without_javascript(open_tab: OpenTab, sid: str) -> None:
    """Rows, filters and signing out are plain HTML, and the page reloads at an interval."""
    tab = open_tab(script=False)
    page = tab.sign_in()
    expect(row_of(page, sid)).to_contain_text("of 10")
    page.get_by_role("navigation", name="Filter").get_by_role("link", name="ok").click()
    expect(page).to_have_url(re.compile("state=ok"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_nobody_is_shut_out(tab: Tab, sid: str) -> None:
    """axe finds nothing serious in both themes, wide and on a phone, well and paused."""
    page = tab.open("/ops/sign-in")
    assert grave_findings(page) == []
    tab.sign_in()
    tab.live()
    tab.product.api("POST", f"/v1/meetings/{sid}/pause", json={"reason": "as a test"})
    expect(row_of(page, sid)).to_contain_text("as a test")
    assert grave_findings(page) == []
    page.get_by_role("button", name="Pause").click()
    # A row that has just changed is lit for a moment; in what follows colours are at rest.
    page.evaluate(
        "Promise.allSettled(document.getAnimations().map((each) => each.finished)).then(() => 0)"
    )
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for size in (WIDE, PHONE):
            page.set_viewport_size(size)
            assert grave_findings(page) == [], (theme, size)


def test_a_phone_needs_no_sideways_scrolling(open_tab: OpenTab, sid: str) -> None:
    """Nothing is wider than the screen, and a pool takes two or three short lines."""
    tab = open_tab(phone=True)
    page = tab.sign_in()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(row_of(page, sid)).to_have_class(re.compile(r"^ok\b"))  # a reason is a third line
    row = row_of(page, sid).bounding_box()
    assert row is not None
    assert row["width"] > 340
    assert row["height"] < 50
    tab.product.api("POST", f"/v1/meetings/{sid}/pause", json={"reason": "The calendar is wrong"})
    expect(row_of(page, sid).locator(".reason")).to_contain_text("The calendar is wrong")
    paused = row_of(page, sid).bounding_box()
    assert paused is not None
    assert paused["height"] < 61, "31 pools with their reasons would be longer than 1,900 pixels"


def test_the_keyboard_is_enough(tab: Tab, sid: str) -> None:
    """The keyboard alone signs in, skips to the content, pauses, filters and opens a meeting."""
    page = tab.open("/ops")
    page.get_by_label("API key").focus()
    page.keyboard.type(tab.product.key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Pools").wait_for()
    listening(page).keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
    page.keyboard.press("Space")
    _tab_to(page, page.get_by_role("searchbox"))
    page.keyboard.type(sid)
    page.keyboard.press("Enter")
    expect(page.locator("[data-sid]")).to_have_count(1)
    _tab_to(listening(page), row_of(page, sid).get_by_role("link"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{tab.product.url}/ops/meetings/{sid}")
    tab.console.clear()  # until that view is there


def test_pools_are_searched_filtered_and_paged(tab: Tab) -> None:
    """More meetings than a page holds are shown in pages, and each choice has an address of its
    own.
    """
    product = tab.product
    for number in range(55):
        product.put(f"many-{number:02}", fill=False, min_fresh=1, cover_seconds=0)
    page = tab.sign_in()
    page.get_by_role("searchbox").fill("MANY-")
    page.get_by_role("searchbox").press("Enter")
    expect(page).to_have_url(f"{product.url}/ops?q=MANY-")
    expect(page.locator("[data-sid]")).to_have_count(50)
    expect(page.locator("#pages")).to_contain_text("50 of 55")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("[data-sid]")).to_have_count(5)
    tab.live()  # and what is streamed is this page, too
    expect(page.locator("[data-sid]")).to_have_count(5)
    product.api("POST", "/v1/meetings/many-07/pause", json={})
    tab.open("/ops?state=paused&q=many")
    expect(page.locator("[data-sid]")).to_have_count(1)
    tab.open("/ops?q=nothing-like-it")
    expect(page.get_by_text("No pools match")).to_be_visible()


def test_chosen_pools_are_paused_together(tab: Tab, sid: str) -> None:
    """Chosen rows stay where they are, and pausing two is confirmed first."""
    product = tab.product
    product.put("looked-at-too", fill=False, min_fresh=1, cover_seconds=0)
    page = tab.sign_in(at="/ops?q=looked-at")
    tab.live()
    for each in (sid, "looked-at-too"):
        page.get_by_label(f"Choose {each}", exact=True).check()
    expect(page.locator("#chosen-count")).to_have_text("2 chosen")
    page.get_by_label("Reason").fill("both at once")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Pause 2 pools").click()
    expect(page.locator(".flash")).to_contain_text("Paused 2 pools")
    expect(row_of(page, sid)).to_contain_text("both at once")
    tab.live()
    page.get_by_label(f"Choose {sid}", exact=True).check()
    order = "[...document.querySelectorAll('#rows tr')].map(row => row.dataset.sid)"
    before = page.evaluate(order)
    product.api("POST", "/v1/meetings/looked-at-too/resume", json={})
    expect(row_of(page, "looked-at-too").locator(".badge")).not_to_have_text("paused")
    assert page.evaluate(order) == before
    expect(page.get_by_label(f"Choose {sid}", exact=True)).to_be_checked()


def _tab_to(page: Page, target: Locator) -> None:
    for _ in range(40):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("not reached by Tab")


def test_a_page_without_a_shared_stream_opens_its_own(tab: Tab, sid: str) -> None:
    """A page whose shared worker never answers opens a stream itself, and its rows change live."""
    page, asked = tab.page, []
    page.add_init_script("window.SharedWorker = class { port = new MessageChannel().port1 }")
    page.on("request", lambda request: asked.append(request.url))
    tab.sign_in()
    tab.live()
    # Requests of a shared worker are none of the page's.
    assert any("/ops/stream?" in url for url in asked), asked
    tab.product.api("POST", f"/v1/meetings/{sid}/pause", json={})
    expect(row_of(page, sid).locator(".badge")).to_have_text("paused")
