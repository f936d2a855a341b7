"""Find the oldest claim or booking that is still open without reading all that are over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    claimed = sa.text("state = 'claimed'")
    op.create_index(
        op.f("ix_links_meeting_sid_claimed_at"),
        "links",
        ["meeting_sid", "claimed_at"],
        sqlite_where=claimed,
        postgresql_where=claimed,
    )
    op.create_index(op.f("ix_bookings_workspace_ends_at"), "bookings", ["workspace", "ends_at"])
    endless = sa.text("ends_at IS NULL")
    op.create_index(
        op.f("ix_bookings_workspace_heard_at"),
        "bookings",
        ["workspace", "heard_at"],
        sqlite_where=endless,
        postgresql_where=endless,
    )
