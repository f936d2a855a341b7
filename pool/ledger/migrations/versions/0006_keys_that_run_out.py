"""Keys that run out, rest on networks and were used; sessions that were signed out of.

New columns and a table of their own: an older linkpool goes on working while this one is
being brought in, though it knows of no expiry and no networks.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires_at", _time()))
    op.add_column("api_keys", sa.Column("last_used_at", _time()))
    op.add_column("api_keys", sa.Column("networks", sa.JSON))
    op.create_table(
        "ended_sessions",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("ended_at", _time(), nullable=False),
        sa.Column("forget_at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ended_sessions")),
    )
