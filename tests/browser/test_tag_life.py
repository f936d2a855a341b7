"""Test the life of embeds: in single-page apps, in several tabs, and in the back/forward cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserType, expect

from tests.acceptance.product import wait_until
from tests.browser.embed_page import EmbedPage, OpenEmbed
from tests.browser.embed_stage import Stage
from tests.browser.tab import WAIT_MS
from tests.debian import debian

expect.set_options(timeout=WAIT_MS)

# A component that puts the element into the page by an effect, as single-page apps do.
APP = """
const mount = (place, attributes) => {
  const element = document.createElement("linkpool-embed");
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  place.append(element);
  return () => element.remove();
};
const place = document.querySelector("#app");
"""


@pytest.fixture
def app(stage: Stage, open_embed: OpenEmbed) -> EmbedPage:
    """Open a single-page app that has loaded the tag, and shows nothing yet."""
    return open_embed(
        stage.page(
            f'<div id="app"></div><script src="{stage.api}/embed.js"></script>'
            f"<script>{APP}</script>"
        )
    )


def frames(tab: EmbedPage) -> int:
    return tab.page.locator("iframe").count()


def test_a_double_mount_claims_once(stage: Stage, app: EmbedPage) -> None:
    """React's strict mode mounts, unmounts and mounts again in one task."""
    app.page.evaluate(
        """() => {
          const given = { meeting: "demo", token: "ada", load: "now" };
          mount(place, given)();
          mount(place, given);
        }"""
    )
    app.state("ready")
    assert len(stage.linkpool.asked) == 1
    assert (frames(app), stage.linkpool.hits["GET /one-off-1"]) == (1, 1)
    assert app.events() == ["claimed", "ready"]
    app.calm()


def test_nothing_is_left_behind(stage: Stage, app: EmbedPage) -> None:
    """Removed during the claim or with its frame, the element leaves no frame, event or request."""
    stage.linkpool.delay_seconds = 0.3
    app.page.evaluate("void (window.gone = mount(place, { token: 'ada', load: 'now' }))")
    wait_until(lambda: stage.linkpool.hits["POST /v1/embed/claims"] == 1)
    app.page.evaluate("gone()")
    wait_until(lambda: len(stage.linkpool.asked) == 1)
    app.page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert app.events() == []
    assert (app.embed.count(), frames(app)) == (0, 0)
    stage.linkpool.delay_seconds = 0
    app.page.evaluate("void (window.gone = mount(place, { token: 'ada', load: 'now' }))")
    app.state("ready")
    app.page.evaluate("gone()")
    assert frames(app) == 0
    # The same customer comes back to the same link.
    app.page.evaluate("void mount(place, { token: 'ada', load: 'now' })")
    app.state("ready")
    assert (frames(app), stage.claims()) == (1, 1)


def test_an_element_that_moves_keeps_one_frame(stage: Stage, app: EmbedPage) -> None:
    app.page.evaluate("void mount(place, { token: 'ada' })")
    app.state("ready")
    app.page.evaluate(
        """() => {
          const other = document.querySelector("main").appendChild(document.createElement("div"));
          other.append(document.querySelector("linkpool-embed"));
        }"""
    )
    app.await_event("ready", times=2)
    app.state("ready")
    assert (frames(app), stage.claims()) == (1, 1)


def test_another_meeting_takes_the_place_of_the_first(stage: Stage, app: EmbedPage) -> None:
    """Attributes change one after the other, and the first meeting's answer is not shown."""
    stage.linkpool.delay_seconds = 0.3
    app.page.evaluate("void mount(place, { meeting: 'demo', token: 'ada', load: 'now' })")
    wait_until(lambda: stage.linkpool.hits["POST /v1/embed/claims"] == 1)
    app.page.evaluate(
        """() => {
          const element = document.querySelector("linkpool-embed");
          element.setAttribute("meeting", "other");
          element.setAttribute("token", "ada-for-other");
        }"""
    )
    app.state("ready")
    assert app.details("claimed") == [{"meeting": "other", "state": "claimed"}]
    assert frames(app) == 1
    slug = stage.linkpool.links["ada-for-other"]
    assert slug in str(app.page.locator("iframe").get_attribute("src"))


def test_react_mounts_it_twice(stage: Stage, open_embed: OpenEmbed, react: dict[str, str]) -> None:
    """React itself runs in strict mode, with the element in its markup and mounted by an effect."""
    for path, script in react.items():
        stage.pages[path] = (script, {"content-type": "text/javascript"})
    code = """
      const { createElement: h, StrictMode, useEffect, useRef, useState } = React;
      const ByEffect = ({ token }) => {
        const ref = useRef();
        useEffect(() => mount(ref.current, { meeting: "demo", token }), [token]);
        return h("div", { ref });
      };
      const App = () => {
        const [token, setToken] = useState("ada");
        window.setToken = setToken;
        return h("div", null, h("linkpool-embed", { meeting: "demo", token, load: "now" }),
          h(ByEffect, { token: token + "-too" }));
      };
      ReactDOM.createRoot(place).render(h(StrictMode, null, h(App)));
    """
    scripts = "".join(f'<script src="{path}"></script>' for path in react)
    tab = open_embed(
        stage.page(
            f'<div id="app"></div><script src="{stage.api}/embed.js"></script>{scripts}'
            f"<script>{APP}{code}</script>"
        )
    )
    for nth in range(2):
        tab.embed.nth(nth).scroll_into_view_if_needed()
        tab.state("ready", nth)
    assert (frames(tab), stage.claims()) == (2, 2)
    assert len(stage.linkpool.asked) == 2
    tab.page.evaluate("setToken('bob')")
    tab.await_event("claimed", times=4)
    for nth in range(2):
        tab.embed.nth(nth).scroll_into_view_if_needed()
        tab.state("ready", nth)
    assert (tab.embed.count(), frames(tab), stage.claims()) == (2, 2, 4)


