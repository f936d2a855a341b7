"""Find a booking's events, those of an e-mail, and a workspace's latest webhooks by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    booked = sa.text("booking_sid IS NOT NULL")
    op.create_index(
        op.f("ix_inbox_booking_sid"),
        "inbox",
        ["booking_sid"],
        sqlite_where=booked,
        postgresql_where=booked,
    )
    op.create_index(
        op.f("ix_inbox_workspace_source_received_at"),
        "inbox",
        ["workspace", "source", "received_at"],
    )
    e_mail = sa.text("email_key IS NOT NULL")
    op.create_index(
        op.f("ix_bookings_email_key"),
        "bookings",
        ["email_key"],
        sqlite_where=e_mail,
        postgresql_where=e_mail,
    )
