"""Read what people and tests send, within limits. Refused says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from sandbox.clock import iso, parsed
from sandbox.records import Refused

BODY_MOST_BYTES = 1024 * 1024
TEXT_MOST_CHARACTERS = 2000
ANSWERS_MOST = 50
ANSWER_PREFIX = "answer."  # before the field code, in the booking form


async def json_object(request: Request) -> dict[str, Any]:
    """Return the body, which must be a JSON object. Raise Refused 400, 413."""
    try:
        value = json.loads(await _body(request) or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is not a JSON object")
    return value


async def fields(request: Request, *names: str) -> dict[str, Any]:
    """Return the body, a JSON object of these fields at most. Raise Refused 400, 413, 422."""
    body = await json_object(request)
    for name in body:
        if name not in names:
            raise Refused(422, f"{name!s:.64}: is no field here; fields are {', '.join(names)}")
    return body


async def form_pairs(request: Request) -> list[tuple[str, str]]:
    """Return the fields of an HTML form, in order. Raise Refused 400, 413."""
    try:
        return parse_qsl(
            (await _body(request)).decode("ascii"),
            keep_blank_values=True,
            max_num_fields=ANSWERS_MOST + 10,
        )
    except ValueError:
        raise Refused(400, "the body is not a form, or has too many fields") from None


def text(value: object, name: str, default: str | None = None) -> str:
    """Return `value`, if it is a text that can be kept and sent on. Raise Refused 422."""
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise Refused(422, f"{name}: takes a text")
    if len(value) > TEXT_MOST_CHARACTERS:
        raise Refused(422, f"{name}: takes at most {TEXT_MOST_CHARACTERS} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(422, f"{name}: holds half a character (a lone surrogate)") from None
    return value


def optional_text(body: dict[str, Any], name: str) -> str | None:
    """Return a field's text, or None if it is missing or null. Raise Refused 422."""
    return None if body.get(name) is None else text(body[name], name)


def sid(value: object, name: str) -> str:
    """Return a meeting's SID. Raise Refused 422."""
    found = text(value, name)
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", found):
        raise Refused(422, f"{name}: takes 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return found


def flag(value: object, name: str, default: bool | None) -> bool | None:
    """Return true or false, `default` where it is missing. Raise Refused 422."""
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refused(422, f"{name}: takes true or false")
    return value


def number(value: object, name: str, most: float, default: float | None = None) -> float:
    """Return a number from 0 to `most`, `default` where it is missing. Raise Refused 422."""
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Refused(422, f"{name}: takes a number from 0 to {most:g}")
    return value


def moment(value: object, name: str) -> str | None:
    """Return a time as the API writes it, None where it is missing. Raise Refused 422."""
    if value is None:
        return None
    found = parsed(text(value, name))
    if found is None:
        raise Refused(422, f"{name}: takes a time such as 2030-01-31T10:00:00Z")
    return iso(found)


def texts(value: object, name: str, most: int) -> list[str]:
    """Return a list of texts. Raise Refused 422."""
    if not isinstance(value, list) or len(value) > most:
        raise Refused(422, f"{name}: takes a list of at most {most} texts")
    return [text(each, name) for each in value]


def answers(pairs: Iterable[tuple[object, object]]) -> dict[str, str]:
    """Return a map of field code to value; of a repeated code the last. Raise Refused 422."""
    kept = {text(code, "answers"): text(value, f"answers.{code!s:.64}") for code, value in pairs}
    if len(kept) > ANSWERS_MOST:
        raise Refused(422, f"answers: takes at most {ANSWERS_MOST}")
    return kept


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_MOST_BYTES:
                raise Refused(413, f"the body has over {BODY_MOST_BYTES} bytes")
    except ClientDisconnect:
        raise Refused(400, "the body ended too early") from None
    return bytes(body)
