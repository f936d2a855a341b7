"""Test the tag in a browser: when it claims, what it shows, and what it leaves behind."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.accessibility import grave_findings
from tests.browser.embed_page import EmbedPage, OpenEmbed
from tests.browser.embed_stage import NONCE, Stage, problem, strict_policy
from tests.browser.tab import WAIT_MS

expect.set_options(timeout=WAIT_MS)

TALL = '<div style="height:4000px"></div>'
BOOKING = {
    "sid": "bk-1",
    "starts_at": "2030-03-01T09:00:00Z",
    "ends_at": "2030-03-01T09:30:00Z",
    "time_zone": "Europe/Berlin",
    "manage_url": "https://acme.neetocal.example/bookings/bk-1",
}


def booked(stage: Stage, token: str = "token-of-ada", **booking: Any) -> None:
    """Give the customer of this token a booking."""
    stage.linkpool.links[token] = "one-off-booked"
    stage.linkpool.consumed.add("one-off-booked")
    stage.linkpool.booking = BOOKING | booking


def test_a_script_tag_shows_the_visitors_link(stage: Stage, open_embed: OpenEmbed) -> None:
    """The tag becomes the element, claims once, and moves nothing that stands below it."""
    tab = open_embed(stage.page(stage.tag(data_prefill_name="Zoë <&>") + "<p>Below</p>"))
    tab.state("ready")
    expect(tab.frame.get_by_role("heading")).to_have_text("Pick a time")
    assert tab.events() == ["claimed", "ready"]
    assert tab.details("claimed") == [{"meeting": "demo", "state": "claimed"}]
    assert tab.page.locator("script[data-token]").count() == 0
    assert stage.linkpool.asked == [{"token": "token-of-ada"}]
    frame = tab.page.locator("linkpool-embed iframe")
    assert (
        frame.get_attribute("src") == f"{stage.api}/one-off-1?name=Zo%C3%AB+%3C%26%3E&ref=one-off-1"
    )
    assert frame.get_attribute("title") == "Calendar"
    expect(tab.part("base")).to_have_attribute("aria-busy", "false")
    assert grave_findings(tab.page) == []
    tab.calm()


def test_two_on_a_page_load_the_providers_script_once(stage: Stage, open_embed: OpenEmbed) -> None:
    """Each has a link and a frame of its own, and the same question is asked once."""
    tags = [stage.tag(data_token=token) for token in ("ada", "bob", "ada")]
    tab = open_embed(stage.page("".join(tags)))
    for nth in range(3):
        tab.embed.nth(nth).scroll_into_view_if_needed()
        tab.state("ready", nth)
    assert tab.page.locator("iframe").count() == 3
    assert stage.linkpool.hits["GET /javascript/embed.js"] == 1
    assert sorted(stage.linkpool.links) == ["ada", "bob"]  # in whichever order they were asked
    tab.calm()


def test_a_module_imports_the_tag(stage: Stage, open_embed: OpenEmbed) -> None:
    """A hand-written element finds its linkpool by the address of the module."""
    tab = open_embed(
        stage.page(
            '<linkpool-embed meeting="demo" token="ada"></linkpool-embed>'
            f'<script type="module">import "{stage.api}/embed.js";</script>',
            head="<style>linkpool-embed{display:block;min-height:44rem}</style>",
        )
    )
    tab.state("ready")
    assert stage.linkpool.asked == [{"token": "ada"}]
    tab.calm()


def test_nothing_is_claimed_for_a_visitor_who_never_scrolls_there(
    stage: Stage, open_embed: OpenEmbed
) -> None:
    """Jumping over the element claims nothing either; it claims once when it comes near."""
    tab = open_embed(stage.page(TALL + stage.tag() + TALL))
    tab.state("idle")
    tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    tab.page.evaluate("new Promise((done) => setTimeout(done, 400))")
    # Fast, through it: it is in view for a frame or two.
    tab.page.evaluate(
        """() => new Promise((done) => {
          let at = document.body.scrollHeight;
          const step = () => {
            scrollTo(0, at -= 2500);
            at > 0 ? requestAnimationFrame(step) : done();
          };
          step();
        })"""
    )
    tab.page.evaluate("new Promise((done) => setTimeout(done, 400))")
    assert stage.linkpool.asked == []
    assert stage.linkpool.hits["GET /javascript/embed.js"] == 0
    tab.embed.scroll_into_view_if_needed()
    tab.state("ready")
    assert len(stage.linkpool.asked) == 1
    tab.calm()


@pytest.mark.parametrize(
    ("before", "style", "claims"),
    [
        ("", "", True),
        (TALL, "", False),
        ("", "display:none", False),
        ("", "margin-left:200vw", False),
        ('<div style="position:fixed;inset:0;background:#fff">We use cookies</div>', "", False),
    ],
    ids=["in sight", "below", "hidden", "beside the page", "covered"],
)
def test_what_is_in_sight_as_the_page_opens_waits_for_no_observer(
    stage: Stage, open_embed: OpenEmbed, before: str, style: str, claims: bool
) -> None:
    """The page was painted before the script came.

    The observer of everything else is silent in this test.
    """
    tag = stage.tag(style=f"display:block;height:44rem;{style}")
    url = stage.page(before + tag)
    tab = open_embed()
    tab.page.add_init_script("IntersectionObserver.prototype.observe = () => {};")
    held: list[Route] = []
    tab.page.route("**/embed.js", lambda route: held.append(route), times=1)
    tab.page.goto(url, wait_until="commit")
    tab.page.wait_for_function("performance.getEntriesByType('paint').length && 1")
    held[0].continue_()
    tab.state("ready" if claims else "idle")
    assert len(stage.linkpool.asked) == claims
    tab.calm()


def test_it_waits_for_a_click(stage: Stage, open_embed: OpenEmbed) -> None:
    """A visitor who presses the button by keyboard has the focus in the calendar afterwards."""
    tab = open_embed(stage.page(stage.tag(data_load="click", data_text_button="Termin wählen")))
    button = tab.page.get_by_role("button", name="Termin wählen")
    button.focus()
    assert stage.linkpool.asked == []
    tab.page.keyboard.press("Enter")
    tab.state("ready")
    expect(tab.page.locator("linkpool-embed iframe")).to_be_focused()
    assert len(stage.linkpool.asked) == 1
    tab.calm()


def test_it_waits_until_it_is_called(stage: Stage, open_embed: OpenEmbed) -> None:
    """The element stands behind a consent banner; `load` stays a method when a framework sets
    it.
    """
    tab = open_embed(stage.page(stage.tag(data_load="manual")))
    tab.state("idle")
    assert stage.linkpool.hits.keys() == {"GET /embed.js"}
    tab.page.evaluate("document.querySelector('linkpool-embed').load = 'manual'")
    tab.page.evaluate("document.querySelector('linkpool-embed').load()")
    tab.state("ready")
    assert len(stage.linkpool.asked) == 1


def test_it_claims_at_once_where_that_is_asked_for(stage: Stage, open_embed: OpenEmbed) -> None:
    """The element claims far below the visible part of the page."""
    tab = open_embed(stage.page(TALL + stage.tag(data_load="now")))
    tab.state("ready")
    assert len(stage.linkpool.asked) == 1
    assert tab.page.evaluate("scrollY") == 0


def test_a_slip_in_an_attribute_does_not_hide_the_calendar(
    stage: Stage, open_embed: OpenEmbed
) -> None:
    """An unknown word in `load` counts as none, and an attribute name that is invalid is left
    out.
    """
    slips = {"data_load": "lazy", "data_1p_ignore": "", "data_-": "x"}
    tab = open_embed(stage.page(stage.tag(**slips)))
    tab.state("ready")
    assert len(stage.linkpool.asked) == 1
    tab.calm()


def test_who_has_booked_sees_that(stage: Stage, open_embed: OpenEmbed) -> None:
    """The time is shown in the page's language and the booking's own zone, and no frame is
    loaded.
    """
    booked(stage)
    body = stage.tag(data_text_booked="Gebucht!", data_text_manage="Ändern")
    tab = open_embed(stage.page(f'<div lang="de">{body}</div>'))
    tab.state("booked")
    expect(tab.part("booked")).to_contain_text("Gebucht!")
    expect(tab.part("time")).to_have_text("Freitag, 1. März 2030 um 10:00")
    expect(tab.page.get_by_role("link", name="Ändern")).to_have_attribute(
        "href", BOOKING["manage_url"]
    )
    assert tab.page.locator("iframe").count() == 0
    assert tab.details("booked") == [
        {"meeting": "demo", "starts_at": BOOKING["starts_at"], "ends_at": BOOKING["ends_at"]}
    ]
    assert grave_findings(tab.page) == []
    tab.calm()


def test_a_booking_in_the_frame_is_noticed(stage: Stage, open_embed: OpenEmbed) -> None:
    """The page gets one event without any secret, and the provider's page stays visible."""
    tab = open_embed(stage.page(stage.tag()))
    stage.linkpool.booking = BOOKING
    tab.frame.get_by_role("button", name="Book").click()
    detail = tab.await_event("booked")
    assert BOOKING["manage_url"] not in json.dumps(detail)
    expect(tab.frame.get_by_role("heading")).to_have_text("Thank you")
    tab.page.reload()
    tab.state("booked")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (problem(401, "invalid-token"), "invalid-token"),
        (problem(403, "forbidden"), "forbidden"),
        (problem(404, "unknown-meeting"), "unknown-meeting"),
    ],
)
def test_what_waiting_does_not_mend_is_not_waited_for(
    stage: Stage, open_embed: OpenEmbed, failure: Any, reason: str
) -> None:
    """The visitor gets the page's own fallback at once."""
    stage.linkpool.failures = [failure]
    tab = open_embed(stage.page(stage.tag(data_fallback_url="/contact")))
    tab.state("unavailable")
    link = tab.page.get_by_role("link", name="Open the booking page")
    assert link.evaluate("link => link.href") == f"{stage.site}/contact"
    assert tab.details("unavailable")[0]["reason"] == reason
    assert len(stage.linkpool.asked) == 1
    assert grave_findings(tab.page) == []
    assert tab.page.evaluate("shifts") == []


