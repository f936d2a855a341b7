"""Test the tag in a page that the browser prerenders before anybody opens it.

Chromium prerenders nothing while it is driven, so its pages report their state themselves.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.product import wait_until
from tests.browser.conftest import chromium
from tests.browser.embed_stage import Stage
from tests.browser.unwatched import unwatched

REPORT = """<script>
let last = Promise.resolve();  // one after the other, so that they arrive in their order
const report = (said) => {
  const send = () => fetch("/report", { method: "POST", body: said, keepalive: true });
  last = last.then(send);
};
for (const name of ["claimed", "ready", "unavailable"])
  addEventListener("linkpool:" + name, () => report(name));
customElements.whenDefined("linkpool-embed").then(() =>
  setTimeout(() => report(`drawn ahead: ${document.prerendering}`), 100));
</script>"""
# The visitor follows the link as soon as the test lets them.
FOLLOW = """<script>
setInterval(async () => { if ((await fetch("/let-go")).ok) location = "/ahead" }, 100);
</script>"""


def test_nothing_is_claimed_in_a_page_that_is_drawn_ahead(stage: Stage, tmp_path: Path) -> None:
    """The provider is not asked for anything either, until somebody opens the page."""
    ahead = stage.page(REPORT + stage.tag(data_load="now"), path="/ahead")
    rules = json.dumps({"prerender": [{"urls": [ahead], "eagerness": "immediate"}]})
    page = stage.page(f'{FOLLOW}<script type="speculationrules">{rules}</script>')
    command = chromium(), "--headless=new", "--no-sandbox", f"--user-data-dir={tmp_path}/profile"
    with unwatched(tmp_path, *command) as open_one:
        open_one(page)
        wait_until(lambda: stage.reports, 60, what="the page is drawn ahead")
        assert stage.reports == ["drawn ahead: true"]
        assert stage.linkpool.hits.keys() == {"GET /embed.js"}
        stage.pages["/let-go"] = "", {}
        wait_until(lambda: "ready" in stage.reports, 60, what="the frame is there")
    assert stage.reports == ["drawn ahead: true", "claimed", "ready"]
    assert len(stage.linkpool.asked) == 1
