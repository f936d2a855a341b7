"""Bookings are a thing of their own, and a link's state follows from its set of them.

What was known of bookings stood in their links: each consumed or cancelled link brings one
booking with it, whose change time is so early that any report of the provider counts for more.
Where several bookings had one link, only the first was kept; their events are settled again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column(
        "meetings",
        sa.Column("match_email", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.add_column("inbox", sa.Column("parent_sid", sa.Text))
    op.create_table(
        "bookings",
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("sid", sa.Text, nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("starts_at", _time()),
        sa.Column("ends_at", _time()),
        sa.Column("time_zone", sa.Text),
        sa.Column("parent_sid", sa.Text),
        sa.Column("manage_url", sa.Text),
        sa.Column("made_at", _time()),
        sa.Column("changed_at", _time()),
        sa.Column("heard_at", _time(), nullable=False),
        sa.Column("stood", sa.Boolean, nullable=False),
        sa.Column("stood_at", _time()),
        sa.Column("email_key", sa.Text),
        sa.Column("match", sa.Text),
        sa.PrimaryKeyConstraint("workspace", "sid", name=op.f("pk_bookings")),
    )
    op.create_index(op.f("ix_bookings_slug"), "bookings", ["slug"])
    epoch = "TIMESTAMPTZ 'epoch'" if op.get_bind().dialect.name == "postgresql" else "0"
    op.execute(
        f"""
        INSERT INTO bookings
            (workspace, sid, slug, state, changed_at, heard_at, stood, stood_at, match)
        SELECT workspace,
            CASE WHEN booking_sid IS NULL OR place > 1 THEN 'unnamed:' || slug
                ELSE booking_sid END,
            slug,
            CASE WHEN state = 'consumed' THEN 'confirmed' ELSE 'cancelled' END,
            {epoch},
            COALESCE(cancelled_at, consumed_at, claimed_at, created_at),
            TRUE, consumed_at, match
        FROM (
            SELECT links.*, COALESCE(meetings.workspace, 'default') AS workspace,
                ROW_NUMBER() OVER (
                    PARTITION BY COALESCE(meetings.workspace, 'default'), links.booking_sid
                    ORDER BY links.slug
                ) AS place
            FROM links LEFT JOIN meetings ON meetings.sid = links.meeting_sid
            WHERE links.state IN ('consumed', 'cancelled')
        ) AS booked
        """  # noqa: S608 - nothing of it comes from outside
    )
    op.execute(
        """
        UPDATE inbox SET state = 'pending', attempts = 0, not_before = NULL, last_error = NULL
        WHERE state = 'settled' AND LENGTH(body) > 0 AND slug IN (
            SELECT slug FROM inbox WHERE state = 'settled' AND slug IS NOT NULL
            GROUP BY slug HAVING COUNT(DISTINCT booking_sid) > 1
        )
        """
    )