@pytest.mark.parametrize("name", ["pool-empty", "pool-paused", "recovering", "rate-limited"])
def test_it_waits_as_it_is_asked_to(stage: Stage, open_embed: OpenEmbed, name: str) -> None:
    """It waits as long as Retry-After says, and then works as usual."""
    status = 429 if name == "rate-limited" else 503
    stage.linkpool.failures = [problem(status, name, retry_after=30)] * 2
    tab = open_embed()
    tab.page.clock.install()
    tab.page.goto(stage.page(stage.tag()))
    for asked in (1, 2):
        tab.state("waiting")
        expect(tab.part("note")).to_have_text("One moment…")
        tab.page.clock.run_for(29_000)
        assert len(stage.linkpool.asked) == asked
        with tab.page.expect_response("**/v1/embed/claims") as answered:
            tab.page.clock.run_for(8_000)
        answered.value.finished()
        tab.page.wait_for_function("true")
    tab.state("ready")
    assert "unavailable" not in tab.events()
    assert tab.page.evaluate("shifts") == []


def test_it_waits_three_times_at_most(stage: Stage, open_embed: OpenEmbed) -> None:
    """After that the meeting's fallback is shown."""
    empty = problem(503, "pool-empty", retry_after=2, fallback_url="https://acme.example/demo")
    stage.linkpool.failures = [empty] * 9
    tab = open_embed()
    tab.page.clock.install()
    tab.page.goto(stage.page(stage.tag()))
    run_until(tab, "unavailable")
    assert len(stage.linkpool.asked) == 4
    link = tab.page.get_by_role("link", name="Open the booking page")
    expect(link).to_have_attribute("href", "https://acme.example/demo")
    assert tab.details("unavailable") == [
        {"meeting": "demo", "reason": "pool-empty", "status": 503}
    ]


