"""Record claims from Redis's stream in the ledger, a thousand at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, literal_column, select, update

from pool.ledger.bulk import PLACE, Place, given_links, insert_links
from pool.ledger.columns import storable
from pool.ledger.database import Database
from pool.ledger.pruned import pruned_of
from pool.ledger.records import Recorded, RecordedClaim
from pool.ledger.rows import SELECT_LINKS, links_of
from pool.ledger.tables import links, literal_state
from pool.model.emails import same_email
from pool.model.links import Link, State, may_move

_SETTLED = (State.CONSUMED, State.CANCELLED)


class Kept(NamedTuple):
    """The ledger's row of a link that is about to be claimed."""

    state: State
    customer_id: str | None
    forgotten: bool


class Verdict(Enum):
    """The changes that a claim makes to the ledger."""

    INSERT = auto()  # the link is not known: its row was lost
    BIND = auto()  # no customer holds the link yet: bind it to this one
    KEEP = auto()  # the claim was written before
    FORGOTTEN = auto()  # its customer was erased since, and must not come back
    CONFLICT = auto()  # another customer holds the link


def judge(kept: Kept | None, customer_id: str) -> Verdict:
    """Return what a claim by this customer does to a link with this row."""
    if kept is None:
        return Verdict.INSERT
    if kept.forgotten:
        return Verdict.FORGOTTEN
    if kept.customer_id == customer_id:
        return Verdict.KEEP
    return Verdict.BIND if kept.customer_id is None else Verdict.CONFLICT


@dataclass(slots=True)
class _Plan:
    """The writes of a batch, with at most one row for each slug."""

    inserts: dict[str, RecordedClaim] = field(default_factory=dict)
    binds: list[tuple[State, RecordedClaim]] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    conflicts: list[RecordedClaim] = field(default_factory=list)
    forgotten: list[RecordedClaim] = field(default_factory=list)


def _plan(kept: dict[str, Kept], claims: Sequence[RecordedClaim], pruned: Collection[str]) -> _Plan:
    plan = _Plan()
    for claim in claims:
        before = kept.get(claim.slug)
        verdict = judge(before, claim.customer_id)
        # It is no longer known whether somebody held a link that was pruned.
        if verdict is Verdict.CONFLICT or claim.slug in pruned:
            plan.conflicts.append(claim)
            continue
        if verdict is Verdict.FORGOTTEN:
            plan.forgotten.append(claim)
            continue
        after = before
        if verdict is Verdict.INSERT:
            plan.inserts[claim.slug] = claim
            after = Kept(State.CLAIMED, claim.customer_id, forgotten=False)
        elif verdict is Verdict.BIND and before is not None:
            # A booking that was seen before the claim stays.
            claimed = may_move(before.state, State.CLAIMED)
            state = State.CLAIMED if claimed else before.state
            plan.binds.append((state, claim))
            after = Kept(state, claim.customer_id, forgotten=False)
        if after is not None:
            # The same slug may come again in this batch, for this customer or another.
            kept[claim.slug] = after
            if after.state in _SETTLED:
                plan.settled.add(claim.slug)
    return plan


async def record(database: Database, claims: Sequence[RecordedClaim]) -> Recorded:
    """Write claims, as Links.record() says."""
    done: list[Recorded] = []
    while claims:
        recorded, claims = await database.write(partial(_record, database, claims))
        done.append(recorded)
    return Recorded(
        sum(each.written for each in done),
        tuple(claim for each in done for claim in each.conflicts),
        tuple(link for each in done for link in each.settled),
        tuple(claim for each in done for claim in each.forgotten),
    )


def _record(
    database: Database, claims: Sequence[RecordedClaim], connection: Connection
) -> tuple[Recorded, list[RecordedClaim]]:
    """Write claims in one transaction. Return what it did, and the claims to judge again.

    Another process inserted the rows of these between our look and our insert. They need a new
    transaction, because taking more locks in this one could deadlock.
    """
    bound = _bind_fresh(database, connection, claims)
    written = len(bound)
    # If a slug is here twice, its first claim was bound.
    rest = [claim for claim in claims if bound.pop(claim.slug, None) is not claim]
    if not rest:
        return Recorded(written, (), (), ()), []
    kept = _kept(database, connection, rest)
    unknown = {claim.slug for claim in rest} - kept.keys()
    plan = _plan(kept, rest, pruned_of(database, connection, unknown))
    _bind(database, connection, plan.binds)
    raced = _insert(database, connection, plan.inserts)
    settled: list[Link] = []
    if plan.settled:
        chosen = database.among(links.c.slug, plan.settled)
        settled = links_of(connection.execute(SELECT_LINKS.where(chosen)).all())
    recorded = Recorded(
        written + len(plan.binds) + len(plan.inserts) - len(raced),
        tuple(claim for claim in plan.conflicts if claim.slug not in raced),
        tuple(settled),
        tuple(plan.forgotten),
    )
    return recorded, [claim for claim in rest if claim.slug in raced]


