"""Each example in docs/examples is started, and shows each visitor a link of their own."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tests.acceptance.product import Product, wait_until
from tests.clients import examples, routes

SLUG = re.compile(r"one-off-[0-9a-f]+")


@dataclass
class Site:
    """A site that runs an example."""

    name: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def visit(self, cookies: httpx.Cookies) -> httpx.Response:
        """Visit the page in a browser that keeps these cookies."""
        with httpx.Client(trust_env=False, cookies=cookies, timeout=20) as browser:
            answer = browser.get(self.url)
            cookies.update(browser.cookies)
        return answer

    def listens(self) -> bool:
        """Return True once it takes connections; a visit would cost a link."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(params=list(examples.STARTS))
def site(request: pytest.FixtureRequest, product: Product, tmp_path: Path) -> Iterator[Site]:
    """Start an example with a key that may claim and nothing else."""
    port = free_port()
    start = examples.STARTS[request.param](request.config.cache, port)
    environ = examples.environment(
        start, port, URL=product.url, KEY=claim_key(product), MEETING="demo"
    )
    site = Site(request.param, port, tmp_path / "log")
    with site.log.open("wb") as log:
        process = subprocess.Popen(
            start.command, cwd=start.place, env=environ, stdout=log, stderr=log
        )
    try:
        wait_until(
            lambda: site.listens() or process.poll() is not None, 40, what=f"{start.command}"
        )
        assert process.poll() is None, site.log.read_text()
        yield site
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_keys: dict[str, str] = {}


def claim_key(product: Product) -> str:
    """Return a key of the scope claim for the meeting, made once."""
    if product.url not in _keys:
        _keys[product.url] = product.new_key("--scope", "claim", "--meeting", "demo")
    return _keys[product.url]


def test_an_example_serves_each_visitor_their_own_link(site: Site, product: Product) -> None:
    """From the first visit to "you are booked", and when there is no link to show."""
    zoe, max_ = httpx.Cookies(), httpx.Cookies()
    first = site.visit(zoe)
    assert first.status_code == 200, site.log.read_text()
    assert first.headers["content-type"].startswith("text/html")
    if site.name != "wordpress":  # a shortcode runs when the headers are sent already
        assert "no-store" in first.headers["cache-control"]
    assert "neetoCal" in first.text
    slug = slug_of(first)
    assert slug_of(site.visit(zoe)) == slug
    assert slug_of(site.visit(max_)) != slug
    wait_until(lambda: product.link(slug).get("state") == "claimed", what="the claim is recorded")
    customer = product.link(slug)["customer_id"]
    assert re.fullmatch(r"visitor-[0-9a-f-]{32,36}", customer), customer
    shown = first.text + str(first.headers)
    assert claim_key(product) not in shown

    # A visitor cannot name another customer by a cookie.
    forged = httpx.Cookies(dict.fromkeys(zoe, "order-4711"))
    site.visit(forged)
    assert product.api("GET", "/v1/meetings/demo/claims/visitor-order-4711").status_code == 404

    product.control("book", slug=slug)
    wait_until(lambda: "You are booked" in site.visit(zoe).text, what="the page says so")

    assert product.api("POST", "/v1/meetings/demo/pause", json={}).status_code == 200
    try:
        refused = site.visit(httpx.Cookies())
        kept = site.visit(max_)
    finally:
        assert product.api("POST", "/v1/meetings/demo/resume", json={}).status_code == 200
    assert refused.status_code == 200
    assert "Booking is not available right now" in refused.text
    assert not re.search(r"Traceback|Exception|Fatal|lp_", refused.text)
    assert slug_of(kept)


def slug_of(answer: httpx.Response) -> str:
    """Return the one link that a page shows."""
    found = set(SLUG.findall(answer.text))
    assert len(found) == 1, answer.text
    return found.pop()


class _Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_static_page_has_the_tag_and_a_link_without_scripts() -> None:
    """The attributes are those of the contract."""
    tags = _Tags((examples.EXAMPLES / "static" / "index.html").read_text("utf-8")).found
    (script,) = (attrs for tag, attrs in tags if tag == "script")
    assert script.keys() == {"async", "src", "data-meeting", "data-token"}
    assert (script["src"] or "").endswith("/embed.js")
    assert [tag for tag, _ in tags][-2:] == ["noscript", "a"]


def test_the_static_pages_tag_is_served(product: Product) -> None:
    """The script that the page names is there."""
    routes.need(product, "GET", "/embed.js")
    assert product.api("GET", "/embed.js", key="").status_code == 200