def run_until(tab: EmbedPage, state: str) -> None:
    """Let the page's clock run until the embed is in this state."""
    wanted = tab.page.locator(f"linkpool-embed[data-state={state}]")
    for _ in range(200):
        if wanted.count():
            return
        tab.page.clock.run_for(500)
    raise AssertionError(f"never {state}: {tab.embed.get_attribute('data-state')}")


def test_a_linkpool_that_is_down_can_be_tried_again(stage: Stage, open_embed: OpenEmbed) -> None:
    """Without any fallback there is a button, which works once linkpool does."""
    tab = open_embed()
    tab.page.clock.install()
    claims = re.compile("/v1/embed/claims$")
    tab.page.route(claims, lambda route: route.abort())
    tab.page.goto(stage.page(stage.tag()))
    run_until(tab, "unavailable")
    assert tab.details("unavailable")[0]["reason"] == "unreachable"
    expect(tab.part("link")).to_be_hidden()
    tab.page.unroute(claims)
    tab.page.get_by_role("button", name="Try again").click()
    tab.state("ready")
    expect(tab.page.locator("linkpool-embed iframe")).to_be_focused()


def test_a_blocked_script_leaves_the_link(stage: Stage, open_embed: OpenEmbed) -> None:
    """When an extension blocks the script, the visitor still gets to their own booking page."""
    tab = open_embed()
    tab.page.route("**/javascript/embed.js", lambda route: route.abort())
    tab.page.goto(stage.page(stage.tag(data_fallback_url="/contact")))
    tab.state("unavailable")
    link = tab.page.get_by_role("link", name="Open the booking page")
    expect(link).to_have_attribute("href", f"{stage.api}/one-off-1")
    assert tab.details("unavailable")[0]["reason"] == "script-blocked"


