"""Parse the body of a claim, and check that it can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec

from pool.embeds import EmbedType, Options, check_embed_type
from pool.embeds.options import PREFILL_FIELDS, TEXT_CHARACTERS
from pool.errors import InvalidRequest, MalformedJson, RequestRefused
from pool.model.emails import EMAIL_CHARACTERS, check_email
from pool.model.links import check_customer_id

METADATA_BYTES = 2 * 1024
METADATA_LEVELS = 32  # the JSON parsers of the workers and the database have limits too

_WHITE_SPACE = b" \t\r\n"  # as JSON defines it


def _documented(**schema: Any) -> msgspec.Meta:
    """Return what the OpenAPI document says of a text that is checked after decoding."""
    return msgspec.Meta(extra_json_schema=schema)


_CustomerId = Annotated[
    str, _documented(minLength=1, maxLength=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
]
_Email = Annotated[str, _documented(maxLength=EMAIL_CHARACTERS, format="email")]
_FieldCode = Annotated[str, _documented(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
_Nonce = Annotated[str, _documented(pattern=r"^[A-Za-z0-9+/_-]{1,256}={0,2}$")]
_Text = Annotated[str, _documented(minLength=1, maxLength=TEXT_CHARACTERS)]


class ClaimRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a claim."""

    customer_id: _CustomerId
    email: _Email | None = None
    metadata: dict[str, Any] | None = None


class EmbeddedClaimRequest(ClaimRequest, forbid_unknown_fields=True):
    """The body of a claim that asks for embed code; `prefill` and the options are not stored."""

    prefill: Annotated[dict[_FieldCode, str], _documented(maxProperties=PREFILL_FIELDS)] = {}
    nonce: _Nonce | None = None
    styles: dict[str, str] | str | None = None
    element_selector: _Text | None = None
    button_text: _Text | None = None
    is_sidebar_and_cover_img_hidden: bool | None = None
    should_forward_query_params: bool | None = None

    def options(self, embed: EmbedType) -> Options:
        """Return the options of the embed. Raise InvalidRequest."""
        return Options.asked_for(embed, self, self.prefill)


_decoder = msgspec.json.Decoder(ClaimRequest)
_embedded_decoder = msgspec.json.Decoder(EmbeddedClaimRequest)


def embed_asked_for(query: bytes) -> EmbedType | None:
    """Return the type of embed that a claim's query asks for, None if it asks for none.

    Raise InvalidRequest for an unknown type.
    """
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("embed")
    return None if values is None else check_embed_type(",".join(values), "embed")


def parse_claim(
    body: bytes, decode: Callable[[bytes], ClaimRequest] = _decoder.decode
) -> ClaimRequest:
    """Return the claim in a body. Raise MalformedJson, InvalidRequest or InvalidCustomerId."""
    try:
        request = decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(body, error) from None
    check_customer_id(request.customer_id)
    if request.email is not None:
        check_email(request.email)
    if request.metadata is not None:
        check_metadata(request.metadata)
    return request


def parse_embedded_claim(body: bytes, embed: EmbedType) -> tuple[ClaimRequest, Options]:
    """Return the claim in a body that may hold options of the embed, and these.

    Raise what `parse_claim` raises.
    """
    request = parse_claim(body, _embedded_decoder.decode)
    assert isinstance(request, EmbeddedClaimRequest)  # noqa: S101 - its decoder makes no other
    return request, request.options(embed)


def _unreadable(body: bytes, error: Exception) -> RequestRefused:
    if not isinstance(error, msgspec.ValidationError):
        return MalformedJson(f"the body is not JSON: {error}")
    if not body.lstrip(_WHITE_SPACE).startswith(b"{"):
        return MalformedJson("the body is JSON, but not an object")
    return InvalidRequest("invalid claim", [str(error)])


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raise InvalidRequest if the metadata cannot be kept.

    It may take 2 KiB as JSON and 32 levels of nesting. It may hold no whole number of over
    64 bits, and no NUL character, which no database keeps.
    """
    if _deeper(metadata, METADATA_LEVELS):
        # Checked before encoding, which recurses.
        raise InvalidRequest(
            "metadata is nested too deeply",
            [f"metadata: more than {METADATA_LEVELS} levels - `$.metadata`"],
        )
    encoded = msgspec.json.encode(metadata)
    try:
        msgspec.msgpack.encode(metadata)  # the form in which it goes to the ledger
    except OverflowError:
        raise InvalidRequest(
            "metadata holds a number that is out of range",
            ["metadata: whole numbers may have at most 64 bits - `$.metadata`"],
        ) from None
    if len(encoded) > METADATA_BYTES:
        raise InvalidRequest(
            "metadata is too large",
            [f"metadata: {len(encoded)} bytes as JSON, at most {METADATA_BYTES} - `$.metadata`"],
        )
    if b"\\u0000" in encoded:
        raise InvalidRequest("metadata holds NUL", ["metadata: NUL character - `$.metadata`"])


def _deeper(value: object, levels: int) -> bool:
    """Return True if lists and objects are nested deeper than `levels`."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            for inner in (
                each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
            )
        ]
        if not layer:
            return False
    return any(isinstance(each, dict | list) for each in layer)
