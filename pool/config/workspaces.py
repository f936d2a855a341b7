"""Describe the workspaces and meetings that the settings declare."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pool.config.meeting_settings import MeetingSettings, as_fields
from pool.errors import InvalidRequest
from pool.model.durations import as_number
from pool.model.links import SID_PATTERN, SUBDOMAIN_PATTERN

DEFAULT_WORKSPACE = "default"
VENDOR_HOST = "neetocal.com"
_EMBED_SCRIPT = "/javascript/embed.js"


def check_port(url: str) -> None:
    """Raise ValueError if the address has a port that does not exist, or no host."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname is not None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("has no host, or a port that is not between 1 and 65535")


def length_in_words(value: Any, info: ValidationInfo) -> Any:
    """Return the number of a length of time that is written in words, in its setting's own unit.

    Raise ValueError if it is none. What is no length of time is returned as it is.
    """
    unit = (info.field_name or "").rpartition("_")[2]
    if unit not in ("seconds", "days") or not isinstance(value, str):
        return value
    try:
        return as_number(value, unit, whole=False)
    except InvalidRequest as error:
        raise ValueError(str(error)) from None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workspace(_Frozen):
    """One account at a provider."""

    name: str = Field(pattern=SID_PATTERN)
    provider: Literal["neetocal"] = "neetocal"
    subdomain: str = Field(pattern=SUBDOMAIN_PATTERN)
    api_key: SecretStr
    webhook_secret: SecretStr | None = None
    webhook_secret_previous: SecretStr | None = None  # accepted too, during a rotation
    base_url: str = ""  # where its API answers; empty: https://{subdomain}.neetocal.com
    link_base_url: str = ""  # what every link's URL begins with; empty: base_url
    ref_field: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    # The provider's embed script; left out, the vendor's own, or where base_url serves it.
    embed_script_url: str = Field(default="", validate_default=True)

    @field_validator("api_key")
    @classmethod
    def _printable(cls, key: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces")
        return key

    @field_validator("base_url", "link_base_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9_./-]*)?", url):
            raise ValueError("must be an http:// or https:// address without query or fragment")
        if url:
            check_port(url)
        return url.rstrip("/")

    @field_validator("embed_script_url")
    @classmethod
    def _script(cls, url: str, info: ValidationInfo) -> str:
        if url:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+/[A-Za-z0-9_./-]+", url):
                raise ValueError("must be an http:// or https:// address of a script")
            check_port(url)
            return url
        base: str = info.data.get("base_url", "")
        host = base.partition("://")[2].partition("/")[0].partition(":")[0] or VENDOR_HOST
        if f".{host}".endswith(f".{VENDOR_HOST}"):
            return f"https://cdn.{VENDOR_HOST}{_EMBED_SCRIPT}"
        return f"{base}{_EMBED_SCRIPT}"  # the sandbox's, or another stand-in's

    @property
    def api_url(self) -> str:
        """Return the address of the provider's API, without a trailing slash."""
        return self.base_url or f"https://{self.subdomain}.neetocal.com"

    # What the URLs of the provider's links were seen to begin with; learned, never set.
    _learned_link_base: str = PrivateAttr("")

    @property
    def has_link_base(self) -> bool:
        """Return True if a setting says what links' URLs begin with, so that it is not learned."""
        return bool(self.link_base_url)

    @property
    def link_url(self) -> str:
        """Return what every link's URL begins with, without a trailing slash."""
        # Every claim's answer reads this, and the library's access to a private attribute takes
        # longer than the rest of the answer.
        private = self.__pydantic_private__ or {}
        return self.link_base_url or private.get("_learned_link_base") or self.api_url


class MeetingDefaults(_Frozen, MeetingSettings):
    """A meeting that linkpool.toml declares, added to the ledger at start if it is missing."""

    workspace: str = DEFAULT_WORKSPACE

    _lengths = field_validator("*", mode="before")(length_in_words)

    @field_validator("fallback_url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[\x21-\x7e]+", url):
            raise ValueError("must be an http:// or https:// address")
        return url

    @model_validator(mode="after")
    def _consistent(self) -> MeetingDefaults:
        # If only one of the two is declared, the other is in the ledger; the migration compares
        # them.
        if self.min_fresh and self.max_fresh and self.max_fresh < self.min_fresh:
            raise ValueError(f"max_fresh ({self.max_fresh}) is below min_fresh ({self.min_fresh})")
        return self

    def given(self) -> dict[str, Any]:
        """Return the declared values, under the names of a Meeting's fields."""
        return as_fields(self.model_dump(exclude_none=True))
