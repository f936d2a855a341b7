"""Test the main story in Debian's Firefox, whose page reports its state itself.

Playwright drives no Firefox but its own, so nothing is clicked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.product import wait_until
from tests.browser.embed_stage import NONCE, Stage, strict_policy
from tests.browser.unwatched import unwatched
from tests.debian import debian

# What is complained about is reported, too: errors, and whatever the strict policy stops.
REPORT = f"""<script nonce="{NONCE}">
const report = (said) => fetch("/report", {{ method: "POST", body: said, keepalive: true }});
for (const name of ["claimed", "ready", "booked", "unavailable"])
  addEventListener("linkpool:" + name, () => report(name));
addEventListener("pageshow", ({{ persisted }}) => report(persisted ? "kept" : "new"));
addEventListener("error", ({{ message }}) => report("error: " + message));
addEventListener("unhandledrejection", ({{ reason }}) => report("error: " + reason));
addEventListener("securitypolicyviolation", (event) => report("stopped: " + event.blockedURI));
</script>"""
PREFERENCES = """
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
"""


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Open an address in a Firefox with a profile of its own."""
    found = debian("firefox-esr")
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "user.js").write_text(PREFERENCES)
    command = found, "--headless", "--no-remote", "--profile", str(profile)
    with unwatched(tmp_path, *command) as open_one:
        yield open_one


def test_firefox_shows_the_link_and_then_the_booking(
    stage: Stage, firefox: Callable[[str], None]
) -> None:
    """It does so by token and by public key, under a strict policy, and again after booking."""
    away = stage.page(
        f'<script nonce="{NONCE}">setTimeout(() => history.back(), 500)</script>',
        path="/away", headers=strict_policy(stage),
    )  # fmt: skip
    leave = f"""<script nonce="{NONCE}">
      let ready = 0;
      addEventListener("linkpool:ready", () => {{
        if (++ready === 2) setTimeout(() => {{ location = "{away}" }}, 500);
      }})</script>"""
    tags = stage.tag(data_load="now", nonce=NONCE)
    tags += stage.tag(data_load="now", nonce=NONCE, data_public_key="pk_demo")
    tags = tags.replace('style="display:block;height:44rem"', "")
    firefox(stage.page(REPORT + leave + tags, headers=strict_policy(stage)))
    wait_until(lambda: stage.reports.count("ready") == 2, 60, what="two frames")
    assert stage.reports.count("claimed") == 2
    assert stage.linkpool.hits["GET /javascript/embed.js"] == 1
    assert sorted(stage.linkpool.links.values()) == ["one-off-1", "one-off-2"]
    stage.linkpool.consumed |= set(stage.linkpool.links.values())
    wait_until(lambda: stage.reports.count("booked") == 2, 30, what="the bookings are shown")
    assert stage.claims() == 2
    assert [each for each in stage.reports if ":" in each and "favicon" not in each] == []
