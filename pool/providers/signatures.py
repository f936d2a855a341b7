"""Verify the signatures of NeetoCal's webhooks.

The header `x-neeto-webhook-signature: sha256=<hex>` carries the HMAC-SHA256 of the payload with the
webhook's secret (https://help.neetocal.com/articles/securing-webhook-requests). These are accepted,
and these refused:

| header                                     | body                              |        |
|--------------------------------------------|-----------------------------------|--------|
| none, or more than one                     | any                               | refuse |
| not `sha256=` and 64 hex digits, no spaces | any                               | refuse |
| HMAC of the bytes that arrived             | any bytes                         | accept |
| the same, hex in upper or mixed case       | any bytes                         | accept |
| HMAC of an escaped form of those bytes     | UTF-8, within the limits below    | accept |
| HMAC of the same JSON written otherwise    | other spaces, key order, escapes  | refuse |

There are two escaped forms. One follows the documentation of another product of the vendor:
`<`, `>`, `&` and all that is not ASCII written as \\uXXXX before hashing. The other is how Rails
writes JSON: `<`, `>`, `&`, U+2028 and U+2029 as \\uXXXX, and other letters as they are.

A stranger can send any body with a wrong signature, so finding out that it is wrong has to be
cheap. The bytes that arrived are hashed first, which costs one SHA-256 whatever the body. The
escaped forms are up to six times as long, and have to be written before they are hashed. In all,
that takes as long as 12 to 20 SHA-256 of the same body where it is full of letters that are not
ASCII, and as 50 for the worst mixtures (measured where the processor computes SHA-256). So they are
tried only if they differ from the body, and only for bodies of at most ESCAPED_MOST_BYTES with at
most ESCAPED_MOST_SIGNS of the signs that both forms escape: then no body costs more than six
SHA-256 of the largest webhook, 256 KiB. A booking's event has a few KiB and a few dozen such signs;
the limits leave room for long answers to the questions of a form. If a larger event is signed over
an escaped form after all, its booking is found by asking the provider for its bookings.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii

from pool.errors import BadSignature

SIGNATURE_HEADER = "x-neeto-webhook-signature"
ESCAPED_MOST_BYTES = 32 * 1024
ESCAPED_MOST_SIGNS = 4 * 1024

_signature = re.compile(r"sha256=([0-9a-fA-F]{64})")
_SIGNS = [
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
]
_SIGN_BYTES = [plain.encode() for plain, _ in _SIGNS]
_ASCII_SIGNS = 3  # the first of them
_ESCAPED_TOO = [
    ("\\", "\\\\"),  # first
    ('"', '\\"'),
    ("\n", "\\n"),
    ("\r", "\\r"),
    ("\t", "\\t"),
    ("\x7f", "\\u007f"),
]
_PLACEHOLDER = "\xff"  # stands for a backslash where all else is ASCII
# JSON has no control characters except these three, as white space.
_NEVER_IN_JSON = bytes(set(range(0x20)) - set(b"\t\n\r"))
_CHUNK_CHARACTERS = 8 * 1024


def verify(
    secret: str, body: bytes, signatures: Sequence[str], *, previous: str | None = None
) -> None:
    """Raise BadSignature unless the body was signed with one of the two secrets.

    `signatures` are the values of all headers of that name. In a thread, other threads may run
    after every few thousand characters.
    """
    given = signature_of(signatures)
    secrets = [each.encode() for each in (secret, previous) if each is not None]
    # All secrets and both escaped forms are compared, so that the time does not reveal which fits.
    fits = sum(hmac.compare_digest(given, hmac.digest(each, body, "sha256")) for each in secrets)
    if not fits and not _fits_escaped(given, body, secrets):
        raise BadSignature(
            f"{SIGNATURE_HEADER} does not match the body; check that the webhook secret is the "
            "one set at NeetoCal"
        )


def sign(secret: str, body: bytes) -> str:
    """Return the header's value for a body that is signed with this secret."""
    return f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"


def signature_of(signatures: Sequence[str]) -> bytes:
    """Return the digest in the signature header.

    Raise BadSignature if there is no such header, several, or one of another form.
    """
    if not signatures:
        raise BadSignature(f"the webhook carries no {SIGNATURE_HEADER} header")
    if len(signatures) > 1:
        raise BadSignature(f"the webhook carries {len(signatures)} {SIGNATURE_HEADER} headers")
    form = _signature.fullmatch(signatures[0])
    if form is None:
        raise BadSignature(f"{SIGNATURE_HEADER} is not sha256= and 64 hex digits")
    return bytes.fromhex(form[1])


def _fits_escaped(given: bytes, body: bytes, secrets: Sequence[bytes]) -> bool:
    """Return True if an escaped form of the body, other than the body itself, was signed."""
    if len(body) > ESCAPED_MOST_BYTES:
        return False
    ascii_only = body.isascii()
    possible = _SIGN_BYTES[:_ASCII_SIGNS] if ascii_only else _SIGN_BYTES
    signs = sum(body.count(sign) for sign in possible if sign in body)
    if signs > ESCAPED_MOST_SIGNS or (ascii_only and not signs):
        return False
    if body.translate(None, _NEVER_IN_JSON) != body:
        return False  # this is not JSON text, so only its bytes can have been signed
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    for_html = [hmac.new(each, digestmod=hashlib.sha256) for each in secrets if signs]
    for_ascii = [hmac.new(each, digestmod=hashlib.sha256) for each in secrets if not ascii_only]
    for start in range(0, len(text), _CHUNK_CHARACTERS):
        piece = text[start : start + _CHUNK_CHARACTERS]
        form = _for_html(piece).encode() if for_html or piece.isascii() else b""
        for mac in for_html:
            mac.update(form)
        if for_ascii and not piece.isascii():
            form = _for_ascii(piece)
        for mac in for_ascii:
            mac.update(form)
    return sum(hmac.compare_digest(given, mac.digest()) for mac in [*for_html, *for_ascii]) > 0


def _for_html(text: str) -> str:
    """Write what HTML and old JavaScript would misread as \\uXXXX, and leave all other letters."""
    # In JSON these occur only inside strings, so replacing them in the text changes nothing else.
    for plain, escape in _SIGNS:
        if plain in text:
            text = text.replace(plain, escape)
    return text


def _for_ascii(text: str) -> bytes:
    """Write <, >, & and all that is not ASCII as \\uXXXX."""
    # The library writes the form wanted here in one pass: lower-case hex, and surrogate pairs
    # beyond the BMP. The ASCII characters that it escapes are put back. Every escape begins with
    # a backslash, and only that of the backslash ends with one, so replacing from the left meets
    # whole escapes.
    escaped = encode_basestring_ascii(text)[1:-1]
    for plain, escape in _ESCAPED_TOO:
        if plain in text:
            escaped = escaped.replace(escape, _PLACEHOLDER if plain == "\\" else plain)
    return _for_html(escaped).encode("latin-1").replace(_PLACEHOLDER.encode("latin-1"), b"\\")
