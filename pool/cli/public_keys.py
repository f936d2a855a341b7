"""Create, list and revoke the public keys of meetings: `linkpool public-keys`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pool.access.public_keys import issue_public_key, revoke_public_key
from pool.cli.common import ACTOR, AsJson, DataDir, ReasonOption, on_ledger, settings_for
from pool.cli.printing import moment, print_made, print_views
from pool.ledger.records import PublicKey

app = typer.Typer(help="Keys with which pages without a backend claim.", no_args_is_help=True)


@app.command()
def create(
    sid: Annotated[str, typer.Argument(help="The meeting's SID at the provider.")],
    origin: Annotated[
        list[str],
        typer.Option("--origin", help="Origin of the pages, https://www.example.com; repeatable."),
    ],
    label: Annotated[str, typer.Option(help="A note of what the key is for.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a public key and print it. It goes into pages, and is no secret."""
    key = on_ledger(
        settings_for(data_dir), lambda ledger: issue_public_key(ledger, sid, origin, label, ACTOR)
    )
    print_made(key.id, _view(key), as_json=as_json)


@app.command("list")
def list_public_keys(
    sid: Annotated[str | None, typer.Argument(help="Only this meeting's.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List public keys with their meetings and origins."""
    keys = on_ledger(settings_for(data_dir), lambda ledger: ledger.public_keys.all())
    views = [_view(key) for key in keys if sid in (None, key.meeting_sid)]
    columns = ["id", "meeting", "origins", "label", "created_at", "revoked_at"]
    print_views("Public keys", columns, views, as_json=as_json)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The public key, pk_…")],
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Revoke a public key; API processes refuse it within 5 seconds."""
    on_ledger(settings_for(data_dir), lambda ledger: revoke_public_key(ledger, key, ACTOR, reason))
    sys.stdout.write(f"revoked {key}\n")


def _view(key: PublicKey) -> dict[str, object]:
    return {
        "id": key.id,
        "meeting": key.meeting_sid,
        "origins": " ".join(key.origins),
        "label": key.label,
        "created_at": moment(key.created_at),
        "revoked_at": moment(key.revoked_at),
    }
