"""Define every knob: how the sandbox behaves, changed by a flag or while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from sandbox.knob_checks import KnobError, KnobValue, checked_value

T = TypeVar("T", bool, int, float, str)
EVENTS = ("booking_created", "booking_cancelled", "booking_rescheduled")

# The probabilities of Knobs: at most one of them affects a call, so they share one draw.
PROBABILITIES = (
    "p_429",
    "p_500",
    "p_html",
    "p_empty",
    "p_hang",
    "p_duplicate",
    "p_bad_slug",
    "p_redirect",
    "p_huge",
    "p_lost",
)


def _knob(
    default: T,
    text: str,
    *,
    form: str = "",
    choices: tuple[str, ...] = (),
    low: float = 0,
    high: float = math.inf,
) -> T:
    metadata = {"help": text, "form": form, "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata)


def _probability(text: str) -> float:
    return _knob(0.0, text, high=1)


@dataclass(slots=True)
class Knobs:
    """The values now in force. Change them with `set_knobs`, which checks first."""

    shape: str = _knob(
        "flat",
        "shape of a new link's answer; alternate takes turns",
        choices=("flat", "wrapped", "alternate"),
    )
    create_status: int = _knob(200, "status of a new link's answer, 200 or 201", low=200, high=201)
    link_base_url: str = _knob(
        "",
        "what every new link and booking page begins with, as under a custom domain; "
        "empty: --public-url",
        form="url",
    )

    disabled_meetings: str = _knob(
        "",
        "comma-separated SIDs of disabled meetings: a call for a link answers 422, "
        "their unused links are not available, GET /meetings says disabled",
        form="list",
    )
    deleted_meetings: str = _knob(
        "",
        "comma-separated SIDs of deleted meetings: a call for a link answers 404, "
        "their unused links are not available, GET /meetings leaves them out",
        form="list",
    )
    refuse_meetings: str = _knob(
        "",
        "comma-separated SID=HOW: how calls for a link of these meetings fail, by a status "
        "(403, 404, 422, 429, 500...), by hang (no answer for hang_seconds, then 500) or by "
        "html (200 with HTML); no link is made",
        form="map",
        choices=("STATUS", "hang", "html"),
    )
    meeting_kinds: str = _knob(
        "",
        "comma-separated SID=KIND: series (one form makes series_length bookings), approval "
        "(pending until the host approves), payment (incomplete until it is paid), plain",
        form="map",
        choices=("plain", "series", "approval", "payment"),
    )
    series_length: int = _knob(3, "bookings that one form of a series makes", low=1, high=100)
    series_parent: str = _knob(
        "id",
        "what parent_booking_id holds, the first booking's id or its sid",
        choices=("id", "sid"),
    )
    incomplete_closes_link: bool = _knob(
        False, "whether a booking that is not paid yet uses its link up"
    )
    approved_status: str = _knob(
        "confirmed", "status of a booking once it is approved or confirmed by hand"
    )
    reschedule_style: str = _knob(
        "same_sid",
        "same_sid: one booking with new times; new_sid: another booking is created, then the "
        "old one cancelled; new_sid_cancelled_first: the same with the events the other way",
        choices=("same_sid", "new_sid", "new_sid_cancelled_first"),
    )

    limit_per_second: float = _knob(0.0, "links made per second before 429; 0: no limit")
    limit_burst: int = _knob(0, "links the limit lets through at once; 0: one second's worth")
    limit_retry_after: str = _knob(
        "",
        "Retry-After of every 429, sent as given (5, -1, 1e9, an HTTP date); "
        "date+N: the HTTP date N seconds from now; empty: no such header",
    )

    latency_seconds: float = _knob(0.0, "time every API call takes", high=3600)
    latency_jitter_seconds: float = _knob(0.0, "up to this much more, at random", high=3600)

    seed: int = _knob(0, "seed of all chance; setting it starts the sequence anew", low=-math.inf)
    p_429: float = _probability("chance of 429; no link is made")
    p_500: float = _probability("chance of 500; no link is made")
    p_html: float = _probability("chance of 200 with HTML; no link is made")
    p_empty: float = _probability("chance of 200 with an empty body; no link is made")
    p_hang: float = _probability("chance that the link is made and the answer comes late")
    hang_seconds: float = _knob(60.0, "how late a hanging answer comes", high=86_400)
    p_duplicate: float = _probability("chance of a slug this meeting gave before")
    p_bad_slug: float = _probability("chance of a slug with characters no slug has")
    p_redirect: float = _probability("chance of 307 to /_elsewhere; no link is made")
    p_huge: float = _probability("chance that the link is made and the answer has 10 MB")
    p_lost: float = _probability(
        "chance that the link is made, then the connection closes or a 500 comes"
    )

    fail_status: int = _knob(
        0, "status of every call for a link, e.g. 401, 404, 503; 0: off", high=599
    )
    fail_meeting: str = _knob("", "the one meeting that fail_status is for; empty: all")
    fail_reads: bool = _knob(False, "whether fail_status is for the GET calls, too")

    booking_names_meeting_sid: bool = _knob(
        False,
        "whether a booking's `meeting` holds its sid beside its name; the real one has "
        "meeting_id only, the id that GET /meetings shows",
    )
    webhook_carries_slug: bool = _knob(
        False,
        "whether client_booking_url carries the slug; else, as with the real one, only the "
        "visitor's answers can",
    )
    webhook_off: str = _knob(
        "",
        f"comma-separated events that are switched off, of {', '.join(EVENTS)}",
        form="list",
        choices=EVENTS,
    )
    webhook_on_incomplete: bool = _knob(
        False, "whether booking_created is sent for a booking that is not paid yet, too"
    )
    webhook_on_approval: bool = _knob(
        True, "whether approving sends booking_created again, and rejecting booking_cancelled"
    )
    webhook_wrapped: bool = _knob(False, 'whether the body is {"webhook": {...}}')
    webhook_times: int = _knob(1, "how often each event is sent; 0: never", high=1000)
    webhook_delay_seconds: float = _knob(0.0, "time before an event is first sent", high=86_400)
    webhook_shuffle: int = _knob(
        0, "hold up to this many events, at most a second long, and send them in random order"
    )
    webhook_escape: str = _knob(
        "raw",
        "raw: UTF-8 body; escaped_body: < > & and non-ASCII as \\u00xx in the body; "
        "escaped_hash_only: UTF-8 body, signature over the escaped form; markup_hash_only: "
        "the same with only < > & and U+2028, U+2029 escaped",
        choices=("raw", "escaped_body", "escaped_hash_only", "markup_hash_only"),
    )
    webhook_wrong_signature: bool = _knob(False, "whether signatures are made with another secret")
    webhook_retry_seconds: float = _knob(
        2.0,
        "time before the first of 6 repeats of a failed delivery, doubled each time "
        "(the real one: 5 minutes)",
        high=86_400,
    )

    def as_dict(self) -> dict[str, KnobValue]:
        """Return all knobs by name."""
        return asdict(self)


def knob_facts() -> dict[str, tuple[KnobValue, dict[str, Any]]]:
    """Return default and metadata (as `_knob` writes it) of every knob, by name."""
    defaults = Knobs().as_dict()
    return {each.name: (defaults[each.name], dict(each.metadata)) for each in fields(Knobs)}


def set_knobs(knobs: Knobs, changes: Mapping[str, object]) -> None:
    """Put `changes` in force, all of them or, when one is wrong, none. Raise KnobError."""
    facts = knob_facts()
    checked: dict[str, KnobValue] = {}
    for name, value in changes.items():
        if name not in facts:
            raise KnobError(name, f"is no knob; knobs are {', '.join(facts)}")
        default, metadata = facts[name]
        checked[name] = checked_value(name, value, type(default), metadata)
    total = sum(float(checked.get(name, getattr(knobs, name))) for name in PROBABILITIES)
    if total > 1 + 1e-9:
        named = next((name for name in checked if name in PROBABILITIES), PROBABILITIES[0])
        raise KnobError(named, f"all p_ knobs together come to {total:g}; at most 1 is possible")
    for name, value in checked.items():
        setattr(knobs, name, value)
