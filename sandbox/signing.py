"""Write a webhook's body and its signature, in each form that they may have."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

SIGNATURE_HEADER = "x-neeto-webhook-signature"


@dataclass(frozen=True, slots=True)
class Signed:
    """A body ready to be sent; `signature` is None where there is no secret."""

    body: bytes
    signature: str | None


def escaped(text: str) -> str:
    """Return JSON text with `<`, `>`, `&` and all non-ASCII as \\u escapes; it means the same."""
    shielded = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    # Outside ASCII, JSON's encoder handles surrogate pairs; its quotes are cut off.
    return "".join(each if each.isascii() else json.dumps(each)[1:-1] for each in shielded)


def markup_escaped(text: str) -> str:
    """Return JSON text with only `<`, `>`, `&` and the two Unicode line breaks as \\u escapes."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def signed(payload: Mapping[str, object], *, secret: str, escape: str, wrong: bool) -> Signed:
    """Return `payload`, signed as the knobs `webhook_escape` and `webhook_wrong_signature` say."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    body = (escaped(text) if escape == "escaped_body" else text).encode()
    if escape == "markup_hash_only":
        hashed = markup_escaped(text).encode()
    else:
        hashed = body if escape == "raw" else escaped(text).encode()
    if not secret:
        return Signed(body, None)
    key = secret + " but not this one" if wrong else secret
    digest = hmac.new(key.encode(), hashed, hashlib.sha256).hexdigest()
    return Signed(body, f"sha256={digest}")
