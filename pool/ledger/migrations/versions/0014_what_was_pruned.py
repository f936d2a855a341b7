"""Know links and bookings that were pruned, and find those that may be.

Tables and indexes only: an older linkpool goes on working while this one is being brought in. It
knows nothing of pruned links, so that pruning is to be turned on once every process is replaced.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pruned_marks",
        sa.Column(
            "mark",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_pruned_marks")),
    )
    op.create_table(
        "pruned_counts",
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("meeting_sid", "state", name=op.f("pk_pruned_counts")),
    )
    withdrawn = sa.text("state IN ('retired', 'quarantined')")
    op.create_index(
        op.f("ix_links_withdrawn_at"),
        "links",
        ["withdrawn_at"],
        sqlite_where=withdrawn,
        postgresql_where=withdrawn,
    )
    lapsed = sa.text("state = 'lapsed'")
    op.create_index(
        op.f("ix_links_lapsed"),
        "links",
        ["lapses_at"],
        sqlite_where=lapsed,
        postgresql_where=lapsed,
    )
