"""Prepare what claims need before they can be served: schema, secret key, meetings, pools."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pool.config.addresses import database_url, redis_url, secret_key
from pool.config.production import check_production
from pool.config.settings import DEFAULT_WORKSPACE, TOML_FILE, Settings, load
from pool.durability.opening import check_secret_key, open_durability
from pool.errors import (
    InvalidRequest,
    LedgerError,
    LedgerUnavailable,
    SettingsError,
    StoreUnavailable,
    UnknownWorkspace,
)
from pool.ledger import Ledger
from pool.model.meeting_rules import check_meeting
from pool.model.meetings import Meeting
from pool.nudges import check_before_sending
from pool.store.bindings import CustomerNames
from pool.store.capabilities import check_redis


async def prepare(settings: Settings, sids: list[str]) -> None:
    """Migrate the ledger, declare meetings, and open every pool. Safe to run again.

    `sids` are declared with default settings unless they are known; meetings that linkpool.toml
    declares follow that file. Raise LinkpoolError.
    """
    async with open_durability(settings) as parts:
        await migrate(parts.ledger, settings, sids)
        await check_secret_key(parts.ledger, parts.store.names.fingerprint)
        meetings = await parts.ledger.meetings.all()
        await parts.store.published.put(meetings)
        levels = (await parts.store.look_at(meetings)).pools
        # No API process serves yet, so there is none to wait for.
        await parts.recovery.recover_all(
            [level.sid for level in levels if level.fence != "stands"], grace_seconds=0.0
        )


async def migrate(ledger: Ledger, settings: Settings, sids: list[str]) -> None:
    """Bring the schema up to date, and the meetings in line with what is declared.

    Raise UnknownWorkspace for a meeting whose workspace is not configured.
    """
    await ledger.upgrade()
    await declare(ledger, settings, sids)


async def declare(ledger: Ledger, settings: Settings, sids: Sequence[str] = ()) -> None:
    """Bring the meetings in line with what is declared. Raise what `migrate` raises."""
    known = {meeting.sid: meeting for meeting in await ledger.meetings.all()}
    declared = [Meeting(sid) for sid in sids if sid not in known]
    for sid, defaults in settings.meetings.items():
        declared.append(replace(known.get(sid, Meeting(sid)), **defaults.given()))
    for meeting in declared:
        try:
            check_meeting(meeting)
        except InvalidRequest as error:
            name = f"linkpool.toml: meetings.{meeting.sid}"
            raise SettingsError(name, "; ".join(error.errors)) from None
        if settings.workspace(meeting.workspace) is None:
            raise UnknownWorkspace(
                f"meeting {meeting.sid} belongs to workspace {meeting.workspace}, which is not "
                f"configured; {DEFAULT_WORKSPACE!r} comes from LINKPOOL_NEETOCAL_SUBDOMAIN "
                "and LINKPOOL_NEETOCAL_API_KEY, others from linkpool.toml"
            )
        if meeting.sid not in known:
            await ledger.meetings.put(meeting)
        elif known[meeting.sid] != meeting:  # what is not declared stays as it is by now
            await ledger.meetings.change(meeting.sid, settings.meetings[meeting.sid].given())


async def check_before_serving(settings: Settings, *, works: bool = False) -> None:
    """Declare the meetings of linkpool.toml. Raise SettingsError if Redis or database refuse what
    is needed, the ledger has another secret key, or a meeting cannot be as it is declared.

    If either is away, serve nevertheless: it may come back, and claims do not need the ledger.
    A process that `works` also receives what the broker has for it.
    """
    with suppress(StoreUnavailable):
        await check_redis(redis_url(settings))
    await check_before_sending(settings, works=works)
    ledger = Ledger.open(database_url(settings))
    try:
        await check_secret_key(ledger, CustomerNames(secret_key(settings)).fingerprint)
        await declare(ledger, settings)
    except UnknownWorkspace as error:
        raise SettingsError(TOML_FILE, str(error)) from None
    except LedgerUnavailable as error:
        if error.refusal and not _may_be_mounted_later(database_url(settings)):
            raise SettingsError("LINKPOOL_DATABASE_URL", error.refusal) from None
    except LedgerError:
        return
    finally:
        await ledger.close()


def _may_be_mounted_later(url: str) -> bool:
    """Return True if an SQLite file cannot be opened because its directory is not there yet."""
    _, _, path = url.partition("sqlite:///")
    return bool(path) and not Path(path).parent.is_dir()


async def reloaded(old: Settings) -> Settings:
    """Return the settings as they are now in the environment, files and linkpool.toml.

    Where a part listens stays as it was. Raise SettingsError if a part could not start with them.
    """
    new = load(host=old.host, port=old.port, data_dir=old.data_dir)
    check_production(new)
    await check_before_serving(new)
    return new
