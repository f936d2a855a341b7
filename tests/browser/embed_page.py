"""Open pages with embeds, and note everything that a visitor or a site would complain about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, FrameLocator, Locator, Page

from tests.browser.tab import WAIT_MS, WIDE

# Events as they come, every shift of the layout, and what a hostile text would set if it ran.
WATCH = """
window.events = []; window.shifts = []; window.ran = [];
for (const name of ["claimed", "ready", "booked", "unavailable"])
  addEventListener("linkpool:" + name, ({ detail }) => events.push({ name, detail }));
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput)
    shifts.push([each.value, ...each.sources.map(({ node }) => node?.cloneNode().outerHTML)]);
}).observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class EmbedPage:
    """A page with embeds in a tab."""

    page: Page
    console: list[str] = field(default_factory=list)

    @property
    def embed(self) -> Locator:
        return self.page.locator("linkpool-embed")

    @property
    def frame(self) -> FrameLocator:
        return self.page.frame_locator("linkpool-embed iframe")

    def state(self, state: str, nth: int = 0) -> None:
        """Wait until an embed is in this state."""
        self.embed.nth(nth).and_(self.page.locator(f"[data-state={state}]")).wait_for(
            state="attached"
        )

    def events(self) -> list[str]:
        return [str(each["name"]) for each in self.page.evaluate("events")]

    def details(self, name: str) -> list[dict[str, Any]]:
        found = self.page.evaluate("events")
        return [each["detail"] for each in found if each["name"] == name]

    def await_event(self, name: str, times: int = 1) -> dict[str, Any]:
        """Wait until this event has come this often. Return the detail of the last one."""
        self.page.wait_for_function(
            "([name, times]) => events.filter((each) => each.name === name).length >= times",
            arg=[name, times],
        )
        return self.details(name)[-1]

    def part(self, name: str) -> Locator:
        """Return a part of the embed, found through its shadow root."""
        return self.page.locator(f"linkpool-embed [part={name}]")

    def calm(self) -> None:
        """Assert that nothing moved and that the console stayed empty."""
        moved = self.page.evaluate("shifts")
        assert moved == [], moved
        assert self.console == [], self.console


OpenEmbed = Callable[..., EmbedPage]


@contextmanager
def embed_tabs(browser: Browser) -> Iterator[OpenEmbed]:
    """Open tabs: `open(url, script=True, context=…)`. Tabs of one context share a profile."""
    contexts = []

    def open_one(url: str = "", *, beside: EmbedPage | None = None, **options: Any) -> EmbedPage:
        if beside is None:
            context = browser.new_context(viewport=WIDE, **options)
            context.set_default_timeout(WAIT_MS)
            context.add_init_script(WATCH)
            contexts.append(context)
        else:
            context = beside.page.context
        opened = EmbedPage(context.new_page())
        opened.page.on(
            "console",
            lambda said: said.type in ("error", "warning") and opened.console.append(said.text),
        )
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        if url:
            opened.page.goto(url)
        return opened

    try:
        yield open_one
    finally:
        for context in contexts:
            context.close()
