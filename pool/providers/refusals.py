"""Turn an unsuccessful answer of NeetoCal, a status and bytes, into an error.

Source: https://apidocs.neetocal.com (response codes); the forms of the explanation (`error`,
`errors`, `notice`) are known from other people's code.

| status           | creating a link            | listing          |
|------------------|----------------------------|------------------|
| undocumented 2xx | BadAnswer, maybe made      | BadAnswer        |
| 3xx, other 4xx   | BadAnswer                  | BadAnswer        |
| 400, 404, 422    | MeetingRefused             | BadAnswer        |
| 401              | WorkspaceRefused           | WorkspaceRefused |
| 403              | MeetingRefused             | WorkspaceRefused |
| 408              | ProviderFailed             | ProviderFailed   |
| 429              | Throttled                  | Throttled        |
| 5xx              | ProviderFailed, maybe made | ProviderFailed   |

A key may be valid for some meetings and not for others, so 403 for a link concerns that meeting
alone. A redirect counts as not made: a front-end server sends it before the API has done
anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pool.config.settings import DEFAULT_WORKSPACE, PREFIX, TOML_FILE, Workspace
from pool.errors import (
    BadAnswer,
    MalformedJson,
    MeetingRefused,
    ProviderError,
    ProviderFailed,
    Throttled,
    WorkspaceRefused,
)
from pool.providers import webhooks

QUOTE_MAX_CHARACTERS = 200

_unspeakable = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_slug_like = re.compile(r"one-off-[A-Za-z0-9_-]+")


def setting(workspace: Workspace, name: str) -> str:
    """Return the name by which the operator sets this setting of this workspace."""
    if workspace.name == DEFAULT_WORKSPACE:
        return f"{PREFIX}NEETOCAL_{name.upper()}"
    return f"workspaces.{workspace.name}.{name} in {TOML_FILE}"


def one_line(text: str) -> str:
    """Return the text without control characters and with white space collapsed."""
    return " ".join(_unspeakable.sub(" ", text).split())


def error_of(
    workspace: Workspace,
    status: int,
    body: bytes,
    retry_after: str | None,
    *,
    meeting_sid: str | None,
) -> ProviderError:
    """Return the error for an unsuccessful answer, by the table above.

    `meeting_sid` is the meeting for which a link was requested, and None for lists.
    """
    said = f"{status}{_quote(workspace, body)}"
    creating = meeting_sid is not None
    if status == 401:
        return WorkspaceRefused(
            f"NeetoCal does not accept the API key ({said}); "
            f"set {setting(workspace, 'api_key')} to a valid one",
            status=status,
        )
    if status == 403:
        denied = MeetingRefused if creating else WorkspaceRefused
        what = "links of this meeting" if creating else "the call"
        return denied(
            f"NeetoCal denies this API key {what} ({said}); give the key access at NeetoCal "
            f"or set {setting(workspace, 'api_key')} to one that has it",
            status=status,
        )
    if status == 404 and creating:
        return MeetingRefused(
            f"NeetoCal finds no such meeting ({said}); check the SID and "
            f"{setting(workspace, 'subdomain')}",
            status=status,
        )
    if status in (400, 422) and creating:
        return MeetingRefused(
            f"NeetoCal refuses ({said}); check there that the meeting is enabled and "
            "allows one-off links",
            status=status,
        )
    if status == 429:
        return Throttled(
            f"NeetoCal asks to slow down ({said})",
            retry_after_seconds=retry_after_seconds(retry_after, datetime.now(UTC)),
        )
    if status == 408 or status >= 500:
        return ProviderFailed(
            f"NeetoCal failed ({said}); if it lasts, look at its status page",
            status=status,
            maybe_made=creating and status >= 500,
        )
    if 300 <= status < 400:
        return BadAnswer(
            f"NeetoCal redirects instead of answering ({status}); set "
            f"{setting(workspace, 'base_url')} to where its API really is",
            status=status,
        )
    return BadAnswer(
        f"NeetoCal answered {said}, which it does not document for this call; "
        f"check {setting(workspace, 'base_url')}",
        status=status,
        maybe_made=creating and status < 300,
    )


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, at least 0 and not bounded above.

    It is a number or an HTTP date. Return None if there is no header or it is neither.
    """
    if value is None or not value.isascii() or len(value) > 64:
        return None
    if re.fullmatch(r"\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*", value):
        try:
            seconds = float(value)
        except ValueError:
            return None
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(value)
        aware = date.replace(tzinfo=UTC) if date.tzinfo is None else date
        return max(0.0, (aware - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _quote(workspace: Workspace, body: bytes) -> str:
    """Return the provider's own words, made safe for a log: one short line, no secrets or slugs."""
    try:
        answer = webhooks.decode(body)
    except MalformedJson:
        return ""
    words = "; ".join(
        text for key in ("error", "errors", "notice") for text in _texts(answer.get(key))
    )
    words = one_line(words)
    for secret in (workspace.api_key, workspace.webhook_secret):
        if secret is not None and secret.get_secret_value():
            words = words.replace(secret.get_secret_value(), "***")
    words = re.sub(re.escape(workspace.link_url) + r"/\S+", "***", words)
    words = _slug_like.sub("***", words)
    return f': "{words[:QUOTE_MAX_CHARACTERS]}"' if words else ""


def _texts(value: object) -> Iterator[str]:
    """Yield the strings of `error`, `errors` or `notice`: one, a list, or lists by field."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (each for each in value if isinstance(each, str))
    elif isinstance(value, dict):
        for each in value.values():
            if isinstance(each, str | list):
                yield from _texts(each)
