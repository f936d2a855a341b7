"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "meetings",
        sa.Column("sid", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("min_fresh", sa.Integer, nullable=False),
        sa.Column("max_fresh", sa.Integer, nullable=False),
        sa.Column("cover_seconds", sa.Integer, nullable=False),
        sa.Column("claim_ttl_seconds", sa.Integer, nullable=False),
        sa.Column("max_fresh_age_seconds", sa.Integer, nullable=False),
        sa.Column("after_booking", sa.Text, nullable=False),
        sa.Column("on_empty", sa.Text, nullable=False),
        sa.Column("fallback_url", sa.Text),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("pause_reason", sa.Text, nullable=False),
        sa.Column("seal_token", sa.Text),
        sa.PrimaryKeyConstraint("sid", name=op.f("pk_meetings")),
    )
    op.create_table(
        "links",
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("customer_id", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("metadata", sa.JSON),
        sa.Column("claimed_at", _time()),
        sa.Column("lapses_at", _time()),
        sa.Column("consumed_at", _time()),
        sa.Column("cancelled_at", _time()),
        sa.Column("booking_sid", sa.Text),
        sa.Column("match", sa.Text),
        sa.Column("email_key", sa.Text),
        sa.Column("withdrawn_at", _time()),
        sa.Column("forgotten_at", _time()),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_links")),
    )
    _index("links", "meeting_sid", "state", "created_at")
    _index("links", "meeting_sid", "customer_id", where="customer_id IS NOT NULL")
    _index(
        "links",
        "meeting_sid",
        "claimed_at",
        "slug",
        where="customer_id IS NOT NULL AND state IN ('claimed', 'consumed', 'cancelled')",
    )
    _index("links", "lapses_at", where="state = 'claimed'")
    _index("links", "email_key", where="email_key IS NOT NULL")
    _index("links", "booking_sid", where="booking_sid IS NOT NULL")
    op.create_table(
        "inbox",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("booking_sid", sa.Text),
        sa.Column("meeting_sid", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("received_at", _time(), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("slug", sa.Text),
        sa.Column("match", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("not_before", _time()),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("settled_at", _time()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
    )
    _index("inbox", "state", "received_at")
    _index("inbox", "received_at")
    _index("inbox", "slug", where="slug IS NOT NULL")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("meetings", sa.JSON),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("revoked_at", _time()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_table(
        "audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.Identity(),
            nullable=False,
        ),
        sa.Column("at", _time(), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("meeting_sid", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    _index("audit", "meeting_sid", "id")
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
    )


def _index(table: str, *columns: str, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    name = op.f(f"ix_{table}_{'_'.join(columns)}")
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
