"""Open a tab of the browser, signed in or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import httpx
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

    def sign_in(self, key: str | None = None, *, at: str = "/ops") -> Page:
        """Open a page, signed in, as the admin unless another key is given.

        Its scripts have run: keys and clicks before that would be lost. The form of the sign-in is
        sent without its page, which other tests fill in.
        """
        sent = {"key": key or self.product.key}
        answer = httpx.post(f"{self.product.url}/ops/sign-in", data=sent, trust_env=False)
        [(name, kept)] = SimpleCookie(answer.headers["set-cookie"]).items()
        self.page.context.add_cookies(
            [
                {
                    "name": name,
                    "value": kept.value,
                    "domain": urlsplit(self.product.url).hostname or "",
                    "path": kept["path"],
                    "httpOnly": kept["httponly"],
                    "sameSite": "Lax",
                }
            ]
        )
        self.page.goto(self.product.url + at)
        self.page.get_by_role("navigation", name="Main").wait_for()
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
