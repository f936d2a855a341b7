"""Report to `linkpool doctor` on the ledger: its schema, secret key, connections and meetings."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pool.cli.findings import Finding, failed, ok, unreachable, warning
from pool.compose import Parts
from pool.durability.opening import check_secret_key
from pool.errors import LedgerError, LedgerUnavailable, SettingsError, StoreError

COUNTED_LINKS = 5_000_000  # counting more would take seconds, too long for doctor


async def ledger(parts: Parts) -> AsyncIterator[Finding]:
    """Yield whether the database answers, fits this linkpool, and names known workspaces."""
    try:
        current, head = await parts.ledger.migration_state()
        if current != head:
            newer = current is not None and current > head
            yield Finding(
                "database",
                "warning" if newer else "failed",
                f"its schema is {current or 'empty'}, this linkpool "
                f"{'is older and knows' if newer else 'needs'} {head}",
                "Upgrade linkpool." if newer else "Run `linkpool db upgrade`.",
            )
            if not newer:
                return
        else:
            yield await _writing(parts, head)
        async for finding in _connections(parts):
            yield finding
        yield await _counts(parts)
        await check_secret_key(parts.ledger, parts.store.names.fingerprint)
        meetings = await parts.ledger.meetings.all()
    except LedgerError as error:
        yield _unavailable(error)
        return
    except SettingsError as error:
        yield failed("secret key", str(error), "Give every process the same key.")
        return
    async for finding in _strangers(parts):
        yield finding
    if not meetings:
        yield warning("meetings", "no meeting has been added", "Run `linkpool meetings add SID`.")
    for meeting in meetings:
        if meeting.workspace not in parts.settings.workspaces:
            yield failed(
                "meetings",
                f"{meeting.sid} belongs to workspace {meeting.workspace}, which is not configured",
                "Configure it, or `linkpool meetings set SID --workspace NAME`.",
            )


async def _writing(parts: Parts, head: str) -> Finding:
    """Return whether the database, which answers, can be written to."""
    try:
        await parts.ledger.ping()
    except LedgerError as error:
        what_to_do = "Name the server that writes in LINKPOOL_DATABASE_URL, or make room there."
        return failed("database", str(error), what_to_do)
    return ok("database", f"answers, schema {head}")


def _unavailable(error: LedgerError) -> Finding:
    refusal = error.refusal if isinstance(error, LedgerUnavailable) else ""
    if refusal:
        text = f"LINKPOOL_DATABASE_URL {refusal}"
        return failed("database", text, "Mend the setting, or the database.")
    text = str(error)
    return unreachable("database", text, "LINKPOOL_DATABASE_URL", answers="SQLSTATE" in text)


async def _counts(parts: Parts) -> Finding:
    """Return whether the kept numbers of links are right, unless counting would take minutes."""
    total = await parts.ledger.counts.present()
    if total > COUNTED_LINKS:
        return ok("counts", f"{total:,} links, too many to count here")
    wrong = await parts.ledger.counts.wrong()
    if wrong:
        text = f"the kept numbers of links are wrong for {', '.join(wrong[:3])}"
        return failed("counts", text, "Run `linkpool db recount`.")
    return ok("counts", f"{total:,} links, as counted")


async def _strangers(parts: Parts) -> AsyncIterator[Finding]:
    """Yield how many pools in Redis were made with another database, if there are any."""
    try:
        found = await parts.recovery.strangers.everywhere()
    except StoreError:
        return  # another finding says that Redis is away
    if found:
        named = ", ".join(level.sid for level in found[:3]) + (", …" if len(found) > 3 else "")
        yield failed(
            "pools",
            f"{len(found)} pools in Redis ({named}) have links that this database does not know; "
            "none of them is handed out",
            "Set LINKPOOL_DATABASE_URL to the database they were made with; or add the meetings "
            "to this one, and their pools are made anew.",
        )


async def _connections(parts: Parts) -> AsyncIterator[Finding]:
    """Yield whether one API and one worker with these settings can fill PostgreSQL."""
    most = await parts.ledger.connections_most()
    if most is None:
        return
    settings = parts.settings
    processes = settings.api_workers + settings.worker_processes
    total = processes * settings.database_connections
    text = (
        f"one API and one worker like this ({processes} processes) open at most {total} "
        f"connections; the server takes {most} from everybody"
    )
    to_do = "Lower LINKPOOL_DATABASE_CONNECTIONS, or put PgBouncer in front of the server."
    yield Finding("database connections", "ok" if total <= most / 2 else "warning", text, to_do)
