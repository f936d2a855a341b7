"""Keys for pages without a backend, and the links that their claims leave to all others.

A table and a column of their own: an older linkpool goes on working, and hands nothing out to
public keys.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("meetings", sa.Column("reserve", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "public_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("origins", sa.JSON, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("revoked_at", _time()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_public_keys")),
    )
