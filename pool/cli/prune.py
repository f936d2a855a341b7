"""Delete what is past its retention: `linkpool db prune`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Annotated

import typer

from pool.cli.common import AsJson, DataDir, on_ledger, on_parts, settings_for
from pool.cli.printing import print_json
from pool.config.settings import Settings
from pool.ledger import Ledger
from pool.ledger.pruning import PrunedLinks
from pool.ledger.retention import Pruned


def prune(
    data_dir: DataDir = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact", help="Also compact a SQLite file; every process waits meanwhile."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete now what was kept for long enough; workers do this every minute.

    Webhook events are kept for LINKPOOL_INBOX_RETENTION_DAYS, and most of their bodies for a third
    of that. Links that ended and their bookings are kept for LINKPOOL_LEDGER_RETENTION_DAYS, where
    that is set; for these, Redis must answer, too.
    """
    settings = settings_for(data_dir)
    cleaned = True
    if dry_run:
        events, links = on_ledger(settings, lambda ledger: _count(settings, ledger))
    else:
        days = settings.inbox_retention_days
        events = on_ledger(settings, lambda ledger: ledger.retention.run(days, seconds=inf))
        links = _prune_links(settings)
        cleaned = on_ledger(settings, lambda ledger: _clean(ledger, compact=compact))
    _print(settings, events, links, dry_run=dry_run, cleaned=cleaned, as_json=as_json)
    if not cleaned:
        why = (
            "VACUUM compacts PostgreSQL"
            if compact
            else "the database's log is in use; run it again"
        )
        sys.stderr.write(f"linkpool: not compacted: {why}\n")


def _before(settings: Settings) -> datetime:
    return datetime.now(UTC) - timedelta(days=settings.ledger_retention_days)


async def _count(settings: Settings, ledger: Ledger) -> tuple[Pruned, PrunedLinks]:
    events = await ledger.retention.count(settings.inbox_retention_days)
    if not settings.ledger_retention_days:
        return events, PrunedLinks()
    return events, await ledger.pruning.count(_before(settings))


def _prune_links(settings: Settings) -> PrunedLinks:
    if not settings.ledger_retention_days:
        return PrunedLinks()
    done = on_parts(settings, lambda parts: parts.pruner.run(_before(settings), progress=_show))
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return done


async def _clean(ledger: Ledger, *, compact: bool) -> bool:
    cleaned = await ledger.erased.clean_file()
    return await ledger.compact() if compact else cleaned


def _show(done: PrunedLinks) -> None:
    """Show the progress on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rpruned {done.links:,} links, {done.bookings:,} bookings")
        sys.stderr.flush()


def _print(
    settings: Settings,
    events: Pruned,
    links: PrunedLinks,
    *,
    dry_run: bool,
    cleaned: bool,
    as_json: bool,
) -> None:
    if as_json:
        report: dict[str, object] = {"events": events.events, "bodies": events.bodies}
        if settings.ledger_retention_days:
            report |= {"links": links.links, "bookings": links.bookings}
        print_json(report | ({"dry_run": True} if dry_run else {"cleaned": cleaned}))
        return
    text = f"deleted {events.events} events, blanked {events.bodies} bodies"
    if settings.ledger_retention_days:
        text += f", pruned {links.links} links and {links.bookings} bookings"
    if dry_run:
        text = f"would have {text}"
    sys.stdout.write(f"{text}\n")
