"""Test the demo page, and real claims from another origin, on the whole product."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.product import Product, wait_until
from tests.browser.accessibility import grave_findings
from tests.browser.embed_page import EmbedPage, OpenEmbed
from tests.browser.embed_stage import Stage
from tests.browser.tab import PHONE, WAIT_MS

expect.set_options(timeout=WAIT_MS)

STATIC = Path(__file__).parents[2] / "docs" / "examples" / "static" / "index.html"


def book(tab: EmbedPage) -> None:
    """Fill in the provider's form in the frame, and book."""
    tab.frame.get_by_label("Name").fill("Ada")
    tab.frame.get_by_label("E-mail").fill("ada@example.com")
    tab.frame.get_by_role("button", name="Book").click()
    expect(tab.frame.get_by_role("heading", name="You are booked")).to_be_visible()


def slug(tab: EmbedPage) -> str:
    """Return the slug that the frame shows."""
    tab.state("ready")
    address = tab.page.locator("linkpool-embed iframe").get_attribute("src")
    found = re.search(r"/(one-off-\w+)\?", address or "")
    assert found, address
    return found[1]


def reloaded_until(tab: EmbedPage, state: str) -> None:
    """Load the page again and again until the embed is in this state, since webhooks take a
    moment.
    """

    def there() -> bool:
        tab.page.reload()
        shown = "linkpool-embed:is([data-state=ready], [data-state=booked])"
        tab.page.locator(shown).wait_for(state="attached")
        return tab.embed.get_attribute("data-state") == state

    wait_until(there, 30, every=0.3, what=f"the embed is {state}")


def test_a_visitor_books_cancels_and_claims_again_on_the_demo_page(
    product: Product, open_embed: OpenEmbed
) -> None:
    """A visitor sees the link, reloads, books, comes back, cancels and claims again, and then
    becomes another visitor.
    """
    tab = open_embed(f"{product.url}/demo")
    mine = slug(tab)
    expect(tab.page.locator("#slug")).to_have_text(mine)
    tab.page.reload()
    assert slug(tab) == mine
    # The frame is as high as the page in it says.
    expect(tab.frame.get_by_role("button", name="Book")).to_be_visible()
    assert (tab.page.locator("linkpool-embed iframe").bounding_box() or {})["height"] > 400
    book(tab)
    tab.await_event("booked")
    tab.page.goto(f"{product.url}/docs")
    tab.page.go_back()
    tab.state("booked")
    expect(tab.part("booked")).to_contain_text("You are booked. See you soon!")
    expect(tab.part("time")).to_have_text(re.compile(r"20\d\d"))
    with tab.page.expect_popup() as opened:
        tab.page.get_by_role("link", name="Change or cancel").click()
    manage: Page = opened.value
    manage.get_by_role("button", name="Cancel").click()
    expect(manage.get_by_role("heading", name="This booking is cancelled")).to_be_visible()
    manage.close()
    reloaded_until(tab, "ready")
    again = slug(tab)
    assert again != mine
    tab.page.get_by_role("button", name="Be somebody new").click()
    tab.page.wait_for_url("**/demo")
    assert slug(tab) not in (mine, again)
    tab.calm()


def test_the_demo_shows_the_pool(product: Product, open_embed: OpenEmbed) -> None:
    """The numbers are those of the API, and change live."""
    tab = open_embed(f"{product.url}/demo")
    tab.state("ready")
    target = product.meeting("demo")["target"]
    expect(tab.page.locator("#target")).to_have_text(str(target))
    product.api("POST", "/v1/meetings/demo/pause", json={"reason": "a test"})
    try:
        expect(tab.page.locator("#state")).to_have_text("paused")
    finally:
        product.api("POST", "/v1/meetings/demo/resume", json={})
    expect(tab.page.locator("#state")).to_have_text("ok")


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True)])
def test_the_demo_is_for_everybody(
    product: Product, open_embed: OpenEmbed, scheme: str, *, phone: bool
) -> None:
    """axe finds nothing grave, and nothing exceeds the width of the screen."""
    tab = open_embed(color_scheme=scheme)
    if phone:
        tab.page.set_viewport_size(PHONE)
    tab.page.goto(f"{product.url}/demo")
    tab.state("ready")
    expect(tab.frame.get_by_role("button", name="Book")).to_be_visible()
    tab.calm()  # before axe, which looks for itself in the frame
    assert grave_findings(tab.page) == []
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.page.evaluate(width) <= 0


