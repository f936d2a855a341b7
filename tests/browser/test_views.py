"""Test the views behind the overview, as operators use them, by mouse and keyboard."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.product import Product, signed, wait_until
from tests.browser.accessibility import grave_findings
from tests.browser.tab import WAIT_MS, OpenTab, Tab, listening

expect.set_options(timeout=WAIT_MS)

HELD = "order-4711"


@pytest.fixture(scope="module")
def sid(shared_product: Product) -> str:
    """Return a full meeting of 10 links, with one customer and bookings that match nothing."""
    shared_product.put("viewed", min_fresh=10, cover_seconds=0)
    slug = shared_product.slug("viewed", HELD, email="ida@example.com")
    for customer, email in (("4712", "ida"), ("4713", "kim"), ("4714", "kim")):
        shared_product.slug("viewed", f"order-{customer}", email=f"{email}@example.com")
    wait_until(lambda: shared_product.link(slug).get("customer_id"), 10, what="it is recorded")
    return "viewed"


def unmatched(product: Product, booking: str, email: str = "kim@example.com") -> str:
    """Send a booking with an e-mail of two customers. Return its event, once it was processed."""
    said = {"sid": booking, "email": email, "meeting": {"sid": "viewed"}}
    body = json.dumps({"event": "booking_created", "booking": said}).encode()
    answer = product.api(
        "POST", "/v1/webhooks/default", key="", content=body, headers=signed(product, body)
    )
    event_id: str = answer.json()["event_id"]

    def looked_at() -> bool:
        events = product.api("GET", "/v1/events", params={"state": "unmatched"}).json()["events"]
        return event_id in [each["id"] for each in events]

    wait_until(looked_at, 15, what="the event was looked at")
    return event_id


def said(page: Page) -> str:
    """Return the message of the page about the last action."""
    return page.locator(".flash").inner_text()


def act_with_a_reason(page: Page, action: str, reason: str) -> None:
    """Open an action and do it. Without a reason the browser itself does not send the form."""
    page.get_by_text(f"{action}…").click()
    page.get_by_role("button", name=action).click()
    expect(page.locator("input:invalid:visible")).to_be_focused()
    page.get_by_label("Reason").locator("visible=true").fill(reason)
    page.get_by_role("button", name=action).click()


def test_a_pool_is_paused_and_resumed_with_a_reason(tab: Tab, sid: str) -> None:
    """Each action asks for a reason, reports its outcome, and stands among the latest actions."""
    page = tab.sign_in(at=f"/ops/meetings/{sid}")
    act_with_a_reason(page, "Pause", "wrong calendar")
    expect(page.locator("#state")).to_have_text("paused")
    assert said(page).startswith("Paused.")
    expect(page.locator("#why .reason")).to_have_text("wrong calendar")
    expect(page.locator(".acts")).to_contain_text("wrong calendar")
    assert tab.product.claim(sid, "somebody new").status_code == 503
    page.get_by_text("Resume…").click()
    page.get_by_label("Reason").locator("visible=true").fill("right again")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("ok")
    assert said(page).startswith("Resumed.")
    page.reload()
    expect(page.locator(".flash")).to_have_count(0)


def test_the_view_of_a_meeting_follows_by_itself(tab: Tab, sid: str) -> None:
    """The content is replaced while a form is open, and the typed text stays."""
    tab.page.clock.install()
    page = tab.sign_in(at=f"/ops/meetings/{sid}")
    # A meeting that was just added has no past to draw for some seconds.
    wait_until(lambda: page.reload() and page.locator(".chart").count() == 4, 30, every=0.5)
    page.get_by_text("Top up now…").click()
    reason = page.get_by_label("Reason").locator("visible=true")
    reason.fill("half a sentence")
    page.evaluate("document.querySelector('#now strong').textContent = 'old'")
    page.clock.run_for(11_000)
    expect(page.locator("#now strong").first).to_have_text(re.compile(r"^\d+$"))
    expect(reason).to_have_value("half a sentence")


def test_settings_say_what_they_would_mean_and_are_undone(tab: Tab) -> None:
    """The meaning is shown while typing, an error stands beside its field, and a change can be
    undone.
    """
    tab.product.put("assisted", min_fresh=5, cover_seconds=0)
    page = tab.sign_in(at="/ops/meetings/assisted")
    page.get_by_text("Change settings…").click()
    minimum, cover = page.get_by_label("Minimum"), page.get_by_label("Cover")
    minimum.fill("0")
    expect(page.locator("#typed-meanings")).to_contain_text("With a minimum of 0")
    cover.fill("soon")
    page.locator("#why-settings").fill("half done")
    page.get_by_role("button", name="Save settings").click()
    expect(cover).to_have_value("soon")
    expect(cover).to_have_accessible_description(re.compile("is no length of time"))
    expect(page.locator("#why-settings")).to_have_value("half done")
    assert grave_findings(page) == []
    cover.fill("2 min")
    minimum.fill("6")
    page.get_by_role("button", name="Save settings").click()
    expect(page.locator(".settings")).to_contain_text("2 min")
    page.get_by_role("button", name="Undo this change").click()
    expect(page.locator(".flash")).to_contain_text("Undone: Cover, Minimum.")
    assert tab.product.meeting("assisted")["min_fresh"] == 5


def test_a_word_is_explained_by_keyboard(tab: Tab, sid: str) -> None:
    """Enter opens the explanation, also while the page changes, and Escape closes it."""
    page = listening(tab.sign_in(at=f"/ops/meetings/{sid}"))
    tab.live()
    page.get_by_role("button", name="Runway").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#word-runway")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#word-runway")).to_be_hidden()


def test_a_drain_wants_the_sid_typed(tab: Tab) -> None:
    """The page says how many links go, refuses another word, and then retires exactly those."""
    tab.product.put("to-drain", min_fresh=7, cover_seconds=0)
    tab.product.api("POST", "/v1/meetings/to-drain/pause", json={"reason": "before a drain"})
    page = tab.sign_in(at="/ops/meetings/to-drain")
    page.get_by_role("link", name="Drain…").click()
    expect(page.get_by_text("This retires 7 fresh links")).to_be_visible()
    for typed, answer in (("to-brain", "not the SID"), ("to-drain", "Drained: 7 links retired.")):
        page.get_by_label("Type the SID").fill(typed)
        page.get_by_label("Reason").fill("made with the wrong duration")
        page.get_by_role("button", name="Retire 7 links").click()
        expect(page.locator(".flash")).to_contain_text(answer)
    assert tab.product.meeting("to-drain")["fresh"] == 0


def test_a_customer_is_found_without_being_named_in_an_address(tab: Tab, sid: str) -> None:
    """Link and history are shown, and the address, which ends up in logs, names neither."""
    tab.sign_in()
    page = tab.page
    page.get_by_role("link", name="Find").click()
    expect(page.get_by_label("Customer id")).to_be_focused()
    page.keyboard.type(HELD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("1 link found.")
    expect(page.locator(".timeline")).to_contain_text("Claimed by the customer")
    assert page.url == f"{tab.product.url}/ops/find"
    page.get_by_label("Customer id").fill("order-0000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()


def test_an_unmatched_booking_is_replayed_and_assigned(tab: Tab, sid: str) -> None:
    """The replay says why it still matches none, and one click assigns it to a candidate."""
    unmatched(tab.product, "bk-browser", "ida@example.com")
    tab.sign_in()
    page = tab.page
    page.get_by_role("link", name="Inbox").click()
    page.get_by_role("link", name=re.compile("^Unmatched")).click()
    page.locator(".events th a").first.click()
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".flash")).to_contain_text("several claims gave its e-mail")
    slug = tab.product.slug(sid, HELD)
    page.get_by_role("button", name=f"Assign to {slug}").click()
    expect(page.locator(".flash")).to_contain_text("Assigned. The event is settled.")
    expect(page.locator(".reason")).to_have_text("Matched by an operator.")
    assert tab.product.link(slug)["state"] == "consumed"
    page.get_by_role("link", name=slug).first.click()
    expect(page.locator(".timeline")).to_contain_text("Event assigned to this link")
    expect(page.get_by_role("button", name="Assign")).to_have_count(0)


def test_a_burnt_link_is_replaced(tab: Tab, sid: str) -> None:
    """The action asks for a reason, reports its outcome, and is not offered for that link again."""
    burnt = tab.product.slug(sid, "order-burnt")
    wait_until(lambda: tab.product.link(burnt).get("customer_id"), 10, what="it is recorded")
    page = tab.sign_in(at=f"/ops/links/{burnt}")
    act_with_a_reason(page, "Replace", "expired at the provider")
    expect(page.locator(".flash")).to_contain_text("Replaced")
    expect(page.locator(".timeline")).to_contain_text("expired at the provider")
    expect(page.get_by_text("Replace…")).to_have_count(0)
    assert tab.product.slug(sid, "order-burnt") != burnt
    assert tab.product.link(burnt)["state"] == "retired"


def test_a_read_only_key_is_offered_nothing_to_do(tab: Tab, sid: str) -> None:
    """It sees the same content without any action."""
    event_id = unmatched(tab.product, "bk-read-only")
    tab.sign_in(tab.product.new_key("--scope", "read"))
    page = tab.page
    for path in (f"/ops/meetings/{sid}", f"/ops/inbox/{event_id}", "/ops/audit", "/ops/inbox"):
        tab.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("main form[method=post]:not([role=search])")).to_have_count(0)
    expect(page.get_by_role("link", name="Keys")).to_have_count(0)


def test_a_meeting_is_paused_by_keyboard_alone(tab: Tab, sid: str) -> None:
    """Tab, Enter and typing are enough, and the focus is always visible."""
    page = listening(tab.sign_in(at=f"/ops/meetings/{sid}"))
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Pause…":
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("paused")
    tab.product.api("POST", f"/v1/meetings/{sid}/resume", json={})


def test_a_key_is_made_without_a_script(open_tab: OpenTab) -> None:
    """With scripts turned off, every form still works."""
    tab = open_tab(script=False)
    page = tab.open("/ops")
    page.get_by_label("API key").fill(tab.product.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    tab.open("/ops/keys")
    page.get_by_label("Owner").fill("Till")
    page.get_by_role("button", name="Create key").click()
    key = page.locator(".secret").inner_text()
    assert re.fullmatch(r"lp_[0-9a-f]{8}_[\w-]{32,}", key)
    tab.open("/ops/keys")
    assert key not in page.content()
    page.get_by_label("Revoke Till…").click()
    page.get_by_label("Reason").locator("visible=true").fill("a test")
    page.get_by_role("button", name="Revoke key").locator("visible=true").click()
    expect(page.locator(".flash")).to_contain_text("stops working within 5 seconds")


def test_chosen_events_stay_chosen_while_others_arrive_and_are_replayed(tab: Tab) -> None:
    """The inbox is live, and a test delivery takes the way of a webhook and leaves nothing in
    it.
    """
    chosen = unmatched(tab.product, "bk-chosen")
    page = tab.sign_in(at="/ops/inbox?state=unmatched")
    page.locator(f"[name=pick-{chosen}]").check()
    later = unmatched(tab.product, "bk-later")
    page.locator(f"[name=pick-{later}]").wait_for()
    expect(page.locator(f"[name=pick-{chosen}]")).to_be_checked()
    # Rows are written anew every two seconds, and never with the server's times for a moment.
    received = page.evaluate(
        "() => new Promise((is) => document.addEventListener('linkpool-arranged',"
        " () => is(document.querySelector('#rows [data-clock]').textContent)))"
    )
    assert "UTC" not in received
    page.get_by_text("Replay several…").click()
    page.get_by_label("Reason").locator("visible=true").fill("the meeting was added")
    page.get_by_role("button", name="Replay the chosen events (1)").click()
    expect(page.locator(".flash")).to_contain_text("Replaying 1 event.")
    page.get_by_role("button", name="Send a test delivery").click()
    expect(page.locator(".flash")).to_contain_text("/v1/webhooks/default: accepted in")
    kept = tab.product.rows("SELECT count(*) FROM inbox WHERE event = 'linkpool_test'")
    assert kept[0][0] == 0


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (True, True)])
def test_every_view_is_for_everybody(
    open_tab: OpenTab, sid: str, *, dark: bool, phone: bool
) -> None:
    """In light, dark and on a phone, axe finds nothing grave and nothing exceeds the screen's
    width.
    """
    tab = open_tab(dark=dark, phone=phone)
    event_id = unmatched(tab.product, f"bk-axe-{dark}-{phone}")
    tab.sign_in()
    page = tab.page
    width = page.viewport_size["width"] if page.viewport_size else 0
    slug = tab.product.slug(sid, "order-4712")
    for path in (
        f"/ops/meetings/{sid}",
        f"/ops/meetings/{sid}/drain",
        "/ops/find",
        f"/ops/links/{slug}",
        "/ops/inbox",
        f"/ops/inbox/{event_id}",
        "/ops/audit",
        "/ops/history?span=10min",
        "/ops/add",
        "/ops/keys",
    ):
        tab.open(path)
        for details in page.locator("main details").all():
            details.evaluate("each => { each.open = true }")
        assert grave_findings(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
