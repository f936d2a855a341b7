"""Hostile texts through every option of the embed code: nothing breaks out, nothing is lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import tinyhtml5

from pool.embeds import Options, arguments, html
from pool.model.links import Booked, Claim
from tests.debian import debian
from tests.unit.test_embed import CLAIM, SLUG, WORKSPACE

TEXTS = {
    "quotes": "\"'`\"'><img src=x onerror=alert(1)>",
    "end of script": "</script><script>alert(1)</script>",
    "end in capitals": "</SCRIPT\n>",
    "comment": "<!--<script>",
    "end of comment": "--><svg onload=alert(1)>-->",
    "cdata": "]]><![CDATA[",
    "line separators": "a\u2028alert(1)\u2029b\r\nc\x85",
    "javascript": "javascript:alert(document.domain)",
    "hidden javascript": "\x01java\tscript:alert(1)",
    "entities": "&lt;&quot;&#39;&amp;&#x3c;script&#x3e;",
    "backslashes": '\\";alert(1);//\\u003c/script\\u003e\\',
    "braces": "{{constructor.constructor('alert(1)')()}}",
    "template literal": "`${alert(1)}`",
    "server templates": "{% raw %}<%= 1 %><?php die() ?>#{1}@{1}{#x#}[[1]]",
    "directions": "a\u202eb\u2066c\u2067d\u200ee\u200ff\u2069\u202c",
    "nul": "a\x00b</scr\x00ipt>",
    "surrogates": "a\ud800b\udfffc",
    "noncharacters": "a\ufffeb\uffff\U0001f600",
    "unicode": "Zoë Ž 株式会社 ﷽ 👩‍👩‍👧",
    "empty": "",
}
LONG = "</script>{{x}}\u2028" * 40  # as long as any one option may be
KNOWN = "known"


def as_json(text: str) -> str:
    """Return a text as it is once it was written as UTF-8."""
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)


def options_with(text: str) -> dict[str, Options]:
    """Every option that takes a text, with this one."""
    made = {
        "prefill": Options(prefill={"name": text, "email": text, "any.code-1": text}),
        "styles": Options(styles={"height": text[:500], "--own": text[:500]}),
        "styles text": Options(styles=text[:500]),
        "popup": Options(type="floating-popup", prefill={"name": text}),
    }
    if text:
        made["selector"] = Options(element_selector=text[:500])
        made["button"] = Options(type="element-click", button_text=text[:500])
        made["button selector"] = Options(type="element-click", element_selector=text[:500])
    return made


ROWS = [
    (name, option, options, as_json(text))
    for name, text in {**TEXTS, "long": LONG}.items()
    for option, options in options_with(text).items()
]


def body_of(code: str) -> Element:
    """Parse as browsers do, where scripts are off, so that <noscript> is parsed too."""
    page = tinyhtml5.parse(f"<!doctype html><body>{code}</body>", namespace_html_elements=False)
    body = page.find("body")
    assert body is not None
    return body


def shape(body: Element) -> list[tuple[str, list[str]]]:
    """Every element with the names of its attributes; comments are none."""
    return [
        (str(each.tag), sorted(map(str, each.attrib)))
        for each in body.iter()
        if isinstance(each.tag, str)
    ]


def scripts_of(body: Element) -> Iterator[str]:
    """The texts of the scripts that are not loaded from elsewhere."""
    for script in body.iter("script"):
        if "src" not in script.attrib:
            yield script.text or ""


def run_all(scripts: list[str]) -> list[Any]:
    """Run each script on a page of its own, and return what the provider is called with."""
    program = """
      const vm = require("vm");
      const scripts = JSON.parse(require("fs").readFileSync(0, "utf8"));
      console.log(JSON.stringify(scripts.map((script) => {
        const alerts = [];
        const page = { alert: (what) => alerts.push(what) };
        page.window = page;
        vm.runInNewContext(script, page);
        return [page.neetoCal.q.map((call) => [...call]), alerts, Object.keys(page).sort()];
      })));
    """
    ran = subprocess.run(
        [debian("node"), "-e", program], input=json.dumps(scripts), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    found: list[Any] = json.loads(ran.stdout)
    return found


def test_no_option_breaks_out_of_its_place() -> None:
    """The page has the elements and attributes that a harmless text gives, and no others."""
    harmless = {
        option: shape(body_of(html(WORKSPACE, CLAIM, options)))
        for option, options in options_with("Zoe").items()
    }
    for name, option, options, _ in ROWS:
        code = html(WORKSPACE, CLAIM, options)
        assert shape(body_of(code)) == harmless[option], (name, option)
        assert code.isascii(), (name, option)
        assert code.isprintable(), (name, option)
        for mark in ("{{", "{%", "{#", "${", "#{", "<%", "<?", "`", "]]", "<!--<"):
            assert mark not in code.replace("<!---->", ""), (name, option, mark)


def test_the_provider_is_called_once_with_what_was_given() -> None:
    """No text ends its string, and each arrives as it was; nothing else is run or defined."""
    scripts = [
        script
        for *_, options, _ in ROWS
        for script in scripts_of(body_of(html(WORKSPACE, CLAIM, options)))
    ]
    assert len(scripts) == len(ROWS)
    for (name, option, options, text), ran in zip(ROWS, run_all(scripts), strict=True):
        expected = arguments("acme", SLUG, "ref", options)
        assert ran == [[[expected]], [], ["alert", "neetoCal", "window"]], (name, option)
        if option == "prefill":
            assert ran[0][0][0]["queryParams"]["name"] == text, name


def test_the_button_says_what_was_given() -> None:
    """All but what no page can show, or what would turn the text around it, is legible."""
    for name, text in TEXTS.items():
        if not text:
            continue
        options = Options(type="element-click", button_text=text)
        body = body_of(html(WORKSPACE, CLAIM, options))
        for element in (body.find("button"), body.find("noscript")):
            assert element is not None
            said = "".join(element.itertext())
            assert "{{" not in "".join(each for each in _texts(element)), name
            assert len(said) == len(text), name
            seen = [a for a, b in zip(said, text, strict=True) if a != b]
            assert set(seen) <= {"\ufffd", " "}, (name, said)


def _texts(element: Element) -> Iterator[str]:
    """The text nodes as a library in the page finds them: a comment ends one."""
    for each in element.iter():
        yield f"{each.text or ''}|" if isinstance(each.tag, str) else "|"
        yield f"{each.tail or ''}|"


def test_the_plain_link_leads_to_the_links_page() -> None:
    """It is an address of the workspace, whatever is prefilled."""
    for name, _, options, _ in ROWS:
        [link] = body_of(html(WORKSPACE, CLAIM, options)).iter("a")
        address = link.attrib["href"]
        assert address.startswith(f"https://acme.neetocal.com/{SLUG}?"), name
        assert address.isascii(), name
        assert not set(address) & set(" <>\"'`{}\\\r\n\t"), name


def test_nothing_breaks_out_of_the_booked_block() -> None:
    """Zone, state and address stay texts, and a link leads to a web page."""
    for name, text in {**TEXTS, "long": "x" * 10_000}.items():
        for url in (text, f"https://acme.example/{text}", f"HTTPS://a.example/?{text}"):
            booked = Booked("b-1", text or KNOWN, 1_795_593_600_000, None, text, url)
            code = html(WORKSPACE, Claim(SLUG, "consumed", "pool", 1, 2, "b-1", booked))
            assert code.isascii(), name
            body = body_of(code)
            tags = [tag for tag, _ in shape(body)]
            assert tags in (["body", "div", "p", "time", "p", "a"], ["body", "div", "p", "time"])
            for link in body.iter("a"):
                assert link.attrib["href"].lower().startswith("https://a"), name
                assert sorted(link.attrib) == ["href", "rel"], name
