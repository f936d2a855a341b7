"""Hold the budget to its goals against providers of every kind, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from tests.budget_simulation import FixedWindow, Provider, Simulation, SlidingWindow, TokenBucket

LIMITS = (TokenBucket, FixedWindow, SlidingWindow)
Changed = Callable[[Provider], None]


def warm(provider: Provider, seconds: float, first_rate: float = 10.0) -> tuple[Simulation, float]:
    """Return a simulation that has run for a while, and what time it is there."""
    simulation = Simulation(provider, first_rate=first_rate)
    simulation.run(seconds)
    return simulation, simulation.now


def share_refused(simulation: Simulation, since: float) -> float:
    """Return the share of 429s among the answers since then."""
    asked = simulation.asked_per_second(since)
    return simulation.per_second("throttled", since) / asked


@pytest.mark.parametrize("limit", LIMITS)
def test_a_fixed_limit_is_used_and_seldom_hit(limit: type[TokenBucket]) -> None:
    """Nearly all of it is used and less than 1 % of answers are 429, however the provider
    counts.
    """
    simulation, since = warm(Provider(limit(20)), 20)
    simulation.run(100)
    assert simulation.per_second("ok", since) >= (0.95 if limit is TokenBucket else 0.9) * 20
    assert share_refused(simulation, since) < 0.01


def test_a_limit_that_moves_is_found_within_ten_seconds() -> None:
    """That holds for a lower and for a higher limit."""
    for phase in (25.0, 26.3, 28.1):
        simulation, since = warm(Provider(TokenBucket(20)), phase)
        simulation.provider.limit.per_second = 5
        simulation.run(25)
        assert simulation.settled_after(5, since) <= 10
        since = simulation.now
        simulation.provider.limit.per_second = 20
        simulation.run(15)
        assert simulation.settled_after(20, since) <= 10


def test_failures_at_random_slow_nothing_down() -> None:
    """A fifth of the calls fails; of the others, nearly all that the limit allows come through."""
    made = []
    for seed in (1, 2, 3):
        simulation, since = warm(Provider(TokenBucket(40), failed=0.2, seed=seed), 20)
        simulation.run(40)
        made.append(simulation.per_second("ok", since) / (0.8 * 40))
    assert median(made) >= 0.93


@pytest.mark.parametrize(("refused", "failed"), [(0.3, 0.0), (0.3, 0.2), (0.1, 0.0)])
def test_a_limit_shared_with_others_is_not_backed_off_from(refused: float, failed: float) -> None:
    """Most of the available rest is used, and hardly more is asked than the limit allows."""
    made = []
    for seed in (1, 2, 3):
        provider = Provider(TokenBucket(40), refused=refused, failed=failed, seed=seed)
        simulation, since = warm(provider, 60)
        simulation.run(20)
        made.append(simulation.per_second("ok", since) / ((1 - refused - failed) * 40))
        assert simulation.asked_per_second(since) <= 1.3 * 40
    assert median(made) >= 0.75


def test_what_others_take_is_noticed_when_it_begins_and_when_it_ends() -> None:
    """Their share is used up by nobody afterwards, and it is a fixed limit again."""
    simulation, _ = warm(Provider(TokenBucket(40)), 30)
    simulation.provider.refused = 0.3
    simulation.run(20)
    since = simulation.now
    simulation.run(30)
    assert simulation.per_second("ok", since) >= 0.75 * 0.7 * 40
    simulation.provider.refused = 0.0
    simulation.run(20)
    since = simulation.now
    simulation.run(60)
    assert simulation.per_second("ok", since) >= 0.95 * 40
    assert share_refused(simulation, since) < 0.01


def test_a_provider_that_refuses_everything_is_hardly_asked() -> None:
    """Ten minutes of it are some hundred calls; then the limit is found again within a minute."""
    simulation, since = warm(Provider(TokenBucket(20), refused=1.0), 600)
    assert simulation.asked_per_second(since - 540) <= 0.25
    assert len(simulation.answers) <= 150
    simulation.provider.refused = 0.0
    simulation.run(50)
    assert simulation.settled_after(20, since) <= 40


def test_an_outage_is_probed_and_its_end_is_noticed() -> None:
    """Calls that all fail are about one a second; two seconds after the end all is as before."""
    simulation, since = warm(Provider(TokenBucket(20)), 20)
    simulation.provider.failed = 1.0
    simulation.run(60)
    assert simulation.asked_per_second(since) <= 1.3
    simulation.provider.failed = 0.0
    since = simulation.now
    simulation.run(10)
    assert simulation.settled_after(20, since) <= 3


def test_retry_after_is_obeyed_whatever_is_believed() -> None:
    """No turn is given for two seconds after each 429 that asks for them, though it be chance."""
    provider = Provider(TokenBucket(20), refused=0.3, retry_after_ms=2_000)
    simulation, _ = warm(provider, 60)
    refused_at = [at for at, answer in simulation.answers if answer == "throttled"]
    assert len(refused_at) > 5
    for at in refused_at:
        # What was under way is answered within the latency, and one may have had its turn already.
        assert sum(at + 0.16 < each < at + 2.1 for each, _ in simulation.answers) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_no_rate_is_read_off_a_time_in_which_nothing_was_asked(seed: int) -> None:
    """A pool was full, or a clock was set forward, while calls were refused."""
    provider = Provider(TokenBucket(200), refused=0.5, seed=seed)
    simulation, _ = warm(provider, 0.6, first_rate=20)
    simulation.now += 3600
    simulation.run(0.6)
    provider.refused = 0.0
    since = simulation.now
    simulation.run(10)
    assert simulation.per_second("ok", since) >= 5
