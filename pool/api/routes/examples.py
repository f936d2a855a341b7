"""Give the OpenAPI document an example of each call: what is sent, and what is answered."""

from __future__ import annotations

from typing import Any

from pool.api.http import problems

_CLAIM = {
    "meeting_sid": "intro",
    "customer_id": "order-4711",
    "slug": "one-off-c5530bc7c9ab",
    "url": "https://acme.neetocal.com/one-off-c5530bc7c9ab",
    "state": "claimed",
    "source": "pool",
    "claimed_at": "2026-11-22T06:00:00Z",
    "consumed_at": None,
    "booking_sid": None,
}
_EMBED = {
    "type": "inline",
    "organization": "acme",
    "slug": "one-off-c5530bc7c9ab",
    "queryParams": {"dynamicHeight": True},
}
_CLAIMED = {"claim": _CLAIM, "reused": False, "embed": _EMBED}
_AGAIN = _CLAIMED | {"reused": True}
_ANOTHER = {"slug": "one-off-8d7e053e5d9e", "url": "https://acme.neetocal.com/one-off-8d7e053e5d9e"}
_SETTINGS = {
    "min_fresh": 50,
    "max_fresh": 1000,
    "cover_seconds": 300,
    "claim_ttl_seconds": 2_592_000,
    "max_fresh_age_seconds": 2_592_000,
    "after_booking": "same",
    "on_empty": "direct",
    "target_mode": "fixed",
    "fallback_url": "https://acme.neetocal.com/intro",
    "match_email": True,
    "reserve": 20,
    "shards": 1,
}
_MEETING: dict[str, Any] = {
    "sid": "intro",
    "workspace": "default",
    "state": "ok",
    "reason": "",
    "fresh": 50,
    "target": 50,
    "claimed": 1204,
    "consumed": 311,
    "claims_per_second": 0.1,
    "runway_seconds": 500.0,
    "runway_low_seconds": 380.5,
    "runway_high_seconds": 690.0,
    "suggested_target": 60,
    "oldest_fresh_seconds": 431.2,
    "unrecorded_claims": 0,
    **_SETTINGS,
    "paused": False,
}
_EVENT = {
    "id": "9f2c41d8a7b04e6c8d1f3a5b7c9e0d2f",
    "workspace": "default",
    "source": "webhook",
    "event": "booking_created",
    "booking_sid": "bk-7Q2",
    "meeting_sid": "intro",
    "received_at": "2026-11-22T06:05:00+00:00",
    "state": "settled",
    "reason": "",
    "slug": "one-off-c5530bc7c9ab",
    "match": "field",
    "attempts": 0,
    "last_error": None,
    "seen": 1,
}
_PUBLIC_KEY = {
    "id": "pk_5f0e8a3b9c1d2e4f60718293",
    "meeting_sid": "intro",
    "origins": ["https://www.example.com"],
    "label": "landing page",
    "created_at": "2026-11-22T06:00:00+00:00",
    "revoked_at": None,
}
_SHOWN = {
    "state": "claimed",
    "url": _CLAIM["url"],
    "embed": _EMBED,
    "script": "https://cdn.neetocal.com/javascript/embed.js",
}
_REASON = {"reason": "the host is away"}
_ONE = {"meeting": _MEETING}
_PAUSED = {"meeting": _MEETING | {"state": "paused", "reason": _REASON["reason"], "paused": True}}

