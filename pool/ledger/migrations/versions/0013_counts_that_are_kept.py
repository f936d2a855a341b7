"""The number of links per meeting and state, kept by triggers in the transaction of each change.

Triggers, so that older processes on this schema are counted, too. SQLite has one writer, which
changes the numbers themselves, row by row. On PostgreSQL writers of one meeting would wait for
each other, and could deadlock; there each statement appends what it changed, and a task folds
that into the numbers. Counting what is there keeps writers out until it is done.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SQLITE = {
    "insert": ("AFTER INSERT ON links", ("NEW",), ()),
    "update": (
        "AFTER UPDATE OF state, meeting_sid ON links "
        "WHEN NEW.state <> OLD.state OR NEW.meeting_sid <> OLD.meeting_sid",
        ("NEW",),
        ("OLD",),
    ),
    "delete": ("AFTER DELETE ON links", (), ("OLD",)),
}
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION linkpool_count_links() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO link_count_changes (meeting_sid, state, change)
    SELECT meeting_sid, state, count(*) FROM new_links GROUP BY 1, 2;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO link_count_changes (meeting_sid, state, change)
    SELECT meeting_sid, state, -count(*) FROM old_links GROUP BY 1, 2;
  ELSE
    INSERT INTO link_count_changes (meeting_sid, state, change)
    SELECT meeting_sid, state, sum(change) FROM (
      SELECT meeting_sid, state, 1 AS change FROM new_links
      UNION ALL SELECT meeting_sid, state, -1 FROM old_links
    ) AS changed GROUP BY 1, 2 HAVING sum(change) <> 0;
  END IF;
  RETURN NULL;
END $$
"""
_POSTGRESQL = {
    "insert": "INSERT ON links REFERENCING NEW TABLE AS new_links",
    "update": "UPDATE ON links REFERENCING OLD TABLE AS old_links NEW TABLE AS new_links",
    "delete": "DELETE ON links REFERENCING OLD TABLE AS old_links",
}


def upgrade() -> None:
    op.create_table(
        "link_counts",
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("meeting_sid", "state", name=op.f("pk_link_counts")),
    )
    op.create_table(
        "link_count_changes",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.Identity(),
            nullable=False,
        ),
        sa.Column("meeting_sid", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_count_changes")),
    )
    if op.get_bind().dialect.name == "sqlite":
        for name, (when, gained, lost) in _SQLITE.items():
            body = "".join([_step(row, "+") for row in gained] + [_step(row, "-") for row in lost])
            op.execute(f"CREATE TRIGGER link_counts_{name} {when} BEGIN {body} END")
    else:
        op.execute(_POSTGRESQL_FUNCTION)
        # From the first of these on, nobody else writes links until the count is committed.
        for name, when in _POSTGRESQL.items():
            op.execute(
                f"CREATE TRIGGER link_counts_{name} AFTER {when} "
                "FOR EACH STATEMENT EXECUTE FUNCTION linkpool_count_links()"
            )
    op.execute(
        "INSERT INTO link_counts (meeting_sid, state, number) "
        "SELECT meeting_sid, state, count(*) FROM links GROUP BY meeting_sid, state"
    )


def _step(row: str, sign: str) -> str:
    """Add to, or take from, the number of a row's meeting and state."""
    these = f"meeting_sid = {row}.meeting_sid AND state = {row}.state"
    return (
        f"INSERT INTO link_counts (meeting_sid, state, number) "  # noqa: S608 - no value in it
        f"SELECT {row}.meeting_sid, {row}.state, 0 "
        f"WHERE NOT EXISTS (SELECT 1 FROM link_counts WHERE {these}); "
        f"UPDATE link_counts SET number = number {sign} 1 WHERE {these}; "
    )
