"""Explain linkpool's own words where a page uses them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word, and what it means in a sentence or two."""

    word: str
    meaning: str


WORDS = {
    "fresh": Word("Fresh", "Made at the provider, in the pool, and never shown to anybody."),
    "claimed": Word(
        "Claimed", "Given to one customer, for good. The customer has not booked with it yet."
    ),
    "consumed": Word("Consumed", "A booking of this link stands, so it can book nothing more."),
    "cancelled": Word(
        "Cancelled", "It had a booking, and none stands: the customer may claim anew."
    ),
    "lapsed": Word("Lapsed", "Claimed, and nobody booked with it in time."),
    "retired": Word("Retired", "Too old to hand out, or drained by a person. It was never shown."),
    "quarantined": Word(
        "Quarantined",
        "It may have been shown before Redis forgot it, so it is never handed out again.",
    ),
    "lost": Word("Lost", "The provider may have made it, but its answer never came."),
    "top-up": Word("Top-up", "Making links at the provider and adding them to the pool."),
    "runway": Word(
        "Runway", "How long the fresh links last if claims go on as in the last half minute."
    ),
    "fence": Word(
        "Fence",
        "The check that stops a Redis which may have forgotten who got which link. It then hands "
        "out nothing until the pool is recovered from the ledger.",
    ),
    "target": Word(
        "Wanted",
        "How many fresh links the pool should hold: enough to last for its cover at the present "
        "rate or by the forecast, between its minimum and its maximum.",
    ),
    "turned-away": Word(
        "Turned away",
        "Visitors who asked and got no link: the pool was empty, paused or recovering, they came "
        "too often, or there was an error.",
    ),
    "ledger": Word(
        "Ledger", "The SQL database: what lasts. Claims wait in Redis until it has them."
    ),
    "workspace": Word(
        "Workspace", "One account at the provider: its API key and its budget of requests."
    ),
    "reserve": Word("Reserve", "Fresh links that claims with a public key leave to all others."),
}

STATES = {
    "ok": "There are enough fresh links.",
    "low": "Fewer fresh links than half of what is wanted, or they last less than a minute.",
    "empty": "No fresh links: visitors wait for one made on the spot, or get an error.",
    "blocked": "The provider makes no links for it. Those that are left are still handed out.",
    "paused": "A person stopped it: no top-up and no new claims.",
    "recovering": "Redis may have forgotten claims (the fence fell): nothing is handed out until "
    "the pool is read back from the ledger.",
}