def _bind_fresh(
    database: Database, connection: Connection, claims: Sequence[RecordedClaim]
) -> dict[str, RecordedClaim]:
    """Bind claims of fresh links, as almost all are, without judging each. Return those bound."""
    first = {claim.slug: claim for claim in reversed(claims)}
    on_sqlite = database.sqlite_path is not None
    if on_sqlite:
        rows = [_claimed(claim) for claim in first.values()]
    else:
        places = _lock_fresh(database, connection, first)
        rows = [_claimed(first[slug]) | {PLACE: place} for slug, place in places.items()]
    if not rows:
        return {}
    given = given_links(database, rows)
    is_it: ColumnElement[bool] = and_(
        links.c.state == literal_state(State.FRESH),
        links.c.customer_id.is_(None),
        links.c.forgotten_at.is_(None),
    )
    if not on_sqlite:
        # Not looked up by their slugs once more, which would be half of the work, and the half
        # that grows with the ledger.
        is_it = given.c[PLACE] == _HERE
    statement = (
        update(links)
        .where(links.c.slug == given.c.slug, is_it)
        .values({each.name: each for each in given.c if each.name not in ("slug", PLACE)})
        .values(state=State.CLAIMED)
        .returning(links.c.slug)
    )
    return {slug: first[slug] for slug in connection.scalars(statement)}


_HERE = literal_column("links.ctid", Place())


def _lock_fresh(
    database: Database, connection: Connection, slugs: Collection[str]
) -> dict[str, str]:
    """Lock these links on PostgreSQL, and return where those are that nobody claimed yet.

    They are found by their slugs alone: with their state in the statement, the planner may go
    through the fresh links of all meetings. They are locked in the order of their slugs, as in all
    statements that lock rows.
    """
    statement = (
        select(
            links.c.slug,
            cast(_HERE, Text),
            links.c.state,
            links.c.customer_id.is_(None) & links.c.forgotten_at.is_(None),
        )
        .where(database.among(links.c.slug, slugs))
        .order_by(links.c.slug)
        .with_for_update()
    )
    return {
        slug: place
        for slug, place, state, is_untouched in connection.execute(statement)
        if is_untouched and state == State.FRESH
    }


def _kept(
    database: Database, connection: Connection, claims: Sequence[RecordedClaim]
) -> dict[str, Kept]:
    # Locked in the order of their slugs, so that two recorders cannot wait for each other.
    statement = (
        select(links.c.slug, links.c.state, links.c.customer_id, links.c.forgotten_at)
        .where(database.among(links.c.slug, {claim.slug for claim in claims}))
        .order_by(links.c.slug)
        .with_for_update()
    )
    return {
        slug: Kept(State(state), customer_id, forgotten_at is not None)
        for slug, state, customer_id, forgotten_at in connection.execute(statement)
    }


def _bind(
    database: Database, connection: Connection, binds: list[tuple[State, RecordedClaim]]
) -> None:
    if not binds:
        return
    rows = [_claimed(claim) | {"state": state} for state, claim in binds]
    given = given_links(database, rows)
    connection.execute(
        update(links)
        .where(links.c.slug == given.c.slug)
        .values({name: given.c[name] for name in rows[0] if name != "slug"})
    )


def _insert(
    database: Database, connection: Connection, inserts: dict[str, RecordedClaim]
) -> set[str]:
    """Insert claimed links. Return the slugs that another process inserted meanwhile."""
    rows = [
        _claimed(claim)
        | {
            "url": claim.url,
            "meeting_sid": claim.meeting_sid,
            "state": State.CLAIMED,
            "epoch": "",
            "created_at": claim.claimed_at,
        }
        for claim in inserts.values()
    ]
    return set(inserts) - insert_links(database, connection, rows)


def _claimed(claim: RecordedClaim) -> dict[str, Any]:
    email = None if claim.email is None else storable(claim.email)
    return {
        "slug": claim.slug,
        "source": claim.source,
        "customer_id": claim.customer_id,
        "email": email,
        "email_key": None if email is None else same_email(email),
        "metadata": claim.metadata,
        "claimed_at": claim.claimed_at,
        "lapses_at": claim.lapses_at,
    }
