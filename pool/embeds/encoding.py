"""Encode values for the place in a page where they stand.

Pages go through more than an HTML parser: template languages read them before or after, on the
server and in the browser. So in every value from outside, each character with a meaning in HTML,
JavaScript or a template is replaced, wherever the value stands.
"""

from __future__ import annotations

import json
import re
from html import escape
from urllib.parse import quote, urlencode

_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_IN_SCRIPT = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&'`${}[]%#"}
# Controls, surrogates and noncharacters, which HTML cannot carry, and the marks that turn the
# direction of the text after them; those that only join or set one letter apart stay.
_NOT_TEXT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
# A comment after each brace: libraries look for `{{` in text that the browser has decoded.
_IN_TEXT = {
    ord("{"): "&#123;<!---->",
    ord("}"): "&#125;",
    ord("["): "&#91;<!---->",
    ord("]"): "&#93;",
    ord("$"): "&#36;",
    ord("`"): "&#96;",
    ord("%"): "&#37;",
    ord("\\"): "&#92;",
}
_ADDRESS = re.compile(r"https?://[^\s\x00-\x20\x7f-\x9f\\]+", re.IGNORECASE)
_KEPT_IN_ADDRESS = "!#$%&()*+,/:;=?@[]~"


def json_in_script(value: object) -> str:
    """Return JSON, in ASCII, in which nothing can end or change the script it stands in."""
    return _JSON_STRING.sub(
        lambda found: found.group().translate(_IN_SCRIPT), json.dumps(value, ensure_ascii=True)
    )


def text(value: str) -> str:
    """Return text for between two tags, on one line."""
    on_one_line = re.sub("[\t\n\r]", " ", value)
    return escape(_NOT_TEXT.sub("\ufffd", on_one_line)).translate(_IN_TEXT)


def attribute(value: str) -> str:
    """Return the value of an attribute, without its quotes; for what has no braces in it."""
    return escape(value)


def web_address(url: str | None) -> str | None:
    """Return an address that a link may lead to, None unless it is one of http or https."""
    if url is None or not _ADDRESS.fullmatch(url):
        return None
    return quote(url, safe=_KEPT_IN_ADDRESS, errors="replace")


def query(parameters: dict[str, str]) -> str:
    """Return parameters as the query of an address."""
    return urlencode(parameters, quote_via=quote, errors="replace")
