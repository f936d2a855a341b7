"""Fill a PostgreSQL ledger with very many links, as years of use leave them."""

from __future__ import annotations

from typing import Any

import asyncpg

MEETINGS = 1_000
WORKSPACE = "default"
# Of a hundred links: 15 claimed, 60 lapsed, 14 consumed, 4 cancelled, the others retired. Of the
# newest, one is fresh, since stock does not grow with the years.
_STATES = """
    CASE WHEN n % 100 < 1 AND n >= {count} - 100000 THEN 'fresh' WHEN n % 100 < 1 THEN 'retired'
         WHEN n % 100 < 16 THEN 'claimed'
         WHEN n % 100 < 76 THEN 'lapsed' WHEN n % 100 < 90 THEN 'consumed'
         WHEN n % 100 < 94 THEN 'cancelled' ELSE 'retired' END
"""
# A slug is random at the provider, so its index is filled in no order.
_SLUG = "'one-off-' || substr(md5(n::text), 1, 12) || lpad(to_hex(n), 7, '0')"
_MEETING = f"'meeting-' || (n / 100) % {MEETINGS}"
_AT = "now() - make_interval(secs => ({count} - n) * 31536000.0 / {count})"
_LINKS = f"""
INSERT INTO links (slug, url, meeting_sid, state, source, epoch, created_at, customer_id, email,
    email_key, claimed_at, lapses_at, consumed_at, cancelled_at, booking_sid, withdrawn_at)
SELECT slug, 'https://acme.neetocal.com/' || slug, meeting, state, 'pool', 'epoch', at,
    CASE WHEN given THEN 'customer-' || n END,
    CASE WHEN given AND n % 2 = 0 THEN 'c' || n || '@example.com' END,
    CASE WHEN given AND n % 2 = 0 THEN 'c' || n || '@example.com' END,
    CASE WHEN given THEN at END,
    CASE WHEN state = 'claimed' THEN now() + interval '1 day'
         WHEN given THEN at + interval '7 days' END,
    CASE WHEN booked THEN at + interval '1 hour' END,
    CASE WHEN state = 'cancelled' THEN at + interval '1 day' END,
    CASE WHEN booked THEN 'booking-' || n END,
    CASE WHEN state = 'retired' THEN at + interval '1 day' END
FROM (SELECT n, slug, meeting, state, at, state NOT IN ('fresh', 'retired') AS given,
             state IN ('consumed', 'cancelled') AS booked
      FROM (SELECT n, {_SLUG} AS slug, {_MEETING} AS meeting, {_STATES} AS state, {_AT} AS at
            FROM generate_series($1::bigint, $2::bigint) AS n) AS made) AS known
"""  # noqa: S608 - constants of this module
_BOOKINGS = f"""
INSERT INTO bookings (workspace, sid, slug, state, starts_at, ends_at, made_at, changed_at,
    heard_at, stood, stood_at, match)
SELECT '{WORKSPACE}', booking_sid, slug,
    CASE state WHEN 'consumed' THEN 'confirmed' ELSE 'cancelled' END,
    consumed_at + interval '3 days', consumed_at + interval '3 days 1 hour', consumed_at,
    consumed_at, consumed_at, true, consumed_at, 'slug'
FROM links WHERE booking_sid IS NOT NULL
"""  # noqa: S608 - constants of this module
# Of the last ninety days, as retention leaves them, but for those that are pruned while measured.
_INBOX = """
INSERT INTO inbox (id, workspace, source, event, booking_sid, meeting_sid, body, received_at, state,
    reason, slug, match, attempts, seen, settled_at, marks)
SELECT 'event-' || sid, workspace, 'webhook', 'booking.created', sid, NULL,
    CASE WHEN heard_at > now() - interval '30 days' THEN '{"a": "body"}'::bytea ELSE '' END,
    heard_at, 'settled', '', slug, 'slug', 1, 1, heard_at, ''
FROM bookings WHERE heard_at > now() - interval '95 days'
"""
_TABLES = ("links", "bookings", "inbox")
# As a server may run that holds nothing yet: what is written is not written to a log as well.
FILLING = (
    "fsync=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "maintenance_work_mem=1GB",
)


def slug_of(number: int) -> str:
    """Return the slug of a link by its number."""
    import hashlib

    digest = hashlib.md5(str(number).encode()).hexdigest()[:12]  # noqa: S324 - as the fill does
    return f"one-off-{digest}{number:07x}"


async def fill(url: str, count: int) -> None:
    """Write `count` links with their bookings and events, into tables that are there and empty.

    The server is best started with FILLING, and anew afterwards.
    """
    connection: Any = await asyncpg.connect(url, command_timeout=3_600)
    try:
        async with connection.transaction():
            # Emptied in this transaction, so that PostgreSQL need not log what it writes to them.
            await connection.execute(f"TRUNCATE {', '.join(_TABLES)}")
            # Made anew afterwards: row by row they would take most of the time.
            anew = await _without_indexes(connection)
            # The trigger would keep all the rows of a statement to count them.
            await connection.execute("ALTER TABLE links DISABLE TRIGGER USER")
            await connection.execute(_LINKS.replace("{count}", str(count)), 0, count - 1)
            await connection.execute("ALTER TABLE links ENABLE TRIGGER USER")
            await connection.execute(_BOOKINGS)
            await connection.execute(_INBOX)
            for definition in anew:
                await connection.execute(definition)
        await connection.execute("VACUUM (FREEZE, ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _without_indexes(connection: Any) -> list[str]:
    """Drop the tables' indexes and keys. Return the statements that make them anew."""
    keys = await connection.fetch(
        "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE contype = 'p' AND conrelid::regclass::text = ANY($1)",
        _TABLES,
    )
    for table, name, _ in keys:
        await connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY($1)", _TABLES
    )
    for name, _ in indexes:
        await connection.execute(f'DROP INDEX "{name}"')
    return [
        *(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {what}' for table, name, what in keys),
        *(definition for _, definition in indexes),
    ]
