"""Answers of linkpool read into values and errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from linkpool_client.errors import BY_NAME, LinkpoolError, Problem, UnusableAnswer
from linkpool_client.models import BatchResult, Booking, Claim, Claimed, Link, LinkEvent, Token

_PROBLEM_TYPE = "/problems/"
_SAID_CHARACTERS = 200  # of an answer that is not linkpool's, in an error's message


def claim(body: Mapping[str, Any]) -> Claim:
    """Return the claim of its JSON object."""
    booking = body.get("booking")
    return Claim(
        meeting_sid=body["meeting_sid"],
        customer_id=body["customer_id"],
        slug=body["slug"],
        url=body["url"],
        state=body["state"],
        source=body["source"],
        claimed_at=_time(body["claimed_at"]),
        consumed_at=_time_if_any(body.get("consumed_at")),
        booking_sid=body.get("booking_sid"),
        booking=None if booking is None else _booking(booking),
    )


def claimed(body: Mapping[str, Any]) -> Claimed:
    """Return the answer to a claim."""
    return Claimed(claim(body["claim"]), body["reused"], body["embed"], body.get("embed_html"))


def token(body: Mapping[str, Any]) -> Token:
    """Return a token for a browser."""
    return Token(body["token"], _time(body["expires_at"]))


def link(body: Mapping[str, Any]) -> Link:
    """Return a link with its history."""
    fields = body["link"]
    return Link(
        slug=fields["slug"],
        url=fields["url"],
        meeting_sid=fields["meeting_sid"],
        state=fields["state"],
        source=fields["source"],
        customer_id=fields.get("customer_id"),
        email=fields.get("email"),
        metadata=fields.get("metadata"),
        created_at=_time(fields["created_at"]),
        claimed_at=_time_if_any(fields.get("claimed_at")),
        consumed_at=_time_if_any(fields.get("consumed_at")),
        booking_sid=fields.get("booking_sid"),
        history=tuple(LinkEvent(_time(event["at"]), event["what"]) for event in body["history"]),
        all_fields=fields,
    )


def batch_results(body: Mapping[str, Any]) -> list[BatchResult]:
    """Return the results of a batch in the order of its customers."""
    return [
        BatchResult(
            customer_id=each["customer_id"],
            status=each["status"],
            claim=None if each.get("claim") is None else claim(_unwrapped(each["claim"])),
            problem=None if each.get("problem") is None else problem(each["problem"]),
        )
        for each in body["results"]
    ]


def problem(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Problem:
    """Return the error for a problem document, of the class of its name."""
    headers = headers or {}
    name = str(body.get("type", "")).rpartition(_PROBLEM_TYPE)[2]
    kind = BY_NAME.get(name, Problem)
    return kind(
        str(body.get("detail") or body.get("title") or "no reason is given"),
        name=name,
        status=int(body.get("status", 0)),
        title=str(body.get("title", "")),
        errors=tuple(str(each) for each in body.get("errors") or ()),
        fallback_url=body.get("fallback_url"),
        retry_after_seconds=retry_after_seconds(headers),
        request_id=headers.get("x-request-id"),
    )


def error(response: httpx.Response) -> LinkpoolError:
    """Return the error for an answer that is no success."""
    try:
        body = response.json()
        if isinstance(body, dict) and _PROBLEM_TYPE in str(body.get("type", "")):
            return problem({"status": response.status_code} | body, response.headers)
    except (ValueError, TypeError):
        pass  # not a problem document after all
    said = " ".join(response.text.split())[:_SAID_CHARACTERS]
    return UnusableAnswer(
        f"{response.status_code} is not an answer of linkpool's: {said or 'an empty body'}",
        status=response.status_code,
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return what `Retry-After` asks for, in seconds or as a date; None if it does not stand."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _unwrapped(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the claim itself, also where it comes under its own name."""
    inner = body.get("claim")
    return inner if isinstance(inner, dict) else body


def _booking(body: Mapping[str, Any]) -> Booking:
    return Booking(
        sid=body["sid"],
        state=body["state"],
        starts_at=_time_if_any(body.get("starts_at")),
        ends_at=_time_if_any(body.get("ends_at")),
        time_zone=body.get("time_zone"),
        manage_url=body.get("manage_url"),
    )


def _time(said: str) -> datetime:
    return datetime.fromisoformat(said)


def _time_if_any(said: str | None) -> datetime | None:
    return None if said is None else _time(said)
