"""Judge from the outside alone if the promises were kept.

The answers over HTTP are compared with the ledger (plain SQL), the provider and the pools in Redis
once everything is quiet. Nothing of the product is imported but its patterns.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pool.model.links import SLUG_PATTERN
from tests.trials.harness.answers import Answered, Tape

# What an append-only file synced every second may lack after kill -9, and a little.
FORGETS_SECONDS = 2.0
# How long after Redis is back an API process may take to assert its answers again.
REASSERTED_SECONDS = 2.5


class Kind(StrEnum):
    """Every way in which a promise can be observed to be broken."""

    DOUBLE = "one slug, two customers"
    TWO_LINKS = "one customer, two live links of one meeting"
    LOST_CLAIM = "an answered claim is missing in the ledger"
    LOST_WEBHOOK = "an answered webhook is not settled"
    STALE_POOL = "a link in the pool that the ledger does not call fresh"
    BAD_SLUG = "a slug that the provider never gave"
    OVERSTOCK = "more stock than target and calls under way"
    OVER_BUDGET = "more provider calls than the budget"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, with the facts needed to find it."""

    kind: Kind
    meeting: str
    slug: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A time during which Redis was dead, in seconds since 1970."""

    died_at: float
    back_at: float


@dataclass(frozen=True, slots=True)
class Stock:
    """A level that was seen, and its permitted maximum at that moment."""

    meeting: str
    fresh: int
    bound: int  # target + calls under way


@dataclass(frozen=True, slots=True)
class Budget:
    """The calls that the provider saw, and the number that it had to expect."""

    calls_at_seconds: Sequence[float]
    per_second: float
    burst: int  # beyond what per_second allows in any stretch of time


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known once everything is quiet."""

    tape: Tape
    ledger: Path  # the SQLite file
    pools: Mapping[str, frozenset[str]]  # what stands in each meeting's pool
    provider: Container[str] | None = None  # every slug it ever made; None: not asked
    stock: Sequence[Stock] = ()
    budget: Budget | None = None
    outages: Sequence[Outage] = ()
    deaths: Mapping[int, Sequence[float]] = field(default_factory=dict)  # of servers, by port


