"""The number of shards over which a meeting's customers are spread.

One, unless it is set: an older linkpool goes on working on all meetings but those with several.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("meetings", sa.Column("shards", sa.Integer, nullable=False, server_default="1"))
