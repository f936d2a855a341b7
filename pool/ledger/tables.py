"""Define the ledger's tables, the same on SQLite and PostgreSQL.

A change here needs a migration; a test compares the two. There are no foreign keys: a claim
must be recordable even if its meeting's row was lost, and an event may name any slug.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    literal_column,
    text,
    true,
)

from pool.ledger.columns import Json, UtcTime
from pool.model.links import State

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite assigns ids only in a column whose type is exactly INTEGER.
_BIG_ID = BigInteger().with_variant(Integer, "sqlite")


def _partial_index(
    rows: TextClause, *columns: Column[Any], name: str | None = None, unique: bool = False
) -> None:
    """Index only these rows of a table."""
    Index(name, *columns, unique=unique, sqlite_where=rows, postgresql_where=rows)


meetings = Table(
    "meetings",
    metadata,
    Column("sid", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("min_fresh", Integer, nullable=False),
    Column("max_fresh", Integer, nullable=False),
    Column("cover_seconds", Integer, nullable=False),
    Column("claim_ttl_seconds", Integer, nullable=False),
    Column("max_fresh_age_seconds", Integer, nullable=False),
    Column("after_booking", Text, nullable=False),
    Column("on_empty", Text, nullable=False),
    Column("fallback_url", Text),
    Column("paused", Boolean, nullable=False),
    Column("pause_reason", Text, nullable=False),
    Column("target_mode", Text, nullable=False, server_default="fixed"),
    Column("match_email", Boolean, nullable=False, server_default=true()),
    Column("reserve", Integer, nullable=False, server_default="0"),
    Column("closed_reason", Text, nullable=False, server_default=""),
    Column("shards", Integer, nullable=False, server_default="1"),
    # The token that an orderly stop left in Redis: a Redis that holds it has lost no data.
    Column("seal_token", Text),
)

links = Table(
    "links",
    metadata,
    # The fields of pool.model.links.Link, in its order.
    Column("slug", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("meeting_sid", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("customer_id", Text),
    Column("email", Text),
    Column("metadata", Json),
    Column("claimed_at", UtcTime),
    Column("lapses_at", UtcTime),
    Column("consumed_at", UtcTime),
    Column("cancelled_at", UtcTime),
    Column("booking_sid", Text),
    Column("match", Text),
    # Columns that only the ledger needs.
    Column("email_key", Text),  # the e-mail as it is compared
    Column("withdrawn_at", UtcTime),  # when it was retired or quarantined
    Column("withdrawn_reason", Text),  # why its customer was given another one
    Column("forgotten_at", UtcTime),  # its customer was erased and must not come back
)


def literal_state(state: State) -> ColumnElement[str]:
    """Return the state as a literal in the SQL text.

    A planner uses a partial index only if it can read the index's condition in the query, which
    a bound parameter hides.
    """
    return literal_column(f"'{state.value}'", Text)


# Links that recovery loads back into Redis. The index and the query share this text verbatim:
# without the index the query would sort all of a meeting's links for every page.
LIVE = text("customer_id IS NOT NULL AND state IN ('claimed', 'consumed', 'cancelled')")
_FRESH = text("state = 'fresh'")
_CLAIMED = text("state = 'claimed'")
# Links that may be pruned; shared verbatim by the indexes and the queries, too.
WITHDRAWN = text("state IN ('retired', 'quarantined')")
LAPSED = text("state = 'lapsed'")
_BOUND = text("customer_id IS NOT NULL")
_E_MAIL = text("email_key IS NOT NULL")
_BOOKED = text("booking_sid IS NOT NULL")
_MATCHED = text("slug IS NOT NULL")

# A meeting's fresh links by age. An index of all states would be written anew at each move.
_partial_index(_FRESH, links.c.meeting_sid, links.c.created_at)
# A customer's link.
_partial_index(_BOUND, links.c.meeting_sid, links.c.customer_id)
# All bindings of a meeting, oldest first, page by page.
_partial_index(LIVE, links.c.meeting_sid, links.c.claimed_at, links.c.slug)
# Claims whose time is over.
_partial_index(_CLAIMED, links.c.lapses_at)
# The oldest claim of a meeting that is not over.
_partial_index(_CLAIMED, links.c.meeting_sid, links.c.claimed_at)
# A booking's e-mail.
_partial_index(_E_MAIL, links.c.email_key)
# A booking's later events.
_partial_index(_BOOKED, links.c.booking_sid)

# Links that nobody was given, or whose time was over, by when that was.
_partial_index(WITHDRAWN, links.c.withdrawn_at)
_partial_index(LAPSED, links.c.lapses_at, name="ix_links_lapsed")

# The number of links per meeting and state, kept by triggers (pool/ledger/link_counts.py).
link_counts = Table(
    "link_counts",
    metadata,
    Column("meeting_sid", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# What statements changed since: on PostgreSQL, where writers must not wait for each other.
link_count_changes = Table(
    "link_count_changes",
    metadata,
    Column("id", _BIG_ID, Identity(), primary_key=True),
    Column("meeting_sid", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("change", BigInteger, nullable=False),
)

# What is left of pruned links and bookings: a hash of each name (pool/ledger/pruned.py), so that
# no slug enters a pool again, and the number of links per meeting and state.
pruned_marks = Table(
    "pruned_marks",
    metadata,
    Column("mark", _BIG_ID, primary_key=True, autoincrement=False),
)
pruned_counts = Table(
    "pruned_counts",
    metadata,
    Column("meeting_sid", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

bookings = Table(
    "bookings",
    metadata,
    # The fields of pool.model.bookings.Booking, in its order.
    Column("workspace", Text, primary_key=True),
    Column("sid", Text, primary_key=True),
    Column("slug", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("starts_at", UtcTime),
    Column("ends_at", UtcTime),
    Column("time_zone", Text),
    Column("parent_sid", Text),
    Column("manage_url", Text),
    Column("made_at", UtcTime),
    Column("changed_at", UtcTime),
    Column("heard_at", UtcTime, nullable=False),
    Column("stood", Boolean, nullable=False),
    Column("stood_at", UtcTime),
    Column("email_key", Text),
    Column("match", Text),
    Column("provider_id", Text),
)
# A link's set of bookings.
Index(None, bookings.c.slug)
# Bookings that are not over yet, and those of which nobody knows when they end.
ENDLESS = text("ends_at IS NULL")
Index(None, bookings.c.workspace, bookings.c.ends_at)
_partial_index(ENDLESS, bookings.c.workspace, bookings.c.heard_at)
# The parent that a booking names by the provider's id.
_HAS_ID = text("provider_id IS NOT NULL")
_partial_index(_HAS_ID, bookings.c.workspace, bookings.c.provider_id)

# The bookings of an e-mail.
_partial_index(_E_MAIL, bookings.c.email_key)

# Forgotten customers that Redis may still know: an older file of it, or a claim that is
# asserted again, brings their binding back.
forgotten = Table(
    "forgotten",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("meeting_sid", Text, nullable=False),
    Column("customer_name", Text, nullable=False),  # the keyed hash that names the binding
    Column("forgotten_at", UtcTime, nullable=False),
    Column("stage", Text),  # how far erasing has come; see pool.ledger.forget
)
_STAGED = text("stage IS NOT NULL")
Index(None, forgotten.c.meeting_sid, forgotten.c.slug)
Index(None, forgotten.c.meeting_sid, forgotten.c.customer_name)
# Links that are not erased everywhere yet.
_partial_index(_STAGED, forgotten.c.stage)

# Marks by which an event that concerns a forgotten customer is recognised, whenever it comes:
# keyed hashes, in hex (pool/model/marks.py). Nothing readable is kept of them.
erased_marks = Table(
    "erased_marks",
    metadata,
    Column("slug", Text, primary_key=True),  # the link they held
    Column("mark", Text, primary_key=True),
    Column("erased_at", UtcTime, nullable=False),
)
Index(None, erased_marks.c.mark)

inbox = Table(
    "inbox",
    metadata,
    # The fields of pool.ledger.records.InboxEvent, in its order.
    Column("id", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("booking_sid", Text),
    Column("meeting_sid", Text),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("slug", Text),
    Column("match", Text),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("not_before", UtcTime),
    Column("seen", Integer, nullable=False),
    Column("settled_at", UtcTime),
    Column("parent_sid", Text),
    # What only the ledger needs: keyed hashes of what the body says, concatenated
    # (pool/model/marks.py). NULL: not made yet; empty: the body holds nothing personal any more.
    Column("marks", LargeBinary),
)
# The indexes and the queries share these texts verbatim.
UNMARKED = text("marks IS NULL")
READABLE = text("length(body) > 0")
_partial_index(UNMARKED, inbox.c.id)
# Bodies that have been kept for a long time.
_partial_index(READABLE, inbox.c.state, inbox.c.received_at, inbox.c.id)
Index(None, inbox.c.state, inbox.c.received_at)
Index(None, inbox.c.received_at)
_partial_index(_MATCHED, inbox.c.slug)
# A booking's events, and the latest webhooks of a workspace.
_partial_index(_BOOKED, inbox.c.booking_sid)
Index(None, inbox.c.workspace, inbox.c.source, inbox.c.received_at)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("meetings", Json),
    Column("label", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("networks", Json),
    UniqueConstraint("digest"),
)

# Which secrets a key signs browser tokens with. Their texts follow from the secret key and these
# ids (pool/access/token_secrets.py), so that the ledger holds nothing to sign with.
token_secrets = Table(
    "token_secrets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
)

public_keys = Table(
    "public_keys",
    metadata,
    # The fields of pool.ledger.records.PublicKey, in its order.
    Column("id", Text, primary_key=True),
    Column("meeting_sid", Text, nullable=False),
    Column("origins", Json, nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
)

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("name", Text, primary_key=True),  # `session:` and its number, or `key:` and its id
    Column("ended_at", UtcTime, nullable=False),
    Column("forget_at", UtcTime, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _BIG_ID, Identity(), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("meeting_sid", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Json, nullable=False),
    Column("before", Json),  # of settings that were changed: what they were
)
Index(None, audit.c.meeting_sid, audit.c.id)

# What went wrong or was changed. At most one of a kind and about the same stands at a time.
incidents = Table(
    "incidents",
    metadata,
    Column("id", _BIG_ID, Identity(), primary_key=True),
    Column("what", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("began_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("text", Text, nullable=False),
    Column("sids", Json),
    Column("links_lost", Integer, nullable=False),
    Column("turned_away", BigInteger, nullable=False),
    Column("baseline", BigInteger),
)
OPEN = text("ended_at IS NULL")
Index(None, incidents.c.began_at)
_partial_index(OPEN, incidents.c.what, incidents.c.about, unique=True)

# What became of visitors and links, by meeting and hour.
hours = Table(
    "hours",
    metadata,
    Column("meeting_sid", Text, primary_key=True),
    Column("began_at", UtcTime, primary_key=True),
    Column("level", Integer, nullable=False),
    Column("lowest", Integer, nullable=False),
    Column("target", Integer, nullable=False),
    Column("counts", Text, nullable=False),  # in the order of pool.model.outcomes.NAMES
)
Index(None, hours.c.began_at)

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
