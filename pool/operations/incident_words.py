"""Say in plain words what an incident was, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pool.model.incidents import Incident, What
from pool.operations.words import count_words, duration_words

_NAMED = 3  # pools that an incident's title names

TITLES = {
    What.FENCE: "Redis may have forgotten claims",
    What.BLOCKED: "The provider refused to make links",
    What.PROVIDER: "The provider did not answer",
    What.WORKER: "No worker was running",
    What.REDIS: "Redis did not answer",
    What.LEDGER: "The ledger did not answer",
    What.DRY: "Ran out of links",
    What.PAUSE: "Paused",
    What.SETTINGS: "Settings changed",
}


def title_of(incident: Incident) -> str:
    """Return what happened, and to which pools."""
    title, sids = TITLES[incident.what], incident.sids
    if incident.what is What.FENCE and sids is not None:
        return f"{title}: {count_words(len(sids), 'pool')} recovered"
    if sids is None:
        return f"{title}: {incident.about}" if incident.about else title
    return f"{title}: {_names(sids)}"


def _names(sids: Sequence[str]) -> str:
    """Return the names of pools, or of the first ones and how many more there are."""
    shown = sids if len(sids) <= _NAMED else sids[: _NAMED - 1]
    more = len(sids) - len(shown)
    return ", ".join(shown) + (f" and {count_words(more, 'other pool')}" if more else "")


def lasted_words(incident: Incident, now: datetime | None = None) -> str:
    """Return how long it lasted. A change of settings is a moment."""
    if incident.what is What.SETTINGS:
        return ""
    lasted = duration_words(incident.lasted_seconds(now or datetime.now(UTC)))
    return lasted if incident.ended_at else f"{lasted} so far"


def cost_words(incident: Incident) -> str:
    """Return what it cost: links quarantined, visitors turned away. Empty if nothing."""
    cost = []
    if incident.links_lost:
        cost.append(f"{count_words(incident.links_lost, 'link')} quarantined")
    if incident.turned_away:
        cost.append(f"{count_words(incident.turned_away, 'visitor')} turned away")
    return ", ".join(cost)


def incident_words(incident: Incident) -> str:
    """Return an incident in one line."""
    parts = [title_of(incident), lasted_words(incident), cost_words(incident)]
    if incident.what in (What.PAUSE, What.SETTINGS) and incident.text:
        parts.insert(1, incident.text)
    return "; ".join(filter(None, parts))
