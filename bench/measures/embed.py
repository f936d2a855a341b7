"""Measure how soon a visitor's calendar is requested, compared with the vendor's article.

The article's way: the site's backend asks the provider for a link, which takes 150 ms, and renders
the page with it. The tag's way: the page is there, and claims when its container is in sight.
Both are measured in headless Chromium, over a wire with a round trip to every server, which a new
connection costs once more. What a round trip really takes is measured in each visit, on the
connection that the claim has just used. The page is written as docs/embeds.md advises; beside it
stands the same page without the hints that open connections early.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench import preload
from bench.loads.wire import Wire
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
Seen = dict[str, float]
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


# Bare requests without credentials, as the claim's is, and without a body to wait for: the median.
_ROUND_TRIPS = """async (url) => {
  const took = [];
  for (let each = 0; each < 5; each++) {
    const started = performance.now();
    await fetch(url, { method: "HEAD", credentials: "omit", cache: "no-store" });
    took.push(performance.now() - started);
  }
  return took.sort((a, b) => a - b)[2];
}"""


@dataclass
class _Found:
    """Collect the milliseconds that each visit took, by contestant."""

    tag: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    article: list[float] = field(default_factory=list)
    round_trip: list[float] = field(default_factory=list)

    @property
    def beyond(self) -> list[float]:
        """Return what each visit by the tag took beyond its own round trip."""
        return [took - trip for took, trip in zip(self.tag, self.round_trip, strict=True)]


def measure(bench: Bench) -> list[Row]:
    """Measure all ways in turn, visit by visit, with a new customer each."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("playwright is not installed: pip install 'linkpool[test]'") from None
    chromium = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if chromium is None:
        raise Missing("Chromium is not installed (Debian: package chromium)")
    visits = (3 if bench.options.quick else VISITS) * bench.options.runs + 1
    found = _Found()
    with Wire(ROUND_TRIP_MS / 1000) as wire, _stage(wire) as (stage, api_port):
        preload.fresh_links(stage.redis, SID, 2 * visits, prefix="emb0")
        with sync_playwright() as playwright, _site(stage, wire, api_port) as url:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for visit in range(visits):
                seen = [
                    _visit(browser, f"{url}/{way}/{visit}", api_port)
                    for way in ("tag", "bare", "article")
                ]
                if visit:  # the first of each warms up
                    _note(found, *seen)
            browser.close()
    bench.say(f"{len(found.tag)} visits each")
    return _rows(found)


def _note(found: _Found, tag: Seen, bare: Seen, article: Seen) -> None:
    found.tag.append(tag["frame"] - tag["visible"])
    found.round_trip.append(tag["round_trip"])
    found.bare.append(bare["frame"] - bare["visible"])
    # Until the backend has its link, there is no page to see.
    found.article.append(article["frame"])


def _rows(found: _Found) -> list[Row]:
    return [
        Row(
            "embed.tag", "container in sight to frame requested, by the tag", "ms",
            tuple(found.tag), Goal(at_most=ROUND_TRIP_MS + 20),
            note=f"a round trip takes {ROUND_TRIP_MS:g} ms",
        ),
        Row("embed.round_trip", "a bare request on the claim's connection, in the same visits",
            "ms", tuple(found.round_trip)),
        Row("embed.beyond", "the tag's time beyond its visit's own round trip", "ms",
            tuple(found.beyond), Goal(at_most=20)),
        Row("embed.bare", "the same, of a page without crossorigin and preload", "ms",
            tuple(found.bare), note="the claim and the provider's script open connections"),
        Row("embed.article", "page asked for to frame requested, as in the article", "ms",
            tuple(found.article), note=f"the provider answers in {PROVIDER_SECONDS * 1000:g} ms"),
        ratio("ratio.embed.tag.article", "by the tag against the article's way",
              found.tag, found.article, Goal(at_most=0.5)),
    ]  # fmt: skip


def _visit(browser: Any, url: str, api_port: int) -> Seen:
    """Open a page in a new profile. Return when the container was seen and the frame requested.

    Times are the page's own, in milliseconds since it was asked for; `round_trip` is a duration.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH)
        page.goto(url, wait_until="commit")
        page.wait_for_function("seen.frame && seen.visible", timeout=30_000)
        seen: Seen = page.evaluate("({ ...seen })")
        page.wait_for_load_state("load")
        url = f"http://127.0.0.1:{api_port}/embed.js"
        return seen | {"round_trip": page.evaluate(_ROUND_TRIPS, url)}
    finally:
        context.close()


@contextmanager
def _stage(wire: Wire) -> Iterator[tuple[Stage, int]]:
    """Start the API and the sandbox behind a wire. Yield the API's port as browsers know it."""
    provider, near = wire.port(), wire.port()
    with Stage(NEETOCAL_BASE_URL=f"http://127.0.0.1:{provider}") as stage:
        stage.open_meetings([quiet_meeting(SID)])
        sandbox, (api, port) = stage.sandbox(), stage.api()
        try:
            sandbox.start()
            api.start()
            wire.lay(provider, stage.sandbox_port)
            wire.lay(near, port)
            yield stage, near
        finally:
            api.stop()
            sandbox.stop()


@contextmanager
def _site(stage: Stage, wire: Wire, api_port: int) -> Iterator[str]:
    """Serve the pages of a site with a backend."""
    settings = stage.settings()
    workspace = settings.workspaces["default"]
    key_id = stage.key.split("_")[1]
    secret = SecretSource(secret_key(settings)).own(key_id, digest(stage.key.encode()))

    def body(path: str) -> str:
        _, way, visit = path.split("/")
        if way != "article":
            claims = TokenClaims(SID, f"visitor-{visit}")
            token = sign(secret, key_id, claims, int(time.time()) + 3600)
            script = workspace.embed_script_url
            hint = f'<link rel="preload" as="script" href="{script}">' if way == "tag" else ""
            crossorigin = "crossorigin" if way == "tag" else ""
            return (
                f'{hint}<script async {crossorigin} src="http://127.0.0.1:{api_port}/embed.js"'
                f' data-meeting="{SID}" data-token="{token}"></script>'
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
    port = wire.port()
    wire.lay(port, server.server_port)
    try:
        yield f"http://localhost:{port}"
    finally:
        server.shutdown()
        server.server_close()
