"""Make browser tokens, and the secrets that sites sign them with: `linkpool token`, `tokens`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from pool.access.api_keys import Scope, digest
from pool.access.token_secrets import SecretSource, issue_secret, revoke_secret
from pool.access.tokens import LONGEST_SECONDS, TokenClaims, sign
from pool.cli.common import ACTOR, AsJson, DataDir, ReasonOption, on_ledger, settings_for
from pool.cli.lengths import length
from pool.cli.printing import moment, print_made, print_views
from pool.config.addresses import secret_key
from pool.config.settings import Settings
from pool.errors import UnknownKey, UnknownMeeting
from pool.ledger import Ledger
from pool.ledger.records import TokenSecret
from pool.model.emails import check_email
from pool.model.links import check_customer_id

app = typer.Typer(help="Secrets that sites sign browser tokens with.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, lp_<ID>_…")]


@app.command("create-secret")
def create_secret(key_id: KeyId, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Make a token secret for a key and print it once. A key may have two at a time."""
    settings = settings_for(data_dir)
    source = SecretSource(secret_key(settings))
    text, secret = on_ledger(settings, lambda ledger: issue_secret(ledger, source, key_id, ACTOR))
    print_made(text, {"secret": text} | _view(secret), as_json=as_json)


@app.command("list-secrets")
def list_secrets(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all token secrets by their ids, lps_<ID>_…"""
    secrets = on_ledger(settings_for(data_dir), lambda ledger: ledger.token_secrets.all())
    columns = ["id", "key_id", "created_at", "revoked_at"]
    views = [_view(each) for each in secrets]
    print_views("Token secrets", columns, views, as_json=as_json, whole=("id", "key_id"))


@app.command("revoke-secret")
def revoke(
    secret_id: Annotated[str, typer.Argument(metavar="ID", help="The secret's id, lps_<ID>_…")],
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Revoke a token secret; API processes refuse its tokens within 5 seconds."""
    on_ledger(
        settings_for(data_dir), lambda ledger: revoke_secret(ledger, secret_id, ACTOR, reason)
    )
    sys.stdout.write(f"revoked {secret_id}\n")


def token(
    meeting: Annotated[str, typer.Option(metavar="SID", help="The meeting to claim for.")],
    customer: Annotated[str, typer.Option(metavar="ID", help="The customer to claim for.")],
    email: Annotated[str | None, typer.Option(help="The customer's e-mail address.")] = None,
    expires_in: Annotated[
        int,
        typer.Option(
            parser=length(least=1, most=LONGEST_SECONDS),
            metavar="TIME",
            help="How long until it expires: 3600, 2 h.",
        ),
    ] = 3_600,
    key: Annotated[
        str | None, typer.Option(metavar="KEY_ID", help="The key in whose name it claims.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Print a token with which a browser claims for this customer, to try an embed with.

    Without --key it is in the name of the admin key, or of the oldest key that may claim.
    """
    settings = settings_for(data_dir)

    async def work(ledger: Ledger) -> str:
        check_customer_id(customer)
        if email is not None:
            check_email(email)
        if await ledger.meetings.get(meeting) is None:
            raise UnknownMeeting(f"there is no meeting {meeting}")
        key_id, key_digest = await _signer(settings, ledger, meeting, key)
        secret = SecretSource(secret_key(settings)).own(key_id, key_digest)
        expires_at = int(time.time()) + expires_in
        return sign(secret, key_id, TokenClaims(meeting, customer, email), expires_at)

    sys.stdout.write(f"{on_ledger(settings, work)}\n")


async def _signer(
    settings: Settings, ledger: Ledger, meeting: str, wanted: str | None
) -> tuple[str, str]:
    """Return the id and digest of the key in whose name to sign. Raise UnknownKey."""
    if wanted is None and settings.admin_key is not None:
        return "admin", digest(settings.admin_key.get_secret_value().encode())
    now = datetime.now(UTC)
    for key in await ledger.keys.all():
        may = {Scope.CLAIM.value, Scope.ADMIN.value} & key.scopes
        if (
            may
            and key.good_at(now)
            and (key.meetings is None or meeting in key.meetings)
            and wanted in (None, key.id)
        ):
            return key.id, key.digest
    raise UnknownKey(
        f"there is no live key that may claim for {meeting}; `linkpool keys create` makes one"
        if wanted is None
        else f"key {wanted} is not a live key that may claim for {meeting}"
    )


def _view(secret: TokenSecret) -> dict[str, object]:
    return {
        "id": secret.id,
        "key_id": secret.key_id,
        "created_at": moment(secret.created_at),
        "revoked_at": moment(secret.revoked_at),
    }
