"""Test that any events of bookings, in any order, end in the provider's state."""

from __future__ import annotations

from tests.bookings_machine import play

pytest_plugins = ("ledger_fixtures",)


def test_any_order_of_events_ends_as_the_provider_has_it(database_url: str) -> None:
    """A few random sequences hold; `python -m tests.bookings_machine` plays thousands."""
    play(database_url, 25, None)
