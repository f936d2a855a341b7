"""Open a tab of the browser, signed in or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import Page, ViewportSize

from tests.acceptance.product import Product

WAIT_MS = 60_000  # how long a test waits for what must come, not what is promised
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass
class Tab:
    """A tab of the browser, with the things it did that it may not do."""

    page: Page
    product: Product
    console: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def sign_in(self, key: str | None = None) -> Page:
        """Sign in, as the admin unless another key is given.

        The overview is shown then, and its scripts have run: keys and clicks before that would be
        lost.
        """
        self.page.goto(f"{self.product.url}/ops")
        self.page.get_by_label("API key").fill(key or self.product.key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Pools").wait_for()
        self.page.wait_for_load_state()
        return self.page

    def open(self, path: str) -> Page:
        """Open another address of the product."""
        self.page.goto(self.product.url + path)
        return self.page

    def live(self) -> Page:
        """Wait until the overview is live."""
        self.page.locator("#live.on").wait_for()
        return self.page


def listening(page: Page) -> Page:
    """Wait until the page listens to keys: its last script shows the button for the search."""
    page.wait_for_function("document.getElementById('palette-open')?.hidden === false")
    return page


OpenTab = Callable[..., Tab]