@pytest.fixture(scope="module")
def react(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return React's scripts by their addresses, installed by npm and kept from run to run."""
    npm, version = debian("npm"), "18.3.1"
    assert request.config.cache is not None
    place = request.config.cache.mkdir(f"react-{version}")
    modules = place / "node_modules"
    if not (modules / "react-dom").exists():
        wanted = [f"react@{version}", f"react-dom@{version}"]
        subprocess.run(
            [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", *wanted],
            cwd=place, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return {
        f"/{name}.js": (modules / name / "umd" / f"{name}.development.js").read_text("utf-8")
        for name in ("react", "react-dom")
    }


# -- several tabs, and what a browser keeps


def test_two_tabs_at_once_become_one_visitor(stage: Stage, open_embed: OpenEmbed) -> None:
    """Without a token both tabs use the visitor id of the first, so there is one link."""
    stage.linkpool.delay_seconds = 0.3
    url = stage.page(stage.tag(data_public_key="pk_demo"))
    first = open_embed()
    second = open_embed(beside=first)
    for tab in (first, second):
        tab.page.goto(url, wait_until="commit")
    for tab in (first, second):
        tab.page.bring_to_front()
        tab.state("ready")
    assert stage.linkpool.links == {"visitor-1": "one-off-1"}
    assert stage.linkpool.asked == [
        {"public_key": "pk_demo"},
        {"public_key": "pk_demo", "visitor": "visitor-1"},
    ]
    second.page.reload()
    second.state("ready")
    assert stage.claims() == 1


def test_a_site_that_may_store_nothing_still_gets_a_link(
    stage: Stage, open_embed: OpenEmbed
) -> None:
    """A sandboxed frame of another site has no storage and no locks, and its origin is `null`."""
    inner = stage.page(stage.tag(data_public_key="pk_demo", data_load="now"), path="/inner")
    tab = open_embed(
        stage.page(f'<iframe sandbox="allow-scripts" src="{inner}" title="Inner"></iframe>')
    )
    within = tab.page.frame_locator("iframe[title=Inner]")
    within.locator("linkpool-embed[data-state=ready]").wait_for(state="attached")
    assert stage.linkpool.links == {"visitor-1": "one-off-1"}
    assert tab.console == []


REPORT = """<script>
for (const name of ["claimed", "ready", "booked"])
  addEventListener("linkpool:" + name, () => fetch("/report", { method: "POST", body: name }));
addEventListener("pageshow", ({ persisted }) =>
  fetch("/report", { method: "POST", body: persisted ? "kept" : "new" }));
</script>"""


@pytest.fixture(scope="module")
def keeping_browser(browser: Browser) -> Iterator[Browser]:
    """Start a browser with a back/forward cache, which Playwright turns off otherwise."""
    kind: BrowserType = browser.browser_type
    kept = kind.launch(
        executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
        args=["--no-sandbox"],
        ignore_default_args=["--disable-back-forward-cache"],
    )
    yield kept
    kept.close()


def test_back_after_booking_shows_the_booking(stage: Stage, keeping_browser: Browser) -> None:
    """The page leaves the back/forward cache in its old state, with a stale frame.

    Playwright loses a page there, so the page itself reports its state.
    """
    away = stage.page("<script>setTimeout(() => history.back(), 300)</script>", path="/away")
    leave = f"""<script>addEventListener("linkpool:ready", () => setTimeout(() => {{
      location = "{away}" }}, 500), {{ once: true }})</script>"""
    url = stage.page(REPORT + leave + stage.tag())
    context = keeping_browser.new_context()
    page = context.new_page()
    page.goto(url)
    wait_until(lambda: "ready" in stage.reports)
    stage.linkpool.consumed.add("one-off-1")
    wait_until(lambda: "booked" in stage.reports, what=f"booked, not {stage.reports}")
    # Reports that are sent one right after the other may arrive in any order.
    assert sorted(stage.reports[:3]) == ["claimed", "new", "ready"]
    wait_until(lambda: len(stage.reports) == 6)
    assert sorted(stage.reports[3:]) == ["booked", "claimed", "kept"]
    context.close()


def test_what_a_page_keeps_is_only_the_visitor(stage: Stage, open_embed: OpenEmbed) -> None:
    """The id is kept in the site's own storage; with a token nothing is kept at all."""
    tab = open_embed(stage.page(stage.tag() + stage.tag(data_public_key="pk", data_load="now")))
    tab.state("ready", 1)
    kept = json.loads(tab.page.evaluate("JSON.stringify({ ...localStorage })"))
    assert list(kept) == ["linkpool:pk"]
    assert kept["linkpool:pk"].startswith("visitor-")
    assert tab.page.evaluate("document.cookie") == ""
