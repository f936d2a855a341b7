"""Measure how soon a visitor's calendar is asked for, beside the way of the vendor's article.

The article's way: the site's backend asks the provider for a link, which takes 150 ms, and renders
the page with it. The tag's way: the page is there, and claims when its container is in sight.
Both are measured in headless Chromium, with a simulated round trip to every server.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench import preload
from bench.measures.base import Bench, Missing
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from pool.access.api_keys import digest
from pool.access.token_secrets import SecretSource
from pool.access.tokens import TokenClaims, sign
from pool.config.addresses import secret_key
from pool.embeds import html
from pool.model.links import Claim

ROUND_TRIP_MS = 50.0
PROVIDER_SECONDS = 0.15
VISITS = 20
SID = "embedded"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# From the container in sight (or, rendered by a backend, from the click that asks for the page) to
# the moment at which the provider's frame is in the page, which requests it.
_WATCH = """
window.seen = {};
new MutationObserver(() => {
  const place = document.querySelector("linkpool-embed, [id^=linkpool-]");
  if (place && !seen.place) {
    seen.place = 1;
    new IntersectionObserver(([{ isIntersecting }]) => {
      if (isIntersecting) seen.visible ??= performance.now();
    }).observe(place);
  }
  if (document.querySelector("iframe")) seen.frame ??= performance.now();
}).observe(document, { childList: true, subtree: true });
"""


def measure(bench: Bench) -> list[Row]:
    """Measure both ways in turn, visit by visit, with a new customer each."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("playwright is not installed: pip install 'linkpool[test]'") from None
    chromium = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if chromium is None:
        raise Missing("Chromium is not installed (Debian: package chromium)")
    visits = 3 if bench.options.quick else VISITS
    ours: list[float] = []
    theirs: list[float] = []
    with Stage() as stage:
        stage.open_meetings([quiet_meeting(SID)])
        preload.fresh_links(stage.redis, SID, visits * bench.options.runs + 1, prefix="emb0")
        sandbox, (api, port) = stage.sandbox(), stage.api()
        sandbox.start()
        api.start()
        try:
            with sync_playwright() as playwright, _site(stage, port) as url:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                for visit in range(visits * bench.options.runs + 1):
                    tag = _visit(browser, f"{url}/tag/{visit}")
                    article = _visit(browser, f"{url}/article/{visit}")
                    if visit:  # the first of each warms up
                        ours.append(tag["frame"] - tag["visible"])
                        # Until the backend has its link, there is no page to see.
                        theirs.append(article["frame"] - article["asked"])
                browser.close()
        finally:
            api.stop()
            sandbox.stop()
    bench.say(f"{len(ours)} visits each")
    return [
        Row(
            "embed.tag", "container in sight to frame requested, by the tag", "ms", tuple(ours),
            Goal(at_most=ROUND_TRIP_MS + 20),
            note=f"a round trip takes {ROUND_TRIP_MS:g} ms",
        ),
        Row("embed.article", "page asked for to frame requested, as in the article", "ms",
            tuple(theirs), note=f"the provider answers in {PROVIDER_SECONDS * 1000:g} ms"),
        ratio("ratio.embed.tag.article", "by the tag against the article's way", ours, theirs,
              Goal(at_most=0.5)),
    ]  # fmt: skip


def _visit(browser: Any, url: str) -> dict[str, float]:
    """Open a page in a new profile. Return when the container was seen and the frame requested.

    Times are the page's own, in milliseconds since it was asked for.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH)
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": ROUND_TRIP_MS,
                "downloadThroughput": -1,
                "uploadThroughput": -1,
            },
        )
        page.goto(url, wait_until="commit")
        page.wait_for_function("seen.frame && seen.visible", timeout=30_000)
        found: dict[str, float] = page.evaluate("({ ...seen, asked: 0 })")
        return found
    finally:
        context.close()


@contextmanager
def _site(stage: Stage, api_port: int) -> Iterator[str]:
    """Serve the pages of a site with a backend."""
    settings = stage.settings()
    workspace = settings.workspaces["default"]
    key_id = stage.key.split("_")[1]
    secret = SecretSource(secret_key(settings)).own(key_id, digest(stage.key.encode()))

    def body(path: str) -> str:
        _, way, visit = path.split("/")
        if way == "tag":
            claims = TokenClaims(SID, f"visitor-{visit}")
            token = sign(secret, key_id, claims, int(time.time()) + 3600)
            return (
                f'<script src="http://127.0.0.1:{api_port}/embed.js"></script>'
                f'<linkpool-embed meeting="{SID}" token="{token}"></linkpool-embed>'
            )
        time.sleep(PROVIDER_SECONDS)
        return html(workspace, Claim(f"one-off-{visit}", "claimed", "pool", 0))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b""
            if self.path.count("/") == 2:
                head = '<!doctype html><link rel="icon" href="data:,"><h1>A site</h1>'
                content = f"{head}{body(self.path)}".encode()
            self.send_response(200 if content else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
