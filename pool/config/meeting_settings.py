"""Say what the settings of a meeting may be, in linkpool.toml and in the body of a request."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from pool.model.meetings import AfterBooking, OnEmpty, TargetMode
from pool.model.pools import SHARDS_MOST

_Lifetime = Annotated[int, Field(ge=60, le=31_536_000)]


class MeetingSettings(BaseModel):
    """The settings of a meeting; None for those that were not given."""

    workspace: str | None = None
    min_fresh: int | None = Field(default=None, ge=0, le=1_000_000)
    max_fresh: int | None = Field(default=None, ge=1, le=1_000_000)
    cover_seconds: int | None = Field(default=None, ge=0, le=86_400)
    claim_ttl_seconds: _Lifetime | None = None
    max_fresh_age_seconds: _Lifetime | None = None
    after_booking: AfterBooking | None = None
    on_empty: OnEmpty | None = None
    target: TargetMode | None = Field(
        default=None, description="auto: top-up uses the suggested target"
    )
    fallback_url: str | None = None
    match_email: bool | None = Field(
        default=None,
        description="false: no booking is matched to a claim by its e-mail address alone",
    )
    reserve: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="fresh links that claims with a public key leave to all others",
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        le=SHARDS_MOST,
        description="pools over which the customers are spread, so that a Redis Cluster serves "
        "the meeting by several masters; while the number changes, claims answer `recovering`",
    )


def as_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return given settings under the names of a Meeting's fields."""
    return {"target_mode" if name == "target" else name: value for name, value in given.items()}
