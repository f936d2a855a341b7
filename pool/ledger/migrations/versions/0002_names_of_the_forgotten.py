"""The names under which Redis may still know customers who were forgotten.

A table of its own: no row or index of `links` is touched, so that an older linkpool goes on
working while this one is being brought in.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "forgotten",
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("customer_name", sa.Text, nullable=False),
        sa.Column("forgotten_at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_forgotten")),
    )
    op.create_index(op.f("ix_forgotten_meeting_sid_slug"), "forgotten", ["meeting_sid", "slug"])
