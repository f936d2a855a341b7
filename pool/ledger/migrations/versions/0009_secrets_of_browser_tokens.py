"""Keep the secrets that an API key signs browser tokens with in a table of their own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "token_secrets",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("revoked_at", _time()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_secrets")),
    )
