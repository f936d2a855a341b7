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
    fail,
    print_json,
    print_table,
    run,
    settings_for,
)
from pool.config.addresses import database_url
from pool.config.networks import networks_of
from pool.ledger import Ledger
from pool.ledger.records import ApiKey
from pool.model.links import is_sid

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
        int | None, typer.Option(min=1, max=36_500, help="Days until the key stops working.")
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
        if not is_sid(sid):
            fail(f"--meeting {sid!r}: a SID has 1 to 64 letters, digits, - and _", WRONG_USAGE)
    scopes = frozenset(each.value for each in scope or [Scope.CLAIM])
    meetings = frozenset(meeting) if meeting else None
    try:
        networks = tuple(str(each) for each in networks_of(" ".join(network or []))) or None
    except ValueError as error:
        fail(f"--network: {error}", WRONG_USAGE)
    expires_at = datetime.now(UTC) + timedelta(expires_in_days) if expires_in_days else None
    ledger = Ledger.open(database_url(settings_for(data_dir)))

    async def work() -> tuple[str, ApiKey]:
        try:
            return await issue_key(
                ledger, scopes, meetings, label, ACTOR, expires_at=expires_at, networks=networks
            )
        finally:
            await ledger.close()

    _print_key(*run(work), as_json=as_json)


@app.command("list")
def list_keys(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all keys, without their secrets."""
    ledger = Ledger.open(database_url(settings_for(data_dir)))

    async def work() -> list[ApiKey]:
        try:
            return await ledger.keys.all()
        finally:
            await ledger.close()

    views = [_view(key) for key in run(work)]
    if as_json:
        print_json(views)
    else:
        columns = ["id", "scopes", "meetings", "networks", "label", "created_at"]
        columns += ["last_used_at", "expires_at", "revoked_at"]
        print_table("API keys", columns, [[view[c] or "" for c in columns] for view in views])


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, lp_<ID>_…")],
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=8_760, help="Hours for which the old key still works.")
    ] = 24.0,
    reason: ReasonOption = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key with the same rights and print it; the old key expires after the overlap."""
    ledger = Ledger.open(database_url(settings_for(data_dir)))

    async def work() -> tuple[str, ApiKey]:
        try:
            return await rotate_key(ledger, key_id, overlap_hours * 3600, ACTOR, reason)
        finally:
            await ledger.close()

    _print_key(*run(work), as_json=as_json)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, lp_<ID>_…")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key; API processes refuse it within 5 seconds."""
    ledger = Ledger.open(database_url(settings_for(data_dir)))

    async def work() -> None:
        try:
            await revoke_key(ledger, key_id, ACTOR)
        finally:
            await ledger.close()

    run(work)
    sys.stdout.write(f"revoked {key_id}\n")


def _print_key(key: str, record: ApiKey, *, as_json: bool) -> None:
    if as_json:
        print_json({"key": key} | _view(record))
    else:
        sys.stdout.write(f"{key}\n")


def _view(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "scopes": " ".join(sorted(key.scopes)),
        "meetings": " ".join(sorted(key.meetings)) if key.meetings is not None else "all",
        "label": key.label,
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "revoked_at": _moment(key.revoked_at),
        "expires_at": _moment(key.expires_at),
        "last_used_at": _moment(key.last_used_at),
        "networks": " ".join(key.networks) if key.networks is not None else "any",
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
