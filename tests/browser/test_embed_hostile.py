"""Test that hostile texts stay texts, in every attribute, answer, template and embed code."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from pydantic import SecretStr

from pool.config.settings import Workspace
from pool.embeds import Options, html
from pool.model.links import Booked, Claim
from tests.browser.embed_page import EmbedPage, OpenEmbed
from tests.browser.embed_stage import Stage

RUN = "ran.push(1)"
HOSTILE = (
    f'"><img src=x onerror="{RUN}">',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}",
    f"</script><script>{RUN}</script>",
    f"<!--<script>{RUN}",
    f"</title></style></textarea></template><svg onload={RUN}>",
    f"\u2028{RUN}\u2029\r\n{RUN}",
    f"javascript:{RUN}",
    f" \tjava\nscript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"{{{{constructor.constructor('{RUN}')()}}}} ${{{RUN}}} <%= {RUN} %> #{{{RUN}}}",
    f"&lt;script&gt;{RUN}&lt;/script&gt; &quot;&#39;",
    f"\\\"'); {RUN}; //",
    "\u202egnp.exe\u202c \u2066left\u2069 \u200f",
    "Zoë 🦊 " + "x" * 10_000,
)
PLACES = ("button", "booked", "manage", "unavailable", "link", "retry", "frame", "loading")


def attributes(**given: str) -> str:
    return " ".join(f'{name.replace("_", "-")}="{escape(text)}"' for name, text in given.items())


def nothing_ran(tab: EmbedPage) -> None:
    """Assert that no text became code or markup, and that no address runs code."""
    assert tab.page.evaluate("ran") == []
    markup, links = tab.page.evaluate("""() => {
      const roots = [...document.querySelectorAll("linkpool-embed")];
      const all = (what) => roots.flatMap((each) => [
        ...each.shadowRoot.querySelectorAll(what), ...each.querySelectorAll(what)]);
      return [all("img, script, svg, style").length, all("a").map(({ href }) => href)];
    }""")
    assert markup == 0
    for address in links:
        assert address == "" or address.startswith(("http://", "https://")), address


def test_no_attribute_breaks_out(stage: Stage, open_embed: OpenEmbed) -> None:
    """Each hostile text in every attribute of an element is shown and sent unchanged."""
    body = ""
    for number, text in enumerate(HOSTILE):
        texts = {f"text_{place}": text for place in PLACES}
        given = {"meeting": text, "prefill_name": text, "fallback_url": text, "lang": text, **texts}
        for token in (f"{number}{text}", f"none-{number}", f"booked-{number}"):
            body += f"<linkpool-embed load=now {attributes(token=token, **given)}></linkpool-embed>"
        # One that is unavailable, and one that is booked, with the text in all that is answered.
        problem = {"type": text, "title": text, "fallback_url": text}
        stage.linkpool.by_token[f"none-{number}"] = (403, {}, problem)
        booking = dict.fromkeys(("sid", "starts_at", "ends_at", "time_zone", "manage_url"), text)
        answer: dict[str, Any] = {"state": "consumed", "url": text, "embed": {}, "booking": booking}
        stage.linkpool.by_token[f"booked-{number}"] = (200, {}, answer)
    tab = open_embed(stage.page(f'<script async src="{stage.api}/embed.js"></script>{body}'))
    for nth, state in enumerate(["ready", "unavailable", "booked"] * len(HOSTILE)):
        tab.state(state, nth)
    for number, text in enumerate(HOSTILE):
        shown = text.replace("\r\n", "\n")  # as a browser reads HTML
        first = tab.embed.nth(3 * number)
        # Addresses hold no half characters and one kind of line break.
        sent = first.locator("iframe").evaluate(
            "frame => new URL(frame.src).searchParams.get('name')"
        )
        assert sent == shown
        assert first.locator("iframe").get_attribute("title") == shown
        for place, nth in (("unavailable", 1), ("booked", 2)):
            slot = tab.embed.nth(3 * number + nth).locator(f"[part={place}] slot").first
            assert slot.evaluate("slot => slot.textContent") == shown
    assert {each.get("token") for each in stage.linkpool.asked} >= {
        f"{number}{text}".replace("\r\n", "\n") for number, text in enumerate(HOSTILE)
    }
    nothing_ran(tab)


def test_no_template_breaks_out(stage: Stage, open_embed: OpenEmbed) -> None:
    """Texts of a template stand in their slots, and a slot with a hostile name is absent."""
    body = ""
    for number, text in enumerate(HOSTILE):
        body += f'<template id="t{number}"><b slot="booked">{escape(text)}</b></template>'
        stage.linkpool.links[f"ada-{number}"] = f"one-off-{number}"
        stage.linkpool.consumed.add(f"one-off-{number}")
        for template in (f"t{number}", text):
            body += stage.tag(
                data_token=f"ada-{number}", data_load="now", data_template=escape(template)
            )
    tab = open_embed(stage.page(body))
    for nth in range(2 * len(HOSTILE)):
        tab.state("booked", nth)
    for number, text in enumerate(HOSTILE):
        with_template = tab.embed.nth(2 * number)
        assert with_template.locator("[slot=booked]").text_content() == text.replace("\r\n", "\n")
        assert tab.embed.nth(2 * number + 1).locator("[slot=booked]").count() == 0
    nothing_ran(tab)


def test_an_address_of_the_api_runs_nothing(stage: Stage, open_embed: OpenEmbed) -> None:
    """The page's fallback is shown for an `api` that is no address of the web."""
    body = "".join(
        f"<linkpool-embed load=now {attributes(api=text, token='ada', fallback_url='/contact')}>"
        "</linkpool-embed>"
        for text in (
            f"javascript:{RUN}//",
            f"data:text/html,<script>{RUN}</script>",
            "//",
            "\u2028",
        )
    )
    tab = open_embed()
    tab.page.clock.install()
    tab.page.goto(stage.page(f'<script async src="{stage.api}/embed.js"></script>{body}'))
    for nth in range(4):
        wanted = tab.embed.nth(nth).and_(tab.page.locator("[data-state=unavailable]"))
        for _ in range(100):
            if wanted.count():
                break
            tab.page.clock.run_for(1000)
        assert wanted.count() == 1
    nothing_ran(tab)


