"""Run `python -m tests.browser.pictures [DIRECTORY]`: take the pictures of the page for the README.

Starts a product of its own, makes it lively, and looks at it with Debian's Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.acceptance.product import Product
from tests.browser.lively import lively_product

MOST_BYTES = 200 * 1024
BUSY_SECONDS = 45  # of claims before the pictures, for rates and sparklines


@dataclass(frozen=True)
class Picture:
    """One picture: which view, in what light, how large."""

    name: str
    path: str
    width: int = 1280
    height: int = 800
    dark: bool = False
    scale: int = 1


PICTURES = (
    Picture("overview", "/ops"),
    Picture("overview-phone", "/ops", width=390, height=844, dark=True, scale=2),
    Picture("meeting", "/ops/meetings/intro-call?span=day", height=1010),
    Picture("demo", "/demo", height=940),
    Picture("inbox", "/ops/inbox/{event_id}", height=860),
)


def main(directory: Path) -> None:
    """Take all pictures. Raise OSError if one is too large for a README."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as stage,
        lively_product(Path(stage), time.time()) as product,
        sync_playwright() as playwright,
    ):
        keep_busy(product, BUSY_SECONDS)
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        names = {"event_id": event_of_two(product)}
        for picture in PICTURES:
            file = directory / f"{picture.name}.png"
            take(chromium, product, picture, names, file)
            size = file.stat().st_size
            if size > MOST_BYTES:
                raise OSError(f"{file} has {size} bytes, more than {MOST_BYTES}")
            sys.stdout.write(f"{file} {size} bytes\n")
        chromium.close()


def keep_busy(product: Product, seconds: float) -> None:
    """Claim for a while, so that something moves."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        product.claim("intro-call", f"visitor-{number}")
        if number % 3 == 0:
            product.claim("product-demo", f"visitor-{number}")
            product.claim("support-30-min", f"visitor-{number}")
        time.sleep(1)


def event_of_two(product: Product) -> str:
    """Return the booking whose e-mail two customers gave."""
    events = product.api("GET", "/v1/events", params={"state": "unmatched"}).json()["events"]
    event_id: str = next(each["id"] for each in events if "several" in each["reason"])
    return event_id


def take(
    browser: Browser, product: Product, picture: Picture, names: dict[str, str], file: Path
) -> None:
    """Take one picture."""
    context = browser.new_context(
        color_scheme="dark" if picture.dark else "light",
        viewport={"width": picture.width, "height": picture.height},
        device_scale_factor=picture.scale,
    )
    page = context.new_page()
    page.goto(f"{product.url}/ops")
    page.get_by_label("API key").fill(product.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Pools").wait_for()
    page.goto(product.url + picture.path.format(**names))
    page.wait_for_timeout(2_500)  # a stream brings what is live
    page.screenshot(path=file)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
