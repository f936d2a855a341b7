"""Test the operators' work by keyboard alone: the search, the shortcuts, and the commonest
tasks.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.product import Product, wait_until
from tests.browser.accessibility import grave_findings
from tests.browser.tab import PHONE, WAIT_MS, WIDE, OpenTab, Tab, listening
from tests.browser.test_views import unmatched

expect.set_options(timeout=WAIT_MS)

SID = "by-keyboard"


@pytest.fixture(scope="module")
def slug(shared_product: Product) -> str:
    """Return a customer's link of a full meeting."""
    shared_product.put(SID, min_fresh=10, cover_seconds=0)
    slug = shared_product.slug(SID, "order-by-keyboard", email="ada@example.com")
    wait_until(lambda: shared_product.link(slug).get("customer_id"), 10, what="it is recorded")
    return slug


def press(page: Page, *keys: str) -> None:
    """Press keys, once the page listens to them."""
    listening(page)
    for key in keys:
        page.keyboard.press(key)


def search(page: Page, words: str, wanted: str) -> None:
    """Open the search, type, and choose this result with the arrows."""
    press(page, "/")
    expect(page.locator("#palette")).to_be_visible()
    page.keyboard.type(words)
    expect(page.locator("#palette-said")).to_contain_text("results in all")
    option = page.get_by_role("option", name=re.compile(wanted)).first
    expect(option).to_be_visible()
    for _ in range(30):
        if option.get_attribute("aria-selected") == "true":
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#palette")).to_be_hidden()


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, which must then be visible."""
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
        page.keyboard.press("Tab")
    raise AssertionError("not reached by Tab")


def test_the_five_commonest_tasks_need_no_mouse(tab: Tab, slug: str) -> None:
    """They are to look at a pool, pause it, resume it, find a customer's link, and replay an
    event.
    """
    event = unmatched(tab.product, "bk-by-keyboard", "nobody@example.com")
    page = tab.sign_in()
    search(page, "by-key", f"^{SID}")
    expect(page).to_have_url(f"{tab.product.url}/ops/meetings/{SID}")
    for action, done in (("Pause", "Paused."), ("Resume", "Resumed.")):
        search(page, action.lower(), f"^{action}…")
        page.keyboard.type(f"{action} by keyboard")  # the field for the reason has the focus
        page.keyboard.press("Enter")
        expect(page.locator(".flash")).to_contain_text(done)
    search(page, "order-by-keyboard", "^Find “order-by-keyboard”")
    expect(page.locator(".timeline")).to_contain_text("Claimed by the customer")
    assert page.url == f"{tab.product.url}/ops/find", "a customer id is in no address"
    press(page, "g", "i")
    expect(page.get_by_role("heading", name="Inbox", level=1)).to_be_visible()
    tab_to(page, page.locator(f'a[href$="/{event}"]'))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Replay", exact=True))
    page.keyboard.press("Enter")
    expect(page.locator(".flash")).to_contain_text("Replayed")


def test_shortcuts_are_listed_keep_out_of_fields_and_can_be_switched_off(tab: Tab) -> None:
    """WCAG 2.1.4 requires this; Ctrl and K works all the same, and the choice is remembered."""
    page = tab.sign_in()
    press(page, "?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("Inbox")
    for theme, size in (("light", WIDE), ("dark", PHONE)):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_viewport_size(size)
        assert grave_findings(page) == []
    page.get_by_role("checkbox", name="Use shortcuts of single keys").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.reload()
    for key in "?/":
        press(page, key)
        expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Search")).to_be_visible()
    expect(page.locator("#palette-text")).to_be_focused()
    assert grave_findings(page) == []
    page.keyboard.press("Escape")
    page.evaluate("localStorage.clear()")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("g/?i")
    expect(page.get_by_role("searchbox")).to_have_value("g/?i")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_filter_is_saved_found_and_forgotten(tab: Tab, slug: str) -> None:
    """It is kept in this browser and as an address; another browser of the same key does not see
    it.
    """
    page = tab.sign_in(at=f"/ops?q={SID}&page=1")
    page.get_by_text("Save this filter…").click()
    page.get_by_label("Name of the filter").fill("Mine <b>")
    page.keyboard.press("Enter")
    link = page.get_by_role("navigation", name="Saved filters").get_by_role("link", name="Mine <b>")
    expect(link).to_be_focused()
    assert grave_findings(page) == []
    tab.open("/ops")
    search(page, "mine", "^Mine")
    expect(page).to_have_url(f"{tab.product.url}/ops?q={SID}")
    page.get_by_role("button", name="Forget the filter Mine <b>").click()
    expect(link).to_have_count(0)


def test_a_theme_is_chosen_and_stays(open_tab: OpenTab) -> None:
    """The page is served in the theme, so nothing flashes; the system's theme is one of the
    choices.
    """
    tab = open_tab(dark=True)
    page = tab.sign_in()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light").click()
    expect(page.get_by_role("button", name="Light")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    cookies = page.context.cookies
    wait_until(lambda: any(each["value"] == "light" for each in cookies()))  # type: ignore[typeddict-item]
    answer = page.goto(f"{tab.product.url}/ops/history")
    assert answer is not None
    assert 'data-theme="light"' in answer.text()
    assert grave_findings(page) == []
    page.get_by_role("button", name="System").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_what_is_needed_elsewhere_is_copied(tab: Tab, slug: str) -> None:
    """A button copies a SID, a link's slug or its address, and says so."""
    page = tab.sign_in()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for path, name, text in (
        (f"/ops/meetings/{SID}", "Copy SID", SID),
        (f"/ops/links/{slug}", "Copy slug", slug),
        (f"/ops/links/{slug}", "Copy the link's address", str(tab.product.link(slug)["url"])),
    ):
        tab.open(path)
        page.get_by_role("button", name=name).click()
        expect(page.locator("#said")).to_have_text(f"Copied {name.removeprefix('Copy ')}.")
        assert page.evaluate("navigator.clipboard.readText()") == text
