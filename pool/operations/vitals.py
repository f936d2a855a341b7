"""Describe the parts of the service: which are silent, since when, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pool.model.incidents import What
from pool.model.outcomes import TURNED_AWAY
from pool.model.vitals import SILENT_SECONDS, Heard
from pool.operations.words import duration_words

_COST_SETTLES_SECONDS = 10.0  # by then, other processes' counts of visitors have arrived

Name = tuple[What, str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A part that is silent, and since when."""

    what: What
    about: str
    since: datetime
    text: str  # its consequence, in a sentence
    turned_away: int | None = None  # visitors in all before it began; None: not known
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Over:
    """A trouble that has just ended, and its cost."""

    trouble: Trouble
    ended_at: datetime
    turned_away: int | None
    quarantined: int

    @property
    def lasted_seconds(self) -> float:
        """Return how long it lasted."""
        return max(0.0, (self.ended_at - self.trouble.since).total_seconds())


@dataclass(frozen=True, slots=True)
class Vitals:
    """All parts at one moment. `heard` holds the last pulses; it is old if Redis is silent."""

    at: datetime
    troubles: tuple[Trouble, ...] = ()
    over: tuple[Over, ...] = ()
    heard: Heard | None = None
    unmatched: int | None = None  # events in the inbox; None: not known

    def trouble(self, what: What) -> Trouble | None:
        """Return the first trouble of this kind, or None."""
        return next((each for each in self.troubles if each.what is what), None)

    def turned_away_since(self, trouble: Trouble) -> int | None:
        """Return how many visitors got no link since this trouble began; None: not known now."""
        if trouble.turned_away is None or self.heard is None or self.trouble(What.REDIS):
            return None
        return max(0, turned_away(self.heard.totals) - trouble.turned_away)


def turned_away(totals: Mapping[str, int]) -> int:
    """Return how many visitors got no link, by totals."""
    return sum(totals.get(name, 0) for name in TURNED_AWAY)


def heard_troubles(
    heard: Heard, now: datetime, sweep_seconds: float, *, ledger_answers_seconds: float = math.inf
) -> list[Trouble]:
    """Return the troubles of workers and providers that pulses show.

    The calls of a process that misses its beats prove nothing about the provider: a worker that is
    frozen hears no answer. A worker that speaks and runs nothing may be waiting for the ledger,
    unless that has answered for long enough.
    """
    found = []
    if trouble := _worker(heard, now, sweep_seconds, ledger_answers_seconds):
        found.append(trouble)
    for workspace in sorted({name for each in heard.pulses for name in each.pulse.calls}):
        silent = heard.unanswered_seconds(workspace)
        if silent > SILENT_SECONDS:
            text = f"The provider does not answer calls of workspace {workspace}"
            since = now - timedelta(seconds=silent)
            found.append(Trouble(What.PROVIDER, workspace, since, text))
    return found


def has_answered(heard: Heard, trouble: Trouble, now: datetime) -> bool:
    """Return True if a provider has answered any process since its trouble began.

    If the processes that asked it have died or are frozen, nobody can know that it is well again.
    If no process works with that workspace any more, the trouble is over.
    """
    found = heard.asking(trouble.about)
    return not (found or heard.silent("worker")) or any(
        now - timedelta(seconds=calls.answered_seconds + age) >= trouble.since
        for calls, age in found
        if calls.answered_seconds is not None
    )


def _worker(
    heard: Heard, now: datetime, sweep_seconds: float, ledger_answers_seconds: float
) -> Trouble | None:
    swept_seconds = (
        None if heard.swept_ms is None else max(0.0, (heard.now_ms - heard.swept_ms) / 1000)
    )
    patience = 3 * sweep_seconds + 5
    if heard.speaking("worker") or not heard.always:
        if swept_seconds is None or min(swept_seconds, ledger_answers_seconds) <= patience:
            return None
        text = f"No worker has run for {duration_words(swept_seconds)}: is beat running?"
        return Trouble(What.WORKER, "", now - timedelta(seconds=swept_seconds), text)
    ages = [each.age_seconds for each in heard.pulses if each.pulse.role == "worker"]
    silent = min(ages, default=swept_seconds if swept_seconds is not None else SILENT_SECONDS)
    text = "No worker is running: pools are not topped up, and claims are not recorded"
    return Trouble(What.WORKER, "", now - timedelta(seconds=silent), text)


def with_cost(over: Over, totals: Mapping[str, int], now: datetime, *, alone: bool) -> Over:
    """Return an ended trouble with its cost. `alone`: no other trouble has begun since its end.

    Visitors who are turned away during the next trouble are that one's cost.
    """
    if not totals:
        return over
    # A recovery may outlast the visitors that it concerns: links that it sets aside still count.
    # A provider or a ledger that was silent has no links set aside, though a Redis that is away
    # soon after may have: that is its own cost.
    if over.trouble.what in (What.REDIS, What.WORKER):
        lost = max(0, totals.get("quarantined", 0) - over.trouble.quarantined)
        over = replace(over, quarantined=lost)
    settled = now - over.ended_at > timedelta(seconds=_COST_SETTLES_SECONDS)
    if settled or not (alone or over.turned_away is None):
        return over
    before = over.trouble.turned_away
    away = None if before is None else max(0, turned_away(totals) - before)
    return replace(over, turned_away=away)