def test_a_script_that_shows_nothing_is_not_waited_for_in_vain(
    stage: Stage, open_embed: OpenEmbed
) -> None:
    """When there is no frame within ten seconds, the link is shown instead."""
    tab = open_embed()
    tab.page.clock.install()
    tab.page.route(
        "**/javascript/embed.js",
        lambda route: route.fulfill(
            body="window.neetoCal = { embed() {} }", content_type="text/javascript"
        ),
    )
    tab.page.goto(stage.page(stage.tag()))
    tab.await_event("claimed")
    run_until(tab, "unavailable")
    assert tab.details("unavailable")[0]["reason"] == "no-frame"
    expect(tab.part("link")).to_have_attribute("href", f"{stage.api}/one-off-1")


def test_a_script_of_a_stranger_is_never_loaded(stage: Stage, open_embed: OpenEmbed) -> None:
    """Even if an answer names it, it is not loaded, since it would run as the site itself."""
    stage.linkpool.more = {"script": f"{stage.site}/evil.js"}
    stage.pages["/evil.js"] = ("ran.push(1)", {"content-type": "text/javascript"})
    tab = open_embed(stage.page(stage.tag()))
    tab.state("unavailable")
    assert tab.page.evaluate("ran") == []
    assert tab.details("unavailable")[0]["reason"] == "script-blocked"


def test_a_strict_policy_with_a_nonce_is_enough(stage: Stage, open_embed: OpenEmbed) -> None:
    """None of linkpool's styles, scripts and handlers needs more, and the console stays empty."""
    tag = stage.tag(nonce=NONCE).replace('style="display:block;height:44rem"', "")
    style = f'<style nonce="{NONCE}">script[data-meeting]{{display:block;height:44rem}}</style>'
    tab = open_embed(stage.page(tag + "<p>Below</p>", head=style, headers=strict_policy(stage)))
    tab.state("ready")
    booked(stage)
    tab.page.reload()
    tab.state("booked")
    assert tab.console == []


def test_without_javascript_there_is_a_link(stage: Stage, open_embed: OpenEmbed) -> None:
    """The link stands in <noscript> beside the tag, or within the element."""
    fallback = '<a href="/contact">Write to us</a>'
    url = stage.page(
        f"{stage.tag()}<noscript>{fallback}</noscript><linkpool-embed>{fallback}</linkpool-embed>"
    )
    tab = open_embed(url, java_script_enabled=False)
    links = tab.page.get_by_role("link", name="Write to us")
    expect(links).to_have_count(2)
    for link in links.all():
        expect(link).to_be_visible()


def test_popups_are_bound_to_their_button(stage: Stage, open_embed: OpenEmbed) -> None:
    """The button opens the visitor's link; a floating one goes when the element goes."""
    tab = open_embed(stage.page(stage.tag(data_type="element-click", data_text_button="Meet us")))
    tab.page.get_by_role("button", name="Meet us").click()
    popup = tab.page.frame_locator("dialog iframe")
    expect(popup.get_by_role("heading")).to_have_text("Pick a time")
    assert tab.events() == ["claimed", "ready"]
    tab = open_embed(stage.page(stage.tag(data_type="floating-popup")))
    floating = tab.page.get_by_role("button", name="Book a time")
    expect(floating).to_have_count(1)
    tab.page.evaluate("document.querySelector('linkpool-embed').remove()")
    expect(floating).to_have_count(0)
