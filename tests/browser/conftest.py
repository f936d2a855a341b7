"""Run a real product, and a real browser that looks at its page.

`linkpool up` and the browser are started once for all tests of a share. Every tab
reports what it may not do: errors on its console, requests to another host.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.acceptance.product import Product
from tests.browser.embed_page import OpenEmbed, embed_tabs
from tests.browser.embed_stage import Stage
from tests.browser.tab import PHONE, WAIT_MS, WIDE, OpenTab, Tab
from tests.debian import lacking
from tests.kept import Kept

_SHELL = "chromium-headless-shell"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of Chromium. Without it the test is skipped; on CI it fails."""
    found = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    return found or lacking("Chromium", "chromium")


def headless_shell() -> str:
    """Return the path of Chromium without its own windows, or of all of it where that is lacking.

    It is the same engine. Around it, the whole of Chromium draws a window for each tab, menus and
    all, that nobody sees; that takes most of the time of a short visit.
    """
    return shutil.which(_SHELL) or chromium()


@pytest.fixture(scope="module")
def shared_product(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Return a product with a sweep every second."""
    place = tmp_path_factory.mktemp("browsed")
    return kept("browsed", lambda: Product.running(place, SWEEP_SECONDS="1"))


@pytest.fixture
def product(shared_product: Product) -> Product:
    """Return the shared product."""
    return shared_product


@contextmanager
def _running() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Containers forbid the browser its own sandbox; it sees nothing but our own page. Each site
        # has a process of its own, as in all of Chromium.
        browser = playwright.chromium.launch(
            executable_path=headless_shell(), args=["--no-sandbox", "--site-per-process"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser(kept: Kept) -> Browser:
    """Return Debian's Chromium, running.

    Playwright's event loop runs in this thread until the end of the share, and no asynchronous
    test could have one of its own beside it: there is none in this folder.
    """
    return kept("browser", _running)


@pytest.fixture
def open_tab(browser: Browser, product: Product) -> Iterator[OpenTab]:
    """Open tabs, each in a profile of its own: `open_tab(dark=True, phone=True)`.

    At the end of the test, no tab may have complained on its console or sent a request to another
    host.
    """
    tabs: list[Tab] = []

    def open_one(*, dark: bool = False, phone: bool = False, script: bool = True) -> Tab:
        context = browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport=PHONE if phone else WIDE,
            java_script_enabled=script,
            has_touch=phone,
        )
        context.set_default_timeout(WAIT_MS)
        tab = Tab(context.new_page(), product)
        own = urlsplit(product.url).netloc

        def asked(request: Any) -> None:
            if urlsplit(request.url).netloc != own:
                tab.strangers.append(request.url)

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                tab.console.append(message.text)

        tab.page.on("request", asked)
        tab.page.on("console", said)
        tab.page.on("pageerror", lambda error: tab.console.append(str(error)))
        tabs.append(tab)
        return tab

    yield open_one
    for tab in tabs:
        tab.page.context.close()
    assert [tab.console for tab in tabs if tab.console] == []
    assert [tab.strangers for tab in tabs if tab.strangers] == []


@pytest.fixture
def tab(open_tab: OpenTab) -> Tab:
    """Open a tab with usual settings: wide and light."""
    return open_tab()


@pytest.fixture
def stage(kept: Kept) -> Stage:
    """Return a site, and a linkpool that answers as the test sets it."""
    stage = kept("site", lambda: closing(Stage()))
    stage.reset()  # nothing is left of the test before
    return stage


@pytest.fixture
def open_embed(browser: Browser) -> Iterator[OpenEmbed]:
    """Open pages with embeds: `open_embed(url)`."""
    with embed_tabs(browser) as open_one:
        yield open_one
