"""Create, list, rotate and revoke API keys: `linkpool keys`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pool.access.api_keys import Scope, issue_key, revoke_key, rotate_key
from pool.cli.common import (
    ACTOR,
    WRONG_USAGE,
    AsJson,
    DataDir,
    ReasonOption,
    check_sid,
    fail,
    on_ledger,
    settings_for,
)
from pool.cli.lengths import length
from pool.cli.printing import moment, print_made, print_views
from pool.config.networks import networks_of
from pool.ledger.records import ApiKey

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command()
def create(
    scope: Annotated[
        list[Scope] | None, typer.Option("--scope", help="Repeatable; claim by default.")
    ] = None,
    meeting: Annotated[
        list[str] | None,
        typer.Option("--meeting", metavar="SID", help="Only these meetings; repeatable."),
    ] = None,
    label: Annotated[str, typer.Option(help="A note of who uses the key.")] = "",
    expires_in_days: Annotated[
        int | None,
        typer.Option(
            parser=length("days", least=1, most=36_500),
            metavar="DAYS",
            help="Days until the key stops working, or 12 weeks.",
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", help="Only from this address or network; repeatable."),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it once; only its hash is kept."""
    for sid in meeting or []:
        check_sid(sid, "--meeting")
    scopes = frozenset(each.value for each in scope or [Scope.CLAIM])
    meetings = frozenset(meeting) if meeting else None
    try:
        networks = tuple(str(each) for each in networks_of(" ".join(network or []))) or None
    except ValueError as error:
        fail(f"--network: {error}", WRONG_USAGE)
    expires_at = datetime.now(UTC) + timedelta(expires_in_days) if expires_in_days else None
    key, record = on_ledger(
        settings_for(data_dir),
        lambda ledger: issue_key(
            ledger, scopes, meetings, label, ACTOR, expires_at=expires_at, networks=networks
        ),
    )
    print_made(key, {"key": key} | _view(record), as_json=as_json)


@app.command("list")
def list_keys(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all keys, without their secrets."""
    keys = on_ledger(settings_for(data_dir), lambda ledger: ledger.keys.all())
    columns = ["id", "scopes", "meetings", "networks", "label", "created_at"]
    columns += ["last_used_at", "expires_at", "revoked_at"]
    views = [_view(key) for key in keys]
    if not as_json:
        views = [
            view | {"meetings": view["meetings"] or "all", "networks": view["networks"] or "any"}
            for view in views
        ]
    print_views("API keys", columns, views, as_json=as_json)


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, lp_<ID>_…")],
    overlap_hours: Annotated[
        float,
        typer.Option(
            parser=length("hours", most=8_760, whole=False),
            metavar="HOURS",
            help="Hours for which the old key still works, or 2 days.",
        ),
    ] = 24.0,
    reason: ReasonOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key with the same rights and print it; the old key expires after the overlap."""
    key, record = on_ledger(
        settings_for(data_dir),
        lambda ledger: rotate_key(ledger, key_id, overlap_hours * 3600, ACTOR, reason),
    )
    print_made(key, {"key": key} | _view(record), as_json=as_json)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, lp_<ID>_…")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key; API processes refuse it within 5 seconds."""
    on_ledger(settings_for(data_dir), lambda ledger: revoke_key(ledger, key_id, ACTOR))
    sys.stdout.write(f"revoked {key_id}\n")


def _view(key: ApiKey) -> dict[str, object]:
    """Return what programs read: lists are lists, and null where nothing is restricted."""
    return {
        "id": key.id,
        "scopes": sorted(key.scopes),
        "meetings": sorted(key.meetings) if key.meetings is not None else None,
        "label": key.label,
        "created_at": moment(key.created_at),
        "revoked_at": moment(key.revoked_at),
        "expires_at": moment(key.expires_at),
        "last_used_at": moment(key.last_used_at),
        "networks": list(key.networks) if key.networks is not None else None,
    }
