"""The provider's own id of a booking, by which the bookings of a series may name their parent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bookings", sa.Column("provider_id", sa.Text))
    named = sa.text("provider_id IS NOT NULL")
    op.create_index(
        op.f("ix_bookings_workspace_provider_id"),
        "bookings",
        ["workspace", "provider_id"],
        sqlite_where=named,
        postgresql_where=named,
    )
