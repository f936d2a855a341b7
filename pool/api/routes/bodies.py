"""Define the bodies of requests and answers that the OpenAPI document describes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pool.config.meeting_settings import MeetingSettings, as_fields
from pool.model.links import SID_PATTERN, SLUG_PATTERN
from pool.operations.status import MeetingStatus

# No control characters: texts end up in databases, logs and terminals.
PlainText = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class Reason(BaseModel):
    """The reason for an operator's action; kept in the audit log."""

    model_config = ConfigDict(extra="forbid")

    reason: PlainText = ""


class Replacement(BaseModel):
    """The reason for replacing a customer's link; kept in its history and in the audit log."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[PlainText, StringConstraints(min_length=1)]
    slug: Annotated[str, StringConstraints(pattern=SLUG_PATTERN)] | None = Field(
        default=None,
        description="The link to replace. If the customer holds another link by now, the answer "
        "shows that link and nothing is replaced, so the call can be repeated safely.",
    )


class Assignment(Reason):
    """The link that a booking used, as an operator decides."""

    slug: Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]


class Replay(Reason):
    """The state whose events are to be processed again."""

    state: Literal["dead"]


class MeetingChange(MeetingSettings):
    """The settings of a meeting; those left out keep their value, or take their default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workspace: Annotated[str, StringConstraints(pattern=SID_PATTERN)] | None = None
    fallback_url: Annotated[str, StringConstraints(max_length=2048)] | None = None

    def changes(self) -> dict[str, Any]:
        """Return the settings that were given; null removes fallback_url, else it is ignored."""
        given = self.model_dump(exclude_unset=True)
        return as_fields(
            {k: value for k, value in given.items() if value is not None or k == "fallback_url"}
        )


class MeetingView(BaseModel):
    """A meeting, its settings, and the state of its pool."""

    sid: str
    workspace: str
    state: Literal["ok", "low", "empty", "paused", "blocked", "recovering"]
    reason: str
    fresh: int
    target: int
    claimed: int | None = Field(description="null while the ledger does not answer")
    consumed: int | None
    claims_per_second: float
    runway_seconds: float | None = Field(description="null while nobody claims")
    runway_low_seconds: float | None = Field(
        description="in one case out of ten the runway is shorter; null: more than a day"
    )
    runway_high_seconds: float | None = Field(
        description="in one case out of ten the runway is longer; null: more than a day"
    )
    suggested_target: int = Field(description="the target that the forecast suggests")
    oldest_fresh_seconds: float | None
    unrecorded_claims: int
    min_fresh: int
    max_fresh: int
    cover_seconds: int
    claim_ttl_seconds: int
    max_fresh_age_seconds: int
    after_booking: Literal["same", "new"]
    on_empty: Literal["direct", "fail"]
    target_mode: Literal["fixed", "auto"]
    fallback_url: str | None
    match_email: bool
    reserve: int
    shards: int
    paused: bool

    @classmethod
    def of(cls, status: MeetingStatus, *, counted: bool) -> MeetingView:
        """Return the view of a status; `counted` says whether it has the ledger's counts."""
        facts = status.facts()
        for name in ("runway_seconds", "runway_low_seconds", "runway_high_seconds"):
            facts[name] = None if facts[name] is None else round(facts[name], 1)
        return cls(**facts | ({} if counted else {"claimed": None, "consumed": None}))


class MeetingAnswer(BaseModel):
    """One meeting."""

    meeting: MeetingView
    retired: int | None = Field(default=None, description="number of links that a drain retired")


class MeetingsAnswer(BaseModel):
    """All meetings the key may see, the most urgent first."""

    meetings: list[MeetingView]


class LinkAnswer(BaseModel):
    """A link as the ledger knows it, and its history, oldest first."""

    link: dict[str, Any]
    history: list[dict[str, str]]


class EventView(BaseModel):
    """A webhook event of the inbox."""

    id: str
    workspace: str
    source: str
    event: str
    booking_sid: str | None
    meeting_sid: str | None
    received_at: str
    state: Literal["pending", "settled", "unmatched", "ignored", "dead"]
    reason: str
    slug: str | None
    match: str | None
    attempts: int
    last_error: str | None
    seen: int


class EventAnswer(BaseModel):
    """One event."""

    event: EventView


class EventsAnswer(BaseModel):
    """Events, newest first."""

    events: list[EventView]


class ReceivedAnswer(BaseModel):
    """The id of a received webhook event; a repeat gets the same id."""

    event_id: str


class ReplayAnswer(BaseModel):
    """Say how many events will be processed again."""

    replayed: int


class ProblemBody(BaseModel):
    """An error, as RFC 9457 defines it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[str] | None = None
    fallback_url: str | None = None


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems a route may answer with, for the OpenAPI document."""
    return {status: {"model": ProblemBody} for status in statuses}
