"""Find fresh links by an index of fresh links alone.

Since numbers are kept, nothing asks for the other states by meeting. The index over all of them
grew with every link ever made, and was written anew whenever one was claimed, lapsed or booked.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    fresh = sa.text("state = 'fresh'")
    op.create_index(
        op.f("ix_links_meeting_sid_created_at"),
        "links",
        ["meeting_sid", "created_at"],
        sqlite_where=fresh,
        postgresql_where=fresh,
    )
    op.drop_index(op.f("ix_links_meeting_sid_state_created_at"), "links")
