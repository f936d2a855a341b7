"""Add the way in which a meeting's target is set: by its present claim rate or by the forecast.

The default lets an older linkpool go on working while this one is being brought in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "meetings",
        sa.Column("target_mode", sa.Text, nullable=False, server_default="fixed"),
    )
