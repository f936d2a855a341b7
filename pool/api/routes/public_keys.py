"""Serve the public keys of a meeting to operators."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pool.access.api_keys import Scope
from pool.access.public_keys import ORIGINS, issue_public_key, revoke_public_key
from pool.api.claim_path.answers import iso
from pool.api.routes.access import Sid, TheActor, TheCaller, TheService
from pool.api.routes.bodies import PlainText, problem_answers
from pool.ledger.records import PublicKey

router = APIRouter(
    prefix="/v1/meetings/{sid}/public-keys",
    tags=["browsers"],
    responses=problem_answers(401, 403, 404, 413, 422, 503),
)


class NewPublicKey(BaseModel):
    """The origins of the pages that may claim with a new public key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    origins: Annotated[
        list[Annotated[str, StringConstraints(max_length=300)]],
        Field(min_length=1, max_length=ORIGINS),
    ]
    label: PlainText = ""


class PublicKeyView(BaseModel):
    """A public key; its id is the whole key, which is no secret."""

    id: str
    meeting_sid: str
    origins: list[str]
    label: str
    created_at: str | None
    revoked_at: str | None

    @classmethod
    def of(cls, key: PublicKey) -> PublicKeyView:
        """Return the view of a key."""
        times = {"created_at": iso(key.created_at), "revoked_at": iso(key.revoked_at)}
        return cls(**asdict(key) | times)


class PublicKeyAnswer(BaseModel):
    """One public key."""

    public_key: PublicKeyView


class PublicKeysAnswer(BaseModel):
    """All public keys of a meeting, the oldest first."""

    public_keys: list[PublicKeyView]


@router.get("")
async def list_public_keys(sid: Sid, caller: TheCaller, service: TheService) -> PublicKeysAnswer:
    """List the public keys of a meeting, revoked ones too."""
    caller.check(Scope.READ, sid)
    await service.known_meetings.find(sid)
    found = await service.parts.ledger.public_keys.all()
    return PublicKeysAnswer(
        public_keys=[PublicKeyView.of(key) for key in found if key.meeting_sid == sid]
    )


@router.post("", status_code=201)
async def make_public_key(
    sid: Sid, body: NewPublicKey, caller: TheActor, service: TheService
) -> PublicKeyAnswer:
    """Make a key with which pages of these origins claim for anonymous visitors."""
    caller.check(Scope.ADMIN, sid)
    key = await issue_public_key(service.parts.ledger, sid, body.origins, body.label, caller.key_id)
    return PublicKeyAnswer(public_key=PublicKeyView.of(key))


@router.delete("/{public_key}", status_code=204)
async def end_public_key(sid: Sid, public_key: str, caller: TheActor, service: TheService) -> None:
    """Revoke a public key; every process refuses it within 5 seconds."""
    caller.check(Scope.ADMIN, sid)
    await revoke_public_key(service.parts.ledger, public_key, caller.key_id, sid=sid)
