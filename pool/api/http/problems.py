"""Errors as RFC 9457 problems: the one table from linkpool's errors to HTTP."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pool import errors
from pool.api.http.messages import NOSNIFF

CONTENT_TYPE = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of error as callers see it; its page is /problems/<name>."""

    status: int
    name: str
    title: str
    what_to_do: str


_ROWS: list[tuple[type[errors.LinkpoolError] | None, Problem]] = [
    (errors.MalformedJson, Problem(400, "malformed-json", "The body is not a JSON object",
        "Send one JSON object in UTF-8. Check for a truncated body, single quotes or a wrong charset.")),
    (errors.Unauthorized, Problem(401, "unauthorized", "No valid API key",
        "Send a key as X-API-Key, or as Authorization: Bearer. `linkpool keys create` makes one; a revoked one never works again.")),
    (errors.BadSignature, Problem(401, "bad-signature", "The webhook is not signed as expected",
        "Set LINKPOOL_NEETOCAL_WEBHOOK_SECRET to the secret of the webhook at the provider. A proxy that rewrites bodies breaks signatures.")),
    (errors.Forbidden, Problem(403, "forbidden", "The API key may not do this",
        "Use a key with the scope this call needs (claim, read or admin), and without a list of meetings that leaves this one out.")),
    (errors.UnknownMeeting, Problem(404, "unknown-meeting", "No such meeting",
        "Check the SID, or add the meeting with PUT /v1/meetings/{sid} or `linkpool meetings add SID`.")),
    (errors.UnknownClaim, Problem(404, "unknown-claim", "This customer holds no link of this meeting",
        "Claim one with POST /v1/meetings/{sid}/claims. Claims lapse after claim_ttl_seconds, and go with a cancelled booking.")),
    (errors.UnknownLink, Problem(404, "unknown-link", "No such link",
        "Check the slug: linkpool knows only links that it made itself.")),
    (errors.UnknownEvent, Problem(404, "unknown-event", "No such webhook event",
        "List events with GET /v1/events.")),
    (errors.Unknown, Problem(404, "not-found", "Nothing is here", "See /docs for every call.")),
    (errors.UnknownWorkspace, Problem(404, "unknown-workspace", "No such workspace",
        "Use a workspace that the settings declare: `default`, or one of linkpool.toml.")),
    (errors.UnknownKey, Problem(404, "unknown-key", "No such API key",
        "`linkpool keys list` has every key's id; a revoked key cannot be revoked again.")),
    (errors.NotAssignable, Problem(409, "not-assignable", "This event cannot be given to this link",
        "Assign events that are unmatched or dead, to a link of the same workspace that no other booking used. `linkpool events list` says what became of the event.")),
    (errors.BodyErased, Problem(409, "body-erased", "The event's body is not kept any more",
        "Bodies go with an erased customer, and after a while; see docs/privacy.md. At the provider, Redeliver sends the event again.")),
    (errors.NotReplaceable, Problem(409, "not-replaceable", "This link cannot be replaced",
        "It is booked. Cancel the booking at the provider; the customer's next claim then gets a fresh link.")),
    (errors.TooLarge, Problem(413, "too-large", "The body is too large",
        "Claims take up to 16 KiB, with metadata of up to 2 KiB; webhooks up to 256 KiB.")),
    (errors.InvalidCustomerId, Problem(422, "invalid-customer-id", "The customer id cannot be used",
        "Send your own id for the visitor: 1 to 256 characters, no control characters.")),
    (errors.InvalidRequest, Problem(422, "invalid-request", "The request is not as it should be",
        "`errors` says which field is wrong and why; /docs has every field.")),
    (errors.RateLimited, Problem(429, "rate-limited", "Too many requests",
        "Wait for Retry-After seconds. Customers who hold a link are not limited. Limits on failed sign-ins and webhooks go by address; the operator names proxies in LINKPOOL_TRUSTED_PROXIES. For claims the operator sets LINKPOOL_NEW_CLAIMS_PER_MINUTE_PER_KEY and _PER_ADDRESS.")),
    (errors.PoolEmpty, Problem(503, "pool-empty", "No link at the moment",
        "Try again after Retry-After seconds, or show `fallback_url` where it is given. Operators: see the meeting's state and reason in /ops.")),
    (errors.PoolPaused, Problem(503, "pool-paused", "Claims of this meeting are paused",
        "An operator paused the meeting, or the provider says that it is disabled or gone; customers who hold a link still get it. `linkpool meetings resume SID` ends a pause; a meeting that is enabled again at the provider is noticed within PROBE_SECONDS.")),
    (errors.Fenced, Problem(503, "recovering", "The pool is being recovered",
        "Redis was restarted or replaced, and linkpool is making sure that no link is given twice. Try again after Retry-After seconds.")),
    (errors.StillErasing, Problem(503, "still-erasing", "The customer is not erased everywhere yet",
        "The customer can no longer be found, and workers erase the rest by themselves. Repeat the call after Retry-After seconds; 204 means that it is done.")),
    (errors.StoreUnavailable, Problem(503, "store-unavailable", "Redis does not answer",
        "Try again after Retry-After seconds. Operators: `linkpool doctor` says what is wrong with Redis.")),
    (errors.LedgerUnavailable, Problem(503, "ledger-unavailable", "The database does not answer",
        "Try again after Retry-After seconds; claims go on meanwhile. Operators: `linkpool doctor` says what is wrong.")),
    (errors.ProviderError, Problem(502, "provider-failed", "The scheduling provider gave no usable answer",
        "Try again later. Operators: `linkpool doctor` asks the provider and says what it answered.")),
    (None, Problem(405, "method-not-allowed", "This method is not for this address",
        "The Allow header names the methods that are; /docs has every call.")),
    (None, Problem(408, "request-timeout", "The request took too long to arrive",
        "Send the whole request at once; the server waits 10 seconds for a head, and 10 for a body.")),
    (None, Problem(400, "malformed-request", "The request is malformed",
        "`detail` says what is wrong with the request line, a header or the body's framing. Send HTTP/1.1 with one Host header, without TLS; a proxy in front must not change framing headers.")),
    (None, Problem(431, "headers-too-large", "The request's head is too large",
        "Send at most 100 headers and 32 KiB of head; cookies of other sites under the same name are the usual reason.")),
    (None, Problem(503, "too-many-connections", "The server has no room for another connection",
        "Try again after Retry-After seconds. Keep connections alive and use them again rather than opening more.")),
    (None, Problem(500, "internal-error", "Something went wrong inside linkpool",
        "This is a defect. Its request id stands in the server's log, with the reason.")),
    (None, Problem(503, "webhooks-unconfigured", "This workspace has no webhook secret",
        "Unsigned events are never accepted. Set LINKPOOL_NEETOCAL_WEBHOOK_SECRET, and the same secret at the provider's webhook.")),
]  # fmt: skip