def test_the_demo_needs_no_script(product: Product, open_embed: OpenEmbed) -> None:
    """Without JavaScript a button leads to the visitor's own link, the same each time."""
    tab = open_embed(f"{product.url}/demo", java_script_enabled=False)
    addresses = []
    for _ in range(2):
        tab.page.get_by_role("button", name="Open your booking page").click()
        expect(tab.page.get_by_role("button", name="Book")).to_be_visible()
        addresses.append(tab.page.url)
        tab.page.go_back()
    assert addresses[0] == addresses[1]
    assert addresses[0].startswith(product.sandbox_url)


# -- a static file of another origin, and the real linkpool


@pytest.fixture(scope="module")
def meeting(shared_product: Product) -> Iterator[str]:
    """Return a full meeting for sites of other origins."""
    shared_product.put("embedded", min_fresh=10, cover_seconds=0)
    yield "embedded"
    shared_product.api("POST", "/v1/meetings/embedded/resume", json={})


def token(product: Product, sid: str, customer_id: str) -> str:
    """Request a token as a site's backend does, and return it."""
    body = {"meeting_sid": sid, "customer_id": customer_id}
    answer = product.api("POST", "/v1/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def static(product: Product, **attributes: str) -> str:
    listed = " ".join(
        f'data-{name.replace("_", "-")}="{value}"' for name, value in attributes.items()
    )
    return (
        f'<script async src="{product.url}/embed.js" style="display:block;height:44rem" {listed}>'
        "</script><p>Below</p>"
    )


def test_a_static_file_elsewhere_claims_by_token(
    product: Product, stage: Stage, open_embed: OpenEmbed, meeting: str
) -> None:
    """The documented example file needs no preflight, and gets the customer's link."""
    url = stage.file(STATIC.read_text("utf-8"), {
        "https://links.example.com": product.url,
        'data-meeting="SID"': f'data-meeting="{meeting}"',
        "TOKEN": token(product, meeting, "ada"),
    })  # fmt: skip
    tab = open_embed()
    methods: list[str] = []
    tab.page.on("request", lambda each: "/v1/" in each.url and methods.append(each.method))
    tab.page.goto(url)
    mine = slug(tab)
    assert methods == ["POST"]
    assert product.slug(meeting, "ada") == mine
    book(tab)
    detail = tab.await_event("booked")
    assert detail["meeting"] == meeting
    reloaded_until(tab, "booked")
    tab.calm()


def test_a_static_file_without_a_backend_claims_by_public_key(
    product: Product, stage: Stage, open_embed: OpenEmbed, meeting: str
) -> None:
    """Two tabs at once and every later visit are one visitor with one link."""
    path = f"/v1/meetings/{meeting}/public-keys"
    answer = product.api("POST", path, json={"origins": [stage.site]})
    assert answer.status_code == 201, answer.text
    key = str(answer.json()["public_key"]["id"])
    url = stage.page(static(product, meeting=meeting, public_key=key))

    def known() -> bool:  # to the API, which learns of new keys in a moment
        body, headers = {"public_key": key}, {"Origin": stage.site}
        return product.api(
            "POST", "/v1/embed/claims", key="", json=body, headers=headers
        ).is_success

    wait_until(known, 10)
    first = open_embed()
    second = open_embed(beside=first)
    for tab in (first, second):
        tab.page.goto(url, wait_until="commit")
    shown = set()
    for tab in (first, second):
        tab.page.bring_to_front()
        shown.add(slug(tab))
    assert len(shown) == 1
    first.page.reload()
    assert slug(first) in shown
    # The same file on a page that the key does not name gets nothing.
    elsewhere = url.replace("//localhost:", "//127.0.0.1:")
    other = open_embed(elsewhere)
    other.state("unavailable")
    assert other.details("unavailable")[0]["status"] == 403
    first.calm()


def test_a_paused_pool_and_a_token_for_something_else(
    product: Product, stage: Stage, open_embed: OpenEmbed, meeting: str
) -> None:
    """A customer with a link keeps it while the pool is paused, and others wait.

    A forged token gets no link, and the page does not ask a second time.
    """
    held = token(product, meeting, "bob")
    mine = product.slug(meeting, "bob")
    product.api("POST", f"/v1/meetings/{meeting}/pause", json={"reason": "a test"})
    try:
        tab = open_embed(stage.page(static(product, meeting=meeting, token=held)))
        assert slug(tab) == mine
        newcomer = token(product, meeting, "carl")
        other = open_embed(stage.page(static(product, meeting=meeting, token=newcomer)))
        other.state("waiting")
    finally:
        product.api("POST", f"/v1/meetings/{meeting}/resume", json={})
    forged = held[:-4] + ("AAAA" if not held.endswith("AAAA") else "BBBB")
    tab = open_embed(
        stage.page(static(product, meeting=meeting, token=forged, fallback_url="/contact"))
    )
    tab.state("unavailable")
    assert tab.details("unavailable")[0]["status"] == 401
