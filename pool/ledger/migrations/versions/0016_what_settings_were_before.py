"""Keep in the audit what settings were before they were changed, so that a change can be undone.

A column of its own: an older linkpool goes on working, and its changes cannot be undone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit", sa.Column("before", sa.JSON))
