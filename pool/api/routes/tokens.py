"""Sign browser tokens for backends that do not sign their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pool.access.api_keys import Scope
from pool.access.tokens import LONGEST_SECONDS, TokenClaims
from pool.api.routes.access import TheCaller, TheService, known_sid
from pool.api.routes.bodies import problem_answers
from pool.model.emails import check_email
from pool.model.links import check_customer_id

router = APIRouter(prefix="/v1", tags=["browsers"])


class TokenRequest(BaseModel):
    """The meeting and customer that a browser is to claim for, and the token's lifetime."""

    model_config = ConfigDict(extra="forbid", strict=True)

    meeting_sid: Annotated[str, StringConstraints(max_length=64)]
    customer_id: str
    email: str | None = None
    expires_in_seconds: Annotated[int, Field(ge=1, le=LONGEST_SECONDS)] = 3_600


class TokenAnswer(BaseModel):
    """A token for `POST /v1/embed/claims`, and when it expires."""

    token: str
    expires_at: str


@router.post(
    "/tokens", status_code=201, responses=problem_answers(400, 401, 403, 404, 413, 422, 503)
)
async def make_token(
    body: TokenRequest, caller: TheCaller, service: TheService, response: Response
) -> TokenAnswer:
    """Sign a token with which a browser claims for this meeting and customer, and nothing else."""
    caller.check(Scope.CLAIM, known_sid(body.meeting_sid))
    check_customer_id(body.customer_id)
    if body.email is not None:
        check_email(body.email)
    meeting = await service.known_meetings.find(body.meeting_sid)
    token, expires_at = service.tokens.sign(
        caller, TokenClaims(meeting.sid, body.customer_id, body.email), body.expires_in_seconds
    )
    response.headers["cache-control"] = "no-store"
    at = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return TokenAnswer(token=token, expires_at=at)
