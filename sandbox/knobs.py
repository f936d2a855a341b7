"""Every knob: how the sandbox behaves, changed by a flag or while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

KnobValue = bool | int | float | str
T = TypeVar("T", bool, int, float, str)

# The probabilities of Knobs: at most one of them strikes per call, so they share one draw.
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


class KnobError(Exception):
    """A knob that does not exist, or a value it cannot take; `knob` names it."""

    def __init__(self, knob: str, problem: str) -> None:
        super().__init__(f"{knob}: {problem}")
        self.knob = knob


def _knob(
    default: T,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = 0,
    high: float = math.inf,
) -> T:
    metadata = {"help": text, "choices": choices, "low": low, "high": high}
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
    disabled_meetings: str = _knob("", "comma-separated SIDs whose calls for a link answer 422")

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
        True, "whether a booking's `meeting` holds its sid beside its name"
    )
    webhook_carries_slug: bool = _knob(
        True, "whether client_booking_url carries the slug; else only the visitor's answers can"
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
        "escaped_hash_only: UTF-8 body, signature over the escaped form",
        choices=("raw", "escaped_body", "escaped_hash_only"),
    )
    webhook_wrong_signature: bool = _knob(False, "whether signatures are made with another secret")
    webhook_retry_seconds: float = _knob(
        2.0,
        "time before the first of 6 repeats of a failed delivery, doubled each time "
        "(the real one: 5 minutes)",
        high=86_400,
    )

    def as_dict(self) -> dict[str, KnobValue]:
        """All knobs by name."""
        return asdict(self)


def knob_facts() -> dict[str, tuple[KnobValue, dict[str, Any]]]:
    """Default and metadata (`help`, `choices`, `low`, `high`) of every knob, by name."""
    defaults = Knobs().as_dict()
    return {each.name: (defaults[each.name], dict(each.metadata)) for each in fields(Knobs)}


def set_knobs(knobs: Knobs, changes: Mapping[str, object]) -> None:
    """Put `changes` in force, all of them or, when one is wrong, none. Raises KnobError."""
    facts = knob_facts()
    checked: dict[str, KnobValue] = {}
    for name, value in changes.items():
        if name not in facts:
            raise KnobError(name, f"is no knob; knobs are {', '.join(facts)}")
        default, metadata = facts[name]
        checked[name] = _checked(name, value, type(default), metadata)
    total = sum(float(checked.get(name, getattr(knobs, name))) for name in PROBABILITIES)
    if total > 1 + 1e-9:
        named = next((name for name in checked if name in PROBABILITIES), PROBABILITIES[0])
        raise KnobError(named, f"all p_ knobs together come to {total:g}; at most 1 is possible")
    for name, value in checked.items():
        setattr(knobs, name, value)


def _checked(name: str, value: object, kind: type, metadata: Mapping[str, Any]) -> KnobValue:
    if kind is bool:
        if not isinstance(value, bool):
            raise KnobError(name, "takes true or false")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise KnobError(name, "takes a text")
        if metadata["choices"] and value not in metadata["choices"]:
            raise KnobError(name, f"takes one of {', '.join(metadata['choices'])}")
        # Some texts become headers, where a line break or non-ASCII would break the answer.
        if not value.isascii() or (value and not value.isprintable()):
            raise KnobError(name, "takes printable ASCII only")
        return value
    # bool is an int to Python, and no number to anybody else.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KnobError(name, "takes a number")
    if kind is int and not isinstance(value, int):
        raise KnobError(name, "takes a whole number")
    if isinstance(value, float) and not math.isfinite(value):
        raise KnobError(name, "takes a finite number")
    if not metadata["low"] <= value <= metadata["high"]:
        raise KnobError(name, f"takes {_span(metadata['low'], metadata['high'])}")
    if name == "fail_status" and 0 < value < 200:
        raise KnobError(name, "takes 0 or a status from 200 to 599")
    return value if kind is int else float(value)


def _span(low: float, high: float) -> str:
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
