"""Run `python -m tests.browser.incident [DIRECTORY]`: play an incident, and read its answers off
the page.

A flash crowd empties one pool, then the provider stops answering, then Redis is killed. During
each, five questions are answered from the page alone, and every click is counted. The answers are
written to README.md, with the pictures beside it. It takes about two minutes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect, sync_playwright

from tests.acceptance.product import Product, wait_until
from tests.browser.faults import frozen, killed
from tests.browser.questions import (
    MOST_CLICKS,
    QUESTIONS,
    Operator,
    about_a_dry_pool,
    about_a_silent_part,
)

MEETINGS = ("intro-call", "product-demo", "pricing-call", "onboarding", "support", "renewal")
CROWDED = "intro-call"
CROWD_PER_SECOND = 40.0
USUAL_PER_SECOND = 0.5  # to each meeting
STOCK, MOST = 40, 60  # links kept ready, at least and at the crowded meeting at most
LINKS_PER_SECOND = 20  # what the provider allows
MOST_BYTES = 1_500_000 // 8  # eight pictures at the most
WIDE, HIGH = 1280, 860
WAIT_MS = 60_000


@dataclass
class Part:
    """One part of the incident: the answers that were read off the page, and its pictures."""

    title: str
    story: str
    operator: Operator | None = None
    pictures: list[tuple[str, str]] = field(default_factory=list)  # file and what it shows
    after: str = ""


class Play:
    """The stage: a product, a page, and where the pictures go."""

    def __init__(self, page: Page, product: Product, directory: Path) -> None:
        self.page = page
        self.product = product
        self.directory = directory
        self.parts: list[Part] = []

    def part(self, title: str, story: str) -> Operator:
        """Begin a part, with an operator who has clicked nothing yet."""
        operator = Operator(self.page, f"{self.product.url}/ops")
        self.parts.append(Part(title, story, operator))
        return operator

    def picture(self, name: str, shows: str) -> None:
        """Take a picture of the screen. Raise OSError if it is large."""
        file = self.directory / f"{name}.png"
        self.page.screenshot(path=file)
        if file.stat().st_size > MOST_BYTES:
            raise OSError(f"{file} has {file.stat().st_size} bytes, more than {MOST_BYTES}")
        self.parts[-1].pictures.append((file.name, shows))

    def over(self, says: str) -> None:
        """Wait until the page says that it is over, and note its words."""
        line = self.page.locator("#banner .over").filter(has_text=says)
        expect(line).to_be_visible()
        self.page.wait_for_timeout(3_000)  # until the visitors of all processes are counted
        self.parts[-1].after = " ".join(line.inner_text().split())


@contextmanager
def visitors(product: Product, sids: tuple[str, ...], per_second: float) -> Iterator[None]:
    """Let new visitors come, to each of these meetings in turn."""
    ended = threading.Event()
    headers = {"X-API-Key": product.key}

    def come() -> None:
        with httpx.Client(timeout=20, trust_env=False, headers=headers) as client:
            began = time.monotonic()
            for number in range(1_000_000):
                if ended.wait(max(0.0, began + number / per_second - time.monotonic())):
                    return
                sid = sids[number % len(sids)]
                body = {"customer_id": f"visitor-{per_second:g}-{number}"}
                try:
                    client.post(f"{product.url}/v1/meetings/{sid}/claims", json=body)
                except httpx.HTTPError:
                    continue  # a site shows something else then

    thread = threading.Thread(target=come, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


def flash_crowd(play: Play) -> None:
    """Send more visitors to one pool than the provider makes links for."""
    operator = play.part(
        "A flash crowd on one pool",
        f"A newsletter sends {CROWD_PER_SECOND:g} visitors a second to `{CROWDED}`; the provider "
        f"makes {LINKS_PER_SECOND} links a second for all pools.",
    )
    with visitors(play.product, (CROWDED,), CROWD_PER_SECOND):
        wait_until(lambda: play.product.meeting(CROWDED)["state"] == "empty", 60)
        time.sleep(12)  # until somebody has sat down before the page
        about_a_dry_pool(operator, CROWDED)
        play.picture("crowd-meeting", "The pool's own view: why, and what to do")
        play.page.goto(operator.overview)
        play.page.locator("#live.on").wait_for()
        play.page.wait_for_timeout(1_500)
        play.picture("crowd", "The overview: the pool that is dry stands first")
    play.parts[-1].pictures.reverse()
    wait_until(lambda: play.product.meeting(CROWDED)["fresh"] >= STOCK, 60)


def provider_outage(play: Play) -> None:
    """Freeze the provider while top-up asks it, until pools run dry."""
    operator = play.part(
        "The provider stops answering",
        "It takes connections and says nothing. Pools hand out what they have. Once it answers "
        "again, one pool is topped up by hand rather than at the next probe.",
    )
    crowd = visitors(play.product, (CROWDED,), CROWD_PER_SECOND / 4)
    with crowd, frozen(play.product, "sandbox"):
        wait_until(lambda: play.product.meeting(CROWDED)["fresh"] == 0, 120)
        time.sleep(5)
        about_a_silent_part(operator, "The provider does not answer")
        play.picture("provider", "The line on top answers all five questions, on every view")
    # As Try the provider now does; by itself linkpool asks again within a minute.
    play.product.api("POST", f"/v1/meetings/{CROWDED}/top-up", json={"reason": "it answers"})
    play.over("The provider did not answer")


def killed_redis(play: Play) -> None:
    """Kill Redis, and let it come back with what it had written."""
    operator = play.part(
        "Redis is killed", "With -9; what takes its place answers only after some seconds."
    )
    with killed(play.product, "redis"):
        time.sleep(4)
        about_a_silent_part(operator, "Redis does not answer")
        play.picture("redis", "Nothing is shown that is not known")
        time.sleep(4)
    play.over("Redis did not answer")
    play.picture("redis-over", "It is over: how long it lasted, and what it cost")
    play.page.goto(f"{play.product.url}/ops/history?span=10min")
    play.page.locator("#live.on").wait_for()
    play.picture("history", "History: all three as bands on the charts, and in the list below")


def document(parts: list[Part]) -> str:
    """Return the answers as a page of the documents."""
    lines = [
        "# An incident, answered from the page",
        "",
        "`python -m tests.browser.incident` plays this on a running product and writes this page.",
        f"Each of {len(MEETINGS)} meetings has a visitor every {1 / USUAL_PER_SECOND:g} seconds.",
        "A flash crowd empties one pool, then the provider stops answering, then Redis is killed.",
        "Each time somebody opens the overview and answers five questions from the page alone. The",
        "answers are what stood there, word for word. Clicks and seconds count from the moment the",
        "overview was asked for.",
    ]
    for number, part in enumerate(parts, 1):
        lines += ["", f"## {number}. {part.title}", "", part.story, ""]
        lines += ["| question | what the page said | clicks | seconds |", "|---|---|---|---|"]
        assert part.operator is not None
        for question, each in zip(QUESTIONS, part.operator.answers, strict=True):
            text = each.text.replace("|", r"\|")
            lines.append(f"| {question} | {text} | {each.clicks} | {each.seconds:.1f} |")
        if part.after:
            lines += ["", f"Afterwards: “{part.after}”"]
        for file, shows in part.pictures:
            lines += ["", f"![{shows}]({file})", "", f"*{shows}.*"]
    return "\n".join(lines) + "\n"


def say(parts: list[Part]) -> None:
    """Print the answers. Raise AssertionError if one took too many clicks."""
    for part in parts:
        assert part.operator is not None
        sys.stdout.write(f"\n{part.title}\n")
        for question, each in zip(QUESTIONS, part.operator.answers, strict=True):
            clicks = f"{each.clicks} click{'' if each.clicks == 1 else 's'}"
            sys.stdout.write(f"  {question:<38} {clicks}, {each.seconds:4.1f} s: {each.text}\n")
        if part.after:
            sys.stdout.write(f"  {'afterwards':<38} {part.after}\n")
        assert all(each.clicks <= MOST_CLICKS for each in part.operator.answers)


def main(directory: Path) -> None:
    """Play the incident, and write down the answers."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as stage, sync_playwright() as playwright:
        product = Product(
            Path(stage), *MEETINGS, PROVIDER_RATE=str(LINKS_PER_SECOND), SWEEP_SECONDS="2"
        )
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": WIDE, "height": HIGH})
        page.set_default_timeout(WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        play = Play(page, product, directory)
        try:
            product.start(240)
            product.knobs(limit_per_second=LINKS_PER_SECOND)
            for sid in MEETINGS:
                most = MOST if sid == CROWDED else 10 * MOST
                product.put(sid, fill=False, min_fresh=STOCK, max_fresh=most, on_empty="fail")
            wait_until(lambda: all(product.meeting(sid)["fresh"] >= STOCK for sid in MEETINGS), 90)
            page.goto(f"{product.url}/ops")
            page.get_by_label("API key").fill(product.key)
            page.get_by_role("button", name="Sign in").click()
            page.locator("#live.on").wait_for()
            with visitors(product, MEETINGS, USUAL_PER_SECOND * len(MEETINGS)):
                time.sleep(18)  # until rates and charts have something to show
                flash_crowd(play)
                time.sleep(5)
                provider_outage(play)
                time.sleep(5)
                killed_redis(play)
        finally:
            product.close()
            chromium.close()
    (directory / "README.md").write_text(document(play.parts))
    say(play.parts)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/operations"))
