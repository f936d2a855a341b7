"""Map linkpool's errors to HTTP, in one table, as RFC 9457 problems."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pool import errors
from pool.api.http.messages import NOSNIFF
from pool.api.http.mount import url

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
        "Send one JSON object in UTF-8. Check for a truncated body, single quotes or a wrong character encoding.")),
    (errors.Unauthorized, Problem(401, "unauthorized", "Missing or invalid API key",
        "Send a key as X-API-Key, or as Authorization: Bearer. `linkpool keys create` makes one. A revoked key never works again.")),
    (errors.InvalidToken, Problem(401, "invalid-token", "Missing or invalid browser token",
        "Sign a JWT with HS256, `kid` = the id of an API key that may claim, `exp` at most 24 hours ahead, and a secret of `linkpool tokens create-secret`; or ask for a token with POST /v1/tokens. A page that is cached for longer than its token needs a new one.")),
    (errors.InvalidPublicKey, Problem(401, "invalid-public-key", "No such public key",
        "`linkpool public-keys list` shows every public key and its meeting. A revoked key never works again.")),
    (errors.OriginNotAllowed, Problem(403, "origin-not-allowed", "This public key is not for pages of this origin",
        "Make a key that names the page's origin exactly, with scheme and port: `linkpool public-keys create SID --origin https://www.example.com`. Pages opened as files have no origin.")),
    (errors.BadSignature, Problem(401, "bad-signature", "Missing or wrong webhook signature",
        "Set LINKPOOL_NEETOCAL_WEBHOOK_SECRET to the secret of the webhook at the provider. A proxy that rewrites bodies breaks signatures.")),
    (errors.Forbidden, Problem(403, "forbidden", "This API key does not allow the call",
        "Use a key that has the scope this call needs (claim, read or admin) and access to this meeting.")),
    (errors.UnknownMeeting, Problem(404, "unknown-meeting", "No such meeting",
        "Check the SID, or add the meeting with PUT /v1/meetings/{sid} or `linkpool meetings add SID`.")),
    (errors.UnknownClaim, Problem(404, "unknown-claim", "This customer holds no link of this meeting",
        "Claim one with POST /v1/meetings/{sid}/claims. A claim ends after claim_ttl_seconds, or when its booking is cancelled.")),
    (errors.UnknownLink, Problem(404, "unknown-link", "No such link",
        "Check the slug: linkpool knows only links that it made itself.")),
    (errors.UnknownEvent, Problem(404, "unknown-event", "No such webhook event",
        "List events with GET /v1/events.")),
    (errors.Unknown, Problem(404, "not-found", "Not found", "Check the address; /docs lists every call.")),
    (errors.UnknownWorkspace, Problem(404, "unknown-workspace", "No such workspace",
        "Use a workspace that the settings declare: `default`, or one from linkpool.toml.")),
    (errors.UnknownKey, Problem(404, "unknown-key", "No such key",
        "`linkpool keys list`, `tokens list-secrets` and `public-keys list` show the ids of all. What was revoked cannot be revoked again.")),
    (errors.NotAssignable, Problem(409, "not-assignable", "This event cannot be assigned to this link",
        "Assign only events that are unmatched or dead, and only to a link of the same workspace that no other booking used. `linkpool events list` shows the state of the event.")),
    (errors.BodyErased, Problem(409, "body-erased", "The body of this event has been erased",
        "Bodies are erased with their customer, and after a retention time; see docs/privacy.md. To get the event again, use Redeliver at the provider.")),
    (errors.NotReplaceable, Problem(409, "not-replaceable", "This link cannot be replaced",
        "The link is booked. Cancel the booking at the provider; the customer's next claim then gets a fresh link.")),
    (errors.TooLarge, Problem(413, "too-large", "The body is too large",
        "Send at most 16 KiB, of which `metadata` may take 2 KiB; a claim from a browser may have 8 KiB, a webhook 256 KiB, a batch 4 MiB.")),
    (errors.InvalidCustomerId, Problem(422, "invalid-customer-id", "Invalid customer id",
        "Send your own id for the visitor: 1 to 256 characters, without control characters.")),
    (errors.InvalidRequest, Problem(422, "invalid-request", "Invalid request",
        "`errors` says which field is wrong and why; /docs describes every field.")),
    (errors.RateLimited, Problem(429, "rate-limited", "Too many requests",
        "Wait for Retry-After seconds. Customers who hold a link are not limited. Operators: failed sign-ins and webhooks are limited per address, so name your proxies in LINKPOOL_TRUSTED_PROXIES; new claims are limited by LINKPOOL_NEW_CLAIMS_PER_MINUTE_PER_KEY and _PER_ADDRESS.")),
    (errors.PoolEmpty, Problem(503, "pool-empty", "The pool is empty",
        "Try again after Retry-After seconds, or show `fallback_url` if the answer has one. Operators: see the meeting's state and reason in /ops.")),
    (errors.PoolPaused, Problem(503, "pool-paused", "Claims for this meeting are paused",
        "An operator paused the meeting, or the provider says that it is disabled or gone. Customers who hold a link still get it. Operators: `linkpool meetings resume SID` ends a pause; linkpool notices within PROBE_SECONDS when the meeting is enabled again at the provider.")),
    (errors.Fenced, Problem(503, "recovering", "The pool is being recovered",
        "Redis was restarted or replaced, and linkpool is making sure that no link is given to two customers. Try again after Retry-After seconds.")),
    (errors.StillErasing, Problem(503, "still-erasing", "The customer is not fully erased yet",
        "The customer can no longer be found, and the workers erase the rest without further calls. Repeat the call after Retry-After seconds; 204 means that everything is erased.")),
    (errors.StoreUnavailable, Problem(503, "store-unavailable", "Redis does not answer",
        "Try again after Retry-After seconds. Operators: `linkpool doctor` says what is wrong with Redis.")),
    (errors.LedgerUnavailable, Problem(503, "ledger-unavailable", "The database does not answer",
        "Try again after Retry-After seconds. Claims are still served. Operators: `linkpool doctor` says what is wrong with the database.")),
    (errors.ProviderError, Problem(502, "provider-failed", "The scheduling provider gave no usable answer",
        "Try again later. Operators: `linkpool doctor` calls the provider and shows its answer.")),
    (None, Problem(405, "method-not-allowed", "Method not allowed",
        "Use one of the methods in the Allow header; /docs lists every call.")),
    (None, Problem(408, "request-timeout", "The request took too long to arrive",
        "Send the whole request at once. The server waits 10 seconds for the headers, and 10 for the body.")),
    (None, Problem(400, "malformed-request", "The request is malformed",
        "`detail` says what is wrong with the request line, a header or the body's framing. Send HTTP/1.1 with one Host header, without TLS. A proxy in front must not change framing headers.")),
    (None, Problem(431, "headers-too-large", "The request headers are too large",
        "Send at most 100 headers, and 32 KiB of them. The usual cause is cookies of other sites on the same host name.")),
    (None, Problem(503, "too-many-connections", "Too many connections",
        "Try again after Retry-After seconds. Keep connections alive and reuse them instead of opening more.")),
    (None, Problem(500, "internal-error", "Something went wrong inside linkpool",
        "This is a defect in linkpool. Find the reason in the server's log, by the answer's X-Request-Id.")),
    (None, Problem(503, "webhooks-unconfigured", "This workspace has no webhook secret",
        "Unsigned events are never accepted. Set LINKPOOL_NEETOCAL_WEBHOOK_SECRET, and set the same secret on the webhook at the provider.")),
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
    """Return the problem of an error, by the nearest class that the table lists."""
    for kind in type(error).__mro__:
        if (found := _BY_ERROR.get(kind)) is not None:
            return found
    return BY_NAME["internal-error"]


def render(
    problem: Problem, detail: str, instance: str, error: errors.LinkpoolError | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, headers and body of a problem."""
    body: dict[str, object] = {
        "type": url(f"/problems/{problem.name}"),
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": url(instance) if instance else "",
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
    """Return the status, headers and body for an error."""
    return render(problem_of(error), str(error), instance, error)