@dataclass(frozen=True, slots=True)
class Row:
    """A link as the ledger has it."""

    meeting: str
    state: str
    customer: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings.

    An excused claim is one that promise 4 does not cover: the process that answered it died
    together with Redis, within the seconds that Redis may forget.
    """

    violations: tuple[Violation, ...]
    excused: int
    claims: int
    webhooks: int


def check(evidence: Evidence) -> Verdict:
    """Return every violation that the evidence shows.

    A ledger may hold tens of millions of links: only those that were shown or pooled are held.
    """
    named = {claim.slug for claim in evidence.tape.claims}.union(*evidence.pools.values())
    rows = {slug: row for slug, row in _links(evidence.ledger) if slug in named}
    lost, excused = _lost_claims(evidence, rows)
    forgiven = {(claim.meeting, claim.customer) for claim in excused}
    found: list[Violation] = [
        *_doubles(evidence, rows),
        *_two_links(evidence, rows, forgiven),
        *lost,
        *_lost_webhooks(evidence),
        *_stale_pools(evidence, rows),
        *_bad_slugs(evidence, rows),
        *_overstock(evidence.stock),
        *_over_budget(evidence.budget),
    ]
    tape = evidence.tape
    return Verdict(tuple(found), len(excused), len(tape.claims), len(tape.webhooks))


def _query(ledger: Path, sql: str) -> Iterator[tuple[str, ...]]:
    uri = f"file:{ledger}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
        yield from connection.execute(sql)


def _links(ledger: Path) -> Iterator[tuple[str, Row]]:
    for slug, meeting, state, customer in _query(
        ledger, "SELECT slug, meeting_sid, state, customer_id FROM links"
    ):
        yield slug, Row(meeting, state, customer)


def _doubles(evidence: Evidence, rows: Mapping[str, Row]) -> Iterator[Violation]:
    """Find slugs with two customers, which no death excuses."""
    holders: dict[str, tuple[str, str]] = {}
    for claim in evidence.tape.claims:
        holder = (claim.meeting, claim.customer)
        first = holders.setdefault(claim.slug, holder)
        if first != holder:
            yield Violation(
                Kind.DOUBLE, claim.meeting, claim.slug, f"{first} and {holder} were answered"
            )
    for slug, (meeting, customer) in holders.items():
        row = rows.get(slug)
        if row is not None and row.customer not in (None, customer):
            yield Violation(
                Kind.DOUBLE, meeting, slug, f"{customer} was answered, {row.customer} recorded"
            )
    for meeting, detail in _query(
        evidence.ledger, "SELECT meeting_sid, detail FROM audit WHERE action = 'conflict'"
    ):
        yield Violation(
            Kind.DOUBLE, meeting, json.loads(detail).get("slug", ""), "the recorder raised it"
        )


def _two_links(
    evidence: Evidence, rows: Mapping[str, Row], forgiven: set[tuple[str, str]]
) -> Iterator[Violation]:
    """Find customers with two links: one may get another only once the one before is over."""
    held: dict[tuple[str, str], str] = {}
    for claim in evidence.tape.claims:
        holder = (claim.meeting, claim.customer)
        before = held.get(holder)
        held[holder] = claim.slug
        if before is None or before == claim.slug or holder in forgiven:
            continue
        row = rows.get(before)
        if row is None or row.state in ("claimed", "fresh", "quarantined"):
            yield Violation(
                Kind.TWO_LINKS, claim.meeting, claim.slug, f"{claim.customer} held {before}"
            )
    for meeting, customer, slug, count in _query(
        evidence.ledger,
        "SELECT meeting_sid, customer_id, min(slug), count(*) FROM links"
        " WHERE state = 'claimed' AND customer_id IS NOT NULL"
        " GROUP BY meeting_sid, customer_id HAVING count(*) > 1",
    ):
        if (meeting, customer) not in forgiven:
            yield Violation(Kind.TWO_LINKS, meeting, slug, f"{customer} has {count} in the ledger")


def _lost_claims(
    evidence: Evidence, rows: Mapping[str, Row]
) -> tuple[list[Violation], list[Answered]]:
    lost: dict[str, Violation] = {}
    excused: dict[str, Answered] = {}
    for claim in evidence.tape.claims:
        row = rows.get(claim.slug)
        if row is not None and row.customer is not None:
            continue
        if _died_together(evidence, claim):
            excused.setdefault(claim.slug, claim)
            continue
        state = row.state if row else "not there"
        detail = f"{claim.customer} was answered by {claim.server}; the ledger says {state}"
        lost.setdefault(claim.slug, Violation(Kind.LOST_CLAIM, claim.meeting, claim.slug, detail))
    return list(lost.values()), list(excused.values())


def _died_together(evidence: Evidence, claim: Answered) -> bool:
    """Return True if Redis could forget this claim and no process was left to assert it again."""
    deaths = evidence.deaths.get(claim.server, ())
    return any(
        claim.at_seconds - 0.1 <= outage.died_at + 0.1
        and outage.died_at <= claim.at_seconds + FORGETS_SECONDS
        and any(
            claim.at_seconds - 0.1 <= died <= outage.back_at + REASSERTED_SECONDS for died in deaths
        )
        for outage in evidence.outages
    )


def _lost_webhooks(evidence: Evidence) -> Iterator[Violation]:
    if not evidence.tape.webhooks:
        return
    states = {
        event: (state, meeting)
        for event, state, meeting in _query(
            evidence.ledger, "SELECT id, state, coalesce(meeting_sid, '') FROM inbox"
        )
    }
    for event in sorted(set(evidence.tape.webhooks)):
        state, meeting = states.get(event, ("not there", ""))
        if state not in ("settled", "ignored"):
            yield Violation(Kind.LOST_WEBHOOK, meeting, "", f"event {event}: {state}")


def _stale_pools(evidence: Evidence, rows: Mapping[str, Row]) -> Iterator[Violation]:
    shown = {claim.slug for claim in evidence.tape.claims}
    for meeting, slugs in evidence.pools.items():
        for slug in sorted(slugs):
            row = rows.get(slug)
            state = row.state if row else "not there"
            if state != "fresh":
                yield Violation(Kind.STALE_POOL, meeting, slug, f"the ledger says {state}")
            elif slug in shown:
                yield Violation(Kind.STALE_POOL, meeting, slug, "it was shown to a customer")


def _bad_slugs(evidence: Evidence, rows: Mapping[str, Row]) -> Iterator[Violation]:
    recorded = ((slug, row.meeting) for slug, row in _links(evidence.ledger))
    lost = {claim.slug: claim.meeting for claim in evidence.tape.claims if claim.slug not in rows}
    for slug, meeting in itertools.chain(recorded, lost.items()):
        if not re.fullmatch(SLUG_PATTERN, slug):
            yield Violation(Kind.BAD_SLUG, meeting, slug, "has characters that no slug has")
        elif evidence.provider is not None and slug not in evidence.provider:
            yield Violation(Kind.BAD_SLUG, meeting, slug, "the provider does not know it")


def _overstock(stock: Iterable[Stock]) -> Iterator[Violation]:
    worst: dict[str, Stock] = {}
    for seen in stock:
        over = worst.get(seen.meeting)
        if seen.fresh > seen.bound and (
            over is None or seen.fresh - seen.bound > over.fresh - over.bound
        ):
            worst[seen.meeting] = seen
    for seen in worst.values():
        detail = f"{seen.fresh} fresh links where {seen.bound} were allowed"
        yield Violation(Kind.OVERSTOCK, seen.meeting, "", detail)


def _over_budget(budget: Budget | None) -> Iterator[Violation]:
    """Find calls beyond the budget: a bucket that leaks `per_second` must never hold more than
    `burst`.
    """
    if budget is None:
        return
    level, before = 0.0, 0.0
    most, when = 0.0, 0.0
    for at in sorted(budget.calls_at_seconds):
        level = max(0.0, level - (at - before) * budget.per_second) + 1
        before = at
        if level > most:
            most, when = level, at
    if most > budget.burst:
        detail = f"{most:.0f} calls at {when:.3f} where {budget.burst} were allowed"
        yield Violation(Kind.OVER_BUDGET, "", "", detail)
