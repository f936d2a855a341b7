"""Keep the reason why a link was replaced: the provider had burnt it.

And why a meeting is closed: its provider says that it is disabled or gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("links", sa.Column("withdrawn_reason", sa.Text))
    # The default lets an older linkpool go on working while this one is being brought in.
    op.add_column(
        "meetings", sa.Column("closed_reason", sa.Text, nullable=False, server_default="")
    )