BY_NAME = {problem.name: problem for _, problem in _ROWS}
_BY_ERROR = {kind: problem for kind, problem in _ROWS if kind is not None}
_RETRY_SECONDS = {
    "recovering": 1,
    "store-unavailable": 1,
    "ledger-unavailable": 5,
    "still-erasing": 5,
    "too-many-connections": 2,
}


def problem_of(error: errors.LinkpoolError) -> Problem:
    """The row of the table for an error, by its nearest kind."""
    for kind in type(error).__mro__:
        if (found := _BY_ERROR.get(kind)) is not None:
            return found
    return BY_NAME["internal-error"]


def render(
    problem: Problem, detail: str, instance: str, error: errors.LinkpoolError | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a problem."""
    body: dict[str, object] = {
        "type": f"/problems/{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": instance,
    }
    retry: int | None = _RETRY_SECONDS.get(problem.name)
    if isinstance(error, errors.ClaimRefused):
        retry = error.retry_after_seconds
    if isinstance(error, errors.PoolEmpty) and error.fallback_url:
        body["fallback_url"] = error.fallback_url
    if isinstance(error, errors.InvalidRequest):
        body["errors"] = list(error.errors)
    headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"), NOSNIFF]
    if retry is not None:
        headers.append((b"retry-after", str(max(1, retry)).encode()))
    if problem.name == "unauthorized":
        headers.append((b"www-authenticate", b'Bearer realm="linkpool"'))
    return problem.status, headers, msgspec.json.encode(body)


def render_error(
    error: errors.LinkpoolError, instance: str
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body for an error."""
    return render(problem_of(error), str(error), instance, error)
