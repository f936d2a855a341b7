"""Define how an embed looks and behaves, and check what callers ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, TypeGuard, get_args

from pool.errors import InvalidRequest

EmbedType = Literal["inline", "element-click", "floating-popup"]
EMBED_TYPES: tuple[EmbedType, ...] = get_args(EmbedType)

PREFILL_FIELDS = 50
PREFILL_CHARACTERS = 4_000  # of all values together; they become part of an address
TEXT_CHARACTERS = 500
STYLES = 50

_NONCE = re.compile(r"[A-Za-z0-9+/_-]{1,256}={0,2}")  # base64-value of Content Security Policy
# Begins with a letter or digit, so that it is no name with a meaning of its own in JavaScript.
_FIELD_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CSS_PROPERTY = re.compile(r"-{0,2}[A-Za-z][A-Za-z0-9-]{0,63}")
_SURROGATES = re.compile("[\ud800-\udfff]")
_OWN_PARAMETERS = frozenset({"dynamicHeight"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Say how an embed looks and behaves. Raise InvalidRequest, naming each option that is wrong.

    `prefill` fills in the booking form: values by field code, `name` and `email` among them.
    They travel to the provider in the visitor's browser, and are neither stored nor logged here.
    """

    type: EmbedType = "inline"
    prefill: Mapping[str, str] = field(default_factory=dict, repr=False)
    nonce: str | None = None  # the nonce of the page's Content Security Policy
    styles: str | Mapping[str, str] | None = None  # of the frame, as the provider's script takes it
    # A CSS selector. Without it the code brings its own container, or its own button.
    element_selector: str | None = None
    button_text: str | None = None  # of the code's own button: "Book a time"
    is_sidebar_and_cover_img_hidden: bool | None = None
    should_forward_query_params: bool | None = None  # of the page's own address, to the form

    def __post_init__(self) -> None:
        """Check the options, and replace what cannot be written as UTF-8."""
        if wrong := list(self._wrong()):
            raise InvalidRequest("invalid embed options", wrong)
        clean = {name: _SURROGATES.sub("\ufffd", value) for name, value in self.prefill.items()}
        object.__setattr__(self, "prefill", clean)
        for name in ("button_text", "element_selector", "styles"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, _SURROGATES.sub("\ufffd", value))

    @classmethod
    def asked_for(
        cls, embed: EmbedType, asked: object, prefill: Mapping[str, str] | None = None
    ) -> Options:
        """Return the options of an embed that a request asks for in attributes of their names.

        Raise InvalidRequest.
        """
        look = {name: getattr(asked, name) for name in LOOK}
        return cls(type=embed, prefill=prefill or {}, **look)

    def check_reference(self, ref_field: str | None) -> None:
        """Raise InvalidRequest if a prefilled field is the one that carries the slug back."""
        if ref_field is not None and ref_field in self.prefill:
            raise InvalidRequest(
                "invalid embed options",
                [f"prefill: {ref_field} carries the link's slug back and cannot be prefilled"],
            )

    def _wrong(self) -> Iterator[str]:
        if not _is_embed_type(self.type):
            yield f"type: one of {', '.join(EMBED_TYPES)}"
        if self.nonce is not None and not _NONCE.fullmatch(self.nonce):
            yield "nonce: the page's nonce in base64, at most 256 characters"
        if len(self.prefill) > PREFILL_FIELDS:
            yield f"prefill: at most {PREFILL_FIELDS} fields"
        if not all(_FIELD_CODE.fullmatch(name) for name in self.prefill):
            yield "prefill: a field code has 1 to 64 letters, digits, dots, hyphens, underscores"
        if own := sorted(_OWN_PARAMETERS & set(self.prefill)):
            yield f"prefill: {own[0]} is a parameter of the embed, not a field of the form"
        if sum(map(len, self.prefill.values())) > PREFILL_CHARACTERS:
            yield f"prefill: at most {PREFILL_CHARACTERS} characters in all values together"
        yield from self._wrong_styles()
        for name in ("element_selector", "button_text"):
            text = getattr(self, name)
            if text is not None and not 1 <= len(text) <= TEXT_CHARACTERS:
                yield f"{name}: 1 to {TEXT_CHARACTERS} characters"
        if self.element_selector is not None and self.type == "floating-popup":
            yield "element_selector: a floating pop-up has no element of its own"
        if self.button_text is not None and (
            self.type != "element-click" or self.element_selector is not None
        ):
            yield "button_text: only element-click without an element_selector brings a button"

    def _wrong_styles(self) -> Iterator[str]:
        if self.styles is None:
            return
        if isinstance(self.styles, str):
            texts = [self.styles]
        else:
            texts = list(self.styles.values())
            if not all(_CSS_PROPERTY.fullmatch(name) for name in self.styles):
                yield "styles: each name is that of a CSS property"
        if len(texts) > STYLES or any(len(text) > TEXT_CHARACTERS for text in texts):
            yield f"styles: at most {STYLES}, each of at most {TEXT_CHARACTERS} characters"


# The options that say how an embed looks and behaves, and hold nothing personal.
LOOK = tuple(each.name for each in fields(Options) if each.name not in ("type", "prefill"))


def check_embed_type(text: str, parameter: str) -> EmbedType:
    """Return the type of embed. Raise InvalidRequest, naming the parameter and its choices."""
    if _is_embed_type(text):
        return text
    raise InvalidRequest(
        "unknown type of embed", [f"{parameter}: must be one of {', '.join(EMBED_TYPES)}"]
    )


def _is_embed_type(text: str) -> TypeGuard[EmbedType]:
    return text in EMBED_TYPES
