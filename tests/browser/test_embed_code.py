"""Test in a browser the code that linkpool renders for a site's own server."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from pool.config.settings import Workspace
from pool.embeds import EmbedType, Options, html
from pool.model.links import Claim
from tests.browser.embed_page import OpenEmbed
from tests.browser.embed_stage import NONCE, Stage, strict_policy


@pytest.mark.parametrize("kind", ["inline", "element-click", "floating-popup"])
def test_each_type_opens_its_frame_under_a_strict_policy(
    kind: EmbedType, stage: Stage, open_embed: OpenEmbed
) -> None:
    """Both scripts carry the page's nonce, and the form receives the slug and the prefilled
    values.
    """
    workspace = Workspace(
        name="default",
        subdomain="acme",
        api_key=SecretStr("k"),
        base_url=stage.api,
        ref_field="ref",
    )
    claim = Claim("one-off-1", "claimed", "pool", 1)
    code = html(workspace, claim, Options(type=kind, nonce=NONCE, prefill={"name": "Zoë & Max"}))
    tab = open_embed(stage.page(code, headers=strict_policy(stage)))
    if kind != "inline":
        tab.page.locator("button", has_text="Book a time").click()
    frame = tab.page.locator("iframe")
    frame.wait_for(state="attached")
    asked = frame.evaluate("frame => Object.fromEntries(new URL(frame.src).searchParams)")
    assert asked == {"dynamicHeight": "true", "name": "Zoë & Max", "ref": "one-off-1"}
    assert frame.count() == 1
    assert tab.console == []