# Of each call: its body, and its answers by status.
_EXAMPLES: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
    ("post", "/v1/meetings/{sid}/claims"): (
        {"customer_id": "order-4711", "email": "zoe@example.com", "metadata": {"plan": "pro"}},
        {"201": _CLAIMED, "200": _AGAIN},
    ),
    ("post", "/v1/meetings/{sid}/claims:batch"): (
        {"claims": [{"customer_id": "order-4711"}, {"customer_id": "order-4712"}]},
        {
            "200": {
                "results": [
                    {"customer_id": "order-4711", "status": 200, "claim": _CLAIM},
                    {
                        "customer_id": "order-4712",
                        "status": 201,
                        "claim": _CLAIM | _ANOTHER | {"customer_id": "order-4712"},
                    },
                ]
            }
        },
    ),
    ("get", "/v1/meetings/{sid}/claims/{customer_id}"): (None, {"200": _AGAIN}),
    ("post", "/v1/meetings/{sid}/claims/{customer_id}/replace"): (
        {"reason": "the link is dead"},
        {
            "200": {
                "claim": _CLAIM | _ANOTHER,
                "reused": False,
                "embed": _EMBED | {"slug": _ANOTHER["slug"]},
            }
        },
    ),
    ("get", "/v1/links/{slug}"): (
        None,
        {
            "200": {
                "link": {
                    "slug": _CLAIM["slug"],
                    "url": _CLAIM["url"],
                    "meeting_sid": "intro",
                    "state": "claimed",
                    "source": "pool",
                    "customer_id": "order-4711",
                    "created_at": "2026-11-22T05:48:00+00:00",
                    "claimed_at": "2026-11-22T06:00:00+00:00",
                    "consumed_at": None,
                    "booking_sid": None,
                },
                "history": [{"at": "2026-11-22T05:48:00+00:00", "what": "made"}],
            }
        },
    ),
    ("get", "/v1/links/{slug}/embed"): (
        None,
        {
            "200": {
                "slug": _CLAIM["slug"],
                "state": "claimed",
                "embed": _EMBED,
                "embed_html": '<div id="linkpool-one-off-c5530bc7c9ab">…</div>',
            }
        },
    ),
    ("post", "/v1/tokens"): (
        {"meeting_sid": "intro", "customer_id": "order-4711", "expires_in_seconds": 3600},
        {
            "201": {
                "token": "eyJhbGciOiJIUzI1NiIsImtpZCI6Ij…",
                "expires_at": "2026-11-22T07:00:00+00:00",
            }
        },
    ),
    ("post", "/v1/embed/claims"): (
        {"token": "eyJhbGciOiJIUzI1NiIsImtpZCI6Ij…"},
        {"201": _SHOWN, "200": _SHOWN},
    ),
    ("get", "/v1/meetings/{sid}/public-keys"): (None, {"200": {"public_keys": [_PUBLIC_KEY]}}),
    ("post", "/v1/meetings/{sid}/public-keys"): (
        {"origins": ["https://www.example.com"], "label": "landing page"},
        {"201": {"public_key": _PUBLIC_KEY}},
    ),
    ("get", "/v1/meetings"): (None, {"200": {"meetings": [_MEETING]}}),
    ("get", "/v1/meetings/{sid}"): (None, {"200": _ONE}),
    ("put", "/v1/meetings/{sid}"): (
        {"min_fresh": 50, "max_fresh": 1000, "reserve": 20},
        {"200": _ONE, "201": _ONE},
    ),
    ("post", "/v1/meetings/{sid}/pause"): (_REASON, {"200": _PAUSED}),
    ("post", "/v1/meetings/{sid}/resume"): ({"reason": "the host is back"}, {"200": _ONE}),
    ("post", "/v1/meetings/{sid}/top-up"): ({"reason": "a mailing goes out"}, {"200": _ONE}),
    ("post", "/v1/meetings/{sid}/drain"): (
        {"reason": "the form was changed"},
        {"200": {"meeting": _MEETING | {"state": "empty", "fresh": 0}, "retired": 50}},
    ),
    ("post", "/v1/webhooks/{workspace}"): (None, {"202": {"event_id": _EVENT["id"]}}),
    ("get", "/v1/events"): (None, {"200": {"events": [_EVENT]}}),
    ("post", "/v1/events/{event_id}/replay"): (None, {"200": {"event": _EVENT}}),
    ("post", "/v1/events/replay"): (
        {"state": "dead", "reason": "the ledger is back"},
        {"202": {"replayed": 12}},
    ),
    ("post", "/v1/events/{event_id}/assign"): (
        {"slug": _CLAIM["slug"], "reason": "the booker wrote to us"},
        {"200": {"event": _EVENT | {"match": "assigned"}}},
    ),
    ("get", "/livez"): (None, {"200": {"status": "alive"}}),
    ("get", "/readyz"): (None, {"200": {"status": "ready"}}),
    ("get", "/healthz"): (
        None,
        {
            "200": {
                "status": "ok",
                "parts": [
                    {
                        "name": "redis",
                        "state": "ok",
                        "since": "2026-11-22T06:00:00+00:00",
                        "detail": "answers",
                    }
                ],
            }
        },
    ),
}


def give_examples(document: dict[str, Any]) -> None:
    """Put the examples where bodies and answers are described; problems show one of their kind."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body, answers = _EXAMPLES.get((method, path), (None, {}))
            sent = operation.get("requestBody", {}).get("content", {})
            if body is not None and "application/json" in sent:
                sent["application/json"]["example"] = body
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind == "application/json" and status in answers:
                        content["example"] = answers[status]
                    elif kind == problems.CONTENT_TYPE.decode():
                        content["example"] = _problem(int(status), path)


def _problem(status: int, path: str) -> dict[str, Any]:
    kind = next(
        (each for each in problems.BY_NAME.values() if each.status == status),
        problems.BY_NAME["invalid-request"],
    )
    return {
        "type": f"/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
        "instance": path.replace("{sid}", "intro"),
    }
