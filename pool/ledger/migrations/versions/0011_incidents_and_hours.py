"""Incidents, and what became of visitors and links by the hour; tables of their own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.Identity(),
            nullable=False,
        ),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("began_at", _time(), nullable=False),
        sa.Column("ended_at", _time()),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("sids", sa.JSON),
        sa.Column("links_lost", sa.Integer, nullable=False),
        sa.Column("turned_away", sa.BigInteger, nullable=False),
        sa.Column("baseline", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
    )
    op.create_index(op.f("ix_incidents_began_at"), "incidents", ["began_at"])
    stands = sa.text("ended_at IS NULL")
    op.create_index(
        op.f("ix_incidents_what_about"),
        "incidents",
        ["what", "about"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_table(
        "hours",
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("began_at", _time(), nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("lowest", sa.Integer, nullable=False),
        sa.Column("target", sa.Integer, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("meeting_sid", "began_at", name=op.f("pk_hours")),
    )
    op.create_index(op.f("ix_hours_began_at"), "hours", ["began_at"])
