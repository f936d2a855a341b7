"""Test the pages at the server's own address: the first page, the problems, and the API's pages."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import grave_findings
from tests.browser.tab import OpenTab, Tab


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_nothing_shuts_anybody_out(open_tab: OpenTab, look: str) -> None:
    """axe finds nothing in light and dark, and on a phone of 390 pixels nothing scrolls
    sideways.
    """
    tab = open_tab(dark=look == "dark", phone=look == "phone")
    for path in ("/", "/problems/", "/problems/invalid-token", "/docs"):
        tab.page.goto(tab.product.url + path)
        # What is folded away is looked at, too.
        tab.page.evaluate(
            "document.querySelectorAll('details').forEach((each) => each.open = true)"
        )
        assert grave_findings(tab.page) == [], path
        wide = tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} is {wide} pixels too wide"


def test_the_first_page_leads_everywhere(tab: Tab) -> None:
    """The server's own address is a page, and every address that it names works."""
    tab.page.goto(tab.product.url + "/")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("One-off booking links")
    links = tab.page.get_by_role("main").get_by_role("link")
    assert links.all_text_contents() == ["Demo", "Operations", "API", "Problems"]
    for name in ("Operations", "API", "Problems"):  # test_demo.py looks at the demo
        tab.page.goto(tab.product.url + "/")
        tab.page.get_by_role("link", name=name, exact=True).click()
        expect(tab.page.get_by_role("heading", level=1)).to_be_visible()


def test_problems_are_read_as_text(tab: Tab) -> None:
    """Code is shown as code, and the list links to each problem."""
    tab.page.goto(tab.product.url + "/problems/")
    tab.page.get_by_role("link", name="invalid-token").click()
    main = tab.page.get_by_role("main")
    expect(main).to_contain_text("linkpool tokens create-secret")
    expect(main).not_to_contain_text("`")
    expect(main.locator("code", has_text="linkpool tokens create-secret")).to_be_visible()
