"""Keep what was erased, to recognise it when it comes again, and how far erasing has come.

Columns and tables are only added, and no default is wrong for an older linkpool: it goes on
working while this one is being brought in. Events it takes in meanwhile have no marks yet;
they are given theirs by the workers.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[Any]:
    """As pool.ledger.columns.UtcTime has it today; a migration must not change with it."""
    return sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "erased_marks",
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("erased_at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("slug", "mark", name=op.f("pk_erased_marks")),
    )
    op.create_index(op.f("ix_erased_marks_mark"), "erased_marks", ["mark"])
    op.add_column("forgotten", sa.Column("stage", sa.Text))
    # Earlier versions left a part of their data where it was: the workers go on with them.
    op.execute("UPDATE forgotten SET stage = 'erasing'")
    staged = sa.text("stage IS NOT NULL")
    op.create_index(
        op.f("ix_forgotten_stage"),
        "forgotten",
        ["stage"],
        sqlite_where=staged,
        postgresql_where=staged,
    )
    op.create_index(
        op.f("ix_forgotten_meeting_sid_customer_name"),
        "forgotten",
        ["meeting_sid", "customer_name"],
    )
    op.add_column("inbox", sa.Column("marks", sa.LargeBinary))
    unmarked = sa.text("marks IS NULL")
    op.create_index(
        op.f("ix_inbox_id"), "inbox", ["id"], sqlite_where=unmarked, postgresql_where=unmarked
    )
    readable = sa.text("length(body) > 0")
    op.create_index(
        op.f("ix_inbox_state_received_at_id"),
        "inbox",
        ["state", "received_at", "id"],
        sqlite_where=readable,
        postgresql_where=readable,
    )