def plain(text: str) -> list[str]:
    """Return the words alone, since the code stands on one line and has no marks of direction."""
    return re.sub("[\u202a-\u202e\u2066-\u2069\ufffd]", "", text).split()


def test_no_embed_code_breaks_out(stage: Stage, open_embed: OpenEmbed) -> None:
    """Each hostile text in every option of the code that linkpool renders stays a text."""
    workspace = Workspace(
        name="default", subdomain="acme", api_key=SecretStr("k"), base_url=stage.api
    )
    body = ""
    for number, text in enumerate(HOSTILE):
        claim = Claim(f"one-off-{number}", "claimed", "pool", 1)
        inline = Options(prefill={"name": text[:4000]}, styles={"color": text[:500]})
        body += html(workspace, claim, inline)
        button = Options(type="element-click", button_text=text[:500], prefill={"a.b": text[:900]})
        body += html(workspace, Claim(f"one-off-b{number}", "claimed", "pool", 1), button)
        booked = Booked("b", "confirmed", 1_795_593_600_000, None, text, text)
        body += html(workspace, Claim(f"one-off-c{number}", "consumed", "pool", 1, 2, "b", booked))
    tab = open_embed(stage.page(body))
    frames = tab.page.locator("[id^=linkpool-] iframe")
    frames.nth(len(HOSTILE) - 1).wait_for(state="attached")
    buttons = tab.page.locator("button[id^=linkpool-] bdi").all_text_contents()
    assert list(map(plain, buttons)) == [plain(text[:500]) for text in HOSTILE]
    sent = frames.evaluate_all(
        "frames => frames.map((frame) => new URL(frame.src).searchParams.get('name'))"
    )
    assert sent == [text[:4000] for text in HOSTILE]
    assert tab.page.evaluate("ran") == []
    assert tab.page.locator("main > :is(img, svg, style, b)").count() == 0
    for address in tab.page.locator("main a").evaluate_all(
        "links => links.map(({ href }) => href)"
    ):
        assert address.startswith(("http://", "https://"))
