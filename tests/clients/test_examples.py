"""Test that each example in docs/examples shows each visitor a link of their own."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from pool.up import ports
from tests.acceptance.product import Product, wait_until
from tests.clients import examples
from tests.clients.scripted_linkpool import CLAIMED, Answer, Asked, ScriptedLinkpool, problem
from tests.ending import end

SLUG = re.compile(r"one-off-[0-9a-f]+")
SAYS_TOO_MUCH = re.compile(r"Traceback|Exception|Fatal|Warning|Error|lp_")


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


@pytest.fixture(scope="module")
def between(product: Product) -> Iterator[ScriptedLinkpool]:
    """Run a server that passes everything on to linkpool, until a test makes it answer
    otherwise.
    """
    with ScriptedLinkpool() as server:
        yield server


@pytest.fixture(scope="module", params=list(examples.STARTS))
def site(
    request: pytest.FixtureRequest,
    product: Product,
    between: ScriptedLinkpool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Start an example with a key that may claim and nothing else."""
    between.script = [passed_on(product)]
    port = ports.choose()
    start = examples.STARTS[request.param](request.config.cache, port)
    environ = examples.environment(
        start, port, URL=between.url, KEY=claim_key(product), MEETING="demo"
    )
    site = Site(request.param, port, tmp_path_factory.mktemp(request.param) / "log")
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
        end(process, site.log)


def passed_on(product: Product) -> Callable[[Asked], Answer]:
    """Return a step of a script that asks linkpool itself."""

    def step(asked: Asked) -> Answer:
        headers = {
            name: asked.headers[name]
            for name in ("authorization", "x-api-key")
            if name in asked.headers
        }
        answer = product.api(asked.method, asked.target, key="", json=asked.body, headers=headers)
        retry = answer.headers.get("retry-after")
        kind = answer.headers["content-type"]
        return Answer(
            answer.status_code, answer.text, {"Retry-After": retry} if retry else {}, kind
        )

    return step


_keys: dict[str, str] = {}


def claim_key(product: Product) -> str:
    """Return a key of the scope claim for the meeting, made once."""
    if product.url not in _keys:
        _keys[product.url] = product.new_key("--scope", "claim", "--meeting", "demo")
    return _keys[product.url]


def test_an_example_serves_each_visitor_their_own_link(site: Site, product: Product) -> None:
    """It does so from the first visit to "you are booked", and also says when there is no link."""
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
    assert not SAYS_TOO_MUCH.search(refused.text)
    assert slug_of(kept)


@pytest.mark.parametrize(
    "answer",
    [
        problem("pool-empty", 503, "60"),
        problem("unknown-meeting", 404),
        problem("internal-error", 500),
        Answer(200, "<html>Welcome to nginx!", kind="text/html"),
        Answer(200, [1]),
        Answer(200, {"hello": "world"}),
        Answer(201, CLAIMED),
        Answer(302, None, {"Location": "/elsewhere"}),
    ],
    ids=["empty", "unknown", "defect", "html", "list", "object", "no code", "redirect"],
)
def test_an_example_shows_a_page_whatever_linkpool_answers(
    answer: Answer, site: Site, between: ScriptedLinkpool, product: Product
) -> None:
    """The visitor reads a sentence, not a fault; the log has the reason."""
    before = len(between.asked)
    between.script = [answer]
    shown = site.visit(httpx.Cookies())
    assert shown.status_code == 200, site.log.read_text()
    assert "Booking is not available right now" in shown.text
    assert not SAYS_TOO_MUCH.search(shown.text)
    assert len(between.asked) == before + 1  # and no key goes where a redirect points
    assert "no link for a visitor" in site.log.read_text()


def test_an_example_shows_the_plain_link_instead(
    site: Site, between: ScriptedLinkpool, product: Product
) -> None:
    """It does so if the operator set one, and shows it as a link only."""
    plain = "https://acme.neetocal.com/intro?a=1&b=\"'<script>alert(1)</script>"
    between.script = [problem("pool-empty", 503, "60", fallback_url=plain)]
    tags = _Tags(site.visit(httpx.Cookies()).text).found
    hrefs = [attrs.get("href") for tag, attrs in tags if tag == "a"]
    assert hrefs == [plain]
    assert "script" not in [tag for tag, _ in tags]


def test_an_example_shows_linkpools_own_code(
    site: Site, between: ScriptedLinkpool, product: Product
) -> None:
    """It requests the code with the claim, and shows it unchanged."""
    code = '<div id="made-by-linkpool"></div>'
    between.script = [Answer(201, CLAIMED | {"embed_html": code})]
    assert code in site.visit(httpx.Cookies()).text
    assert between.asked[-1].target == "/v1/meetings/demo/claims?embed=inline"


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
    assert script.keys() == {"async", "crossorigin", "src", "data-meeting", "data-token"}
    assert (script["src"] or "").endswith("/embed.js")
    assert [tag for tag, _ in tags][-2:] == ["noscript", "a"]


def test_the_static_pages_tag_is_served(product: Product) -> None:
    """The script that the page names is there."""
    assert product.api("GET", "/embed.js", key="").status_code == 200
