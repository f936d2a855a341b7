"""Open every view of the page in one browser, and measure when each reports a fault.

Each view notes the time itself, since looking at all of them takes a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.acceptance.product import Product
from tests.browser.tab import WAIT_MS, WIDE, Tab

# Returns what a view claims that is not so while a part is silent, or fails to say.
LIES = """fault => {
    const stale = document.body.classList.contains("stale");
    const texts = (where) => [...document.querySelectorAll(where)]
        .filter((each) => each.checkVisibility()).map((each) => each.textContent.trim());
    const lies = [];
    const tiles = texts(".tile.ok").filter((each) => fault.tile && each.startsWith(fault.tile));
    if (!stale) lies.push(...tiles);
    if (!stale && fault.signs) lies.push(...texts(fault.signs));
    if (fault.gone) lies.push(...texts("#live.on"));
    if (!document.title.startsWith("(")) lies.push(`titled ${document.title}`);
    if (!document.getElementById("icon").href.includes("icon_bad")) lies.push("its icon is well");
    if (!texts("#banner .silent, #trouble").some((each) => each.includes(fault.says)))
        lies.push(`does not say: ${fault.says}`);
    return lies;
}"""
# Returns what a view fails to say once a part is back.
UNSAID = """back => {
    const texts = (where) => [...document.querySelectorAll(where)]
        .map((each) => each.textContent.replace(/\\s+/g, " ").trim());
    const unsaid = texts("#banner .silent").filter((each) => each.includes(back.silent));
    if (texts("#trouble").join("")) unsaid.push("it is in trouble");
    if (!document.querySelector("#live.on")) unsaid.push("it is not live");
    if (!texts("#banner .over, #back").some((each) => new RegExp(back.says).test(each)))
        unsaid.push(`does not say: ${back.says}`);
    return unsaid;
}"""
_NOTE = """arg => {
    const check = %s;
    window.noted?.disconnect();
    window.cameAt = 0;
    const look = () => {
        window.missing = check(arg);
        if (window.missing.length) return;
        window.cameAt = Date.now();
        window.noted.disconnect();
    };
    window.noted = new MutationObserver(look);
    const all = { subtree: true, childList: true, characterData: true, attributes: true };
    window.noted.observe(document, all);
    look();
}"""


class Since:
    """The moment from which time is counted, without the time that a busy machine took away.

    News of a part pass through Redis, the API and the browser's own processes to the process that
    draws a page, by way of the one that runs the shared worker. Each delays them by no more than
    the time for which it waited for a processor (`schedstat` of its main thread, in nanoseconds).
    Time in which all of them sleep while a timer runs counts in full.
    """

    def __init__(self, product: Product) -> None:
        self._product = product
        self.began = time.time()
        self._before = self._waits()

    def lost(self) -> float:
        """Return the seconds by which news may have been held up since then."""
        waited = {
            pid: (kind, seconds - self._before.get(pid, ("", 0.0))[1])
            for pid, (kind, seconds) in self._waits().items()
        }
        drawing = [seconds for kind, seconds in waited.values() if kind == "renderer"]
        passing = [seconds for kind, seconds in waited.values() if kind != "renderer"]
        return sum(passing) + 2 * max(drawing, default=0.0)

    def _waits(self) -> dict[int, tuple[str, float]]:
        parts = {pid for part in ("redis", "api", "worker") for pid in self._product.pids(part)[:1]}
        found = {}
        for pid in descendants():
            with suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if pid not in parts and b"chrom" not in command.split(b"\0")[0]:
                    continue
                _, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
                kind = "renderer" if b"--type=renderer" in command else "passing"
                found[pid] = kind, int(waited) / 1e9
        return found


def descendants() -> list[int]:
    """Return the processes that this one has started, and those that they started in turn."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return list(found)


@dataclass
class Wall:
    """Every view of the page, open at once."""

    product: Product
    pages: dict[str, Page] = field(default_factory=dict)

    def note(self, check: str, **about: Any) -> None:
        """Make each view note the time at which `check` first finds nothing. It must find something
        now.
        """
        for name, page in self.pages.items():
            page.evaluate(_NOTE % check, about)
            assert page.evaluate("window.missing"), (name, about)

    def assert_all_within(self, since: Since, within_seconds: float, what: str) -> None:
        """Wait until every view has noted the time, and check that none took longer than this."""
        until = time.monotonic() + WAIT_MS / 1000
        for name, page in self.pages.items():
            while not page.evaluate("window.cameAt"):
                assert time.monotonic() < until, (what, name, page.evaluate("window.missing"))
                time.sleep(0.1)
        lost = since.lost()
        took = {
            name: round(page.evaluate("window.cameAt") / 1000 - since.began, 2)
            for name, page in self.pages.items()
        }
        slowest = max(took.values())
        print(f"{what}: {slowest - lost:.2f} s, and {lost:.2f} s lost to a busy machine; {took}")
        assert slowest - lost <= within_seconds, (what, took, lost)


@contextmanager
def open_wall(browser: Browser, product: Product, paths: dict[str, str]) -> Iterator[Wall]:
    """Open these views in one profile, signed in with a key of its own."""
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(WAIT_MS)
    wall = Wall(product)
    try:
        page = context.new_page()
        Tab(page, product).sign_in(product.new_key("--scope", "admin"))
        for name, path in paths.items():
            wall.pages[name] = page if not wall.pages else context.new_page()
            wall.pages[name].goto(product.url + path)
        for page in wall.pages.values():
            page.locator("#live.on").wait_for()
        yield wall
    finally:
        context.close()
