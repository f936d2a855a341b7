"""Test that old links are pruned from ledger and Redis alike, in bounded steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from pool.durability import pruner as module
from pool.errors import LedgerUnavailable
from pool.ledger.pruning import OldLink, PrunedLinks, Walk
from pool.ledger.records import EventState, NewEvent
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.providers import BookingEvent
from tests.in_process import InProcess
from tests.integration.ledger_samples import report
from worker import erase

DAY = timedelta(days=1)
RETAINED = {"ledger_retention_days": 100}
EVENT = BookingEvent("booked", "booking_created", "late", None, None, None, (), None)


async def booked(product: InProcess, *slugs: str, days: int) -> None:
    """Have customers claim these links, and make ledger and Redis show them as booked days ago."""
    await product.meeting("intro", min_fresh=1)
    await product.stock("intro", *slugs)
    for number, slug in enumerate(slugs):
        assert await product.claim("intro", f"c-{number}") == [slug]
    await product.parts.recorder.record("intro")
    at = datetime.now(UTC) - days * DAY
    for slug in slugs:
        times = {"made_at": at, "heard_at": at, "starts_at": at, "ends_at": at}
        settled = await product.ledger.bookings.settle(report(slug, sid=f"b-{slug}", **times))
        await product.parts.bookings._settler._update_redis(settled, report(slug))


@pytest.mark.parametrize("product", [RETAINED], indirect=True)
async def test_a_customer_whose_booking_was_pruned_may_claim_anew(product: InProcess) -> None:
    """Redis would answer their old booking for good; it is dropped with the row."""
    await booked(product, "a-1", days=101)
    assert await product.claim("intro", "c-0") == ["a-1"]
    await erase.prune_links(product.parts)
    assert await product.state("a-1") is None
    await product.stock("intro", "a-2")
    assert await product.claim("intro", "c-0") == ["a-2"]
    assert await product.states("intro") == {State.CONSUMED: 1, State.FRESH: 1}


@pytest.mark.parametrize("product", [RETAINED], indirect=True)
async def test_a_pruned_booking_is_dropped_from_whichever_pool_has_it(product: InProcess) -> None:
    """Of a meeting's several pools, the customer's name chooses the right one."""
    await booked(product, "a-1", "a-2", "a-3", days=101)
    changed = Meeting("intro", min_fresh=3, shards=3)
    await product.ledger.meetings.put(changed)
    for pool in changed.pools:
        await product.parts.recovery.recover(pool, grace_seconds=0.0)
    held = [(product.store.pool_of(changed, who), who) for who in ("c-0", "c-1", "c-2")]
    assert all([await product.store.claim_of(*each) for each in held])
    await erase.prune_links(product.parts)
    assert not any([await product.store.claim_of(*each) for each in held])


@pytest.mark.parametrize(
    ("product", "days"),
    [({"ledger_retention_days": 0}, 10_000), (RETAINED, 99)],
    indirect=["product"],
)
async def test_younger_links_stay(product: InProcess, days: int) -> None:
    """All links stay unless the setting says otherwise."""
    await booked(product, "a-1", days=days)
    await erase.prune_links(product.parts)
    assert await product.state("a-1") is State.CONSUMED
    assert await product.claim("intro", "c-0") == ["a-1"]


@pytest.mark.parametrize("product", [RETAINED], indirect=True)
@pytest.mark.parametrize(
    "says",
    [
        {"ref": "a-1"},
        {"tokens": ("x", "a-1")},
        {"booking_sid": "b-a-1"},
        {"parent_sid": "b-a-1", "email": "ada@x.test"},
    ],
)
async def test_an_event_about_a_pruned_link_is_ignored_with_the_reason(
    product: InProcess, says: dict[str, Any]
) -> None:
    """It neither waits as unmatched for ever, nor is given to another link by its e-mail."""
    await booked(product, "a-1", days=101)
    await erase.prune_links(product.parts)
    at = datetime.now(UTC)
    event = replace(EVENT, **says)
    product.provider.parse_event = lambda _body: event  # type: ignore[method-assign]
    new = NewEvent("e-1", "default", "webhook", "booking_created", b"{}", at)
    await product.ledger.inbox.add(new)
    await product.parts.bookings.settle_due()
    kept = await product.ledger.inbox.get("e-1")
    assert kept is not None
    assert (kept.state, kept.slug) == (EventState.IGNORED, None)
    assert "LEDGER_RETENTION_DAYS" in kept.reason
    told = {"workspace": "default", "event": "booking_created", "outcome": "ignored"}
    assert product.metric("linkpool_webhooks_total", **told) == 1


# -- step by step -------------------------------------------------------------------------


class Walks:
    """A ledger with two walks, of which the second holds links that cannot be pruned."""

    def __init__(self) -> None:
        self.looks: list[Any] = []
        self.dropped: list[str] = []
        self.clock = 100.0
        self.slept: list[float] = []
        self.fails = False
        at = datetime(2026, 1, 1, tzinfo=UTC)
        self.left = {
            "first": [OldLink(f"a-{n}", "s", None, False, True, at + n * DAY) for n in range(5)],
            "second": [OldLink(f"b-{n}", "s", "c", True, n == 3, at) for n in range(4)],
        }
        self.parts: Any = (
            SimpleNamespace(
                erasing=self, names=SimpleNamespace(name=lambda sid, who: f"{sid}/{who}")
            ),
            SimpleNamespace(pruning=self, meetings=SimpleNamespace(all=AsyncMock(return_value=[]))),
        )

    async def walks(self) -> list[Walk]:
        return [Walk("first"), Walk("second", "w")]

    async def look(self, walk: Walk, _before: datetime, place: Any, limit: int) -> list[OldLink]:
        self.looks.append((walk.name, place and (place.at.day, place.passed)))
        self.clock += 1
        if place is not None and place.passed:
            return []
        return self.left[walk.name][:limit]

    async def drop(self, sid: str, slug: str, name: str) -> None:
        self.dropped.append(f"{slug} {name}")

    async def prune(self, slugs: list[str], _before: datetime) -> PrunedLinks:
        if self.fails:
            raise LedgerUnavailable("away")
        for name, links in self.left.items():
            self.left[name] = [each for each in links if each.slug not in slugs]
        return PrunedLinks(len(slugs), 1)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> Walks:
    made = Walks()

    async def sleep(seconds: float) -> None:
        made.slept.append(seconds)

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.clock))
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return made


async def test_every_walk_is_gone_to_its_end_a_batch_at_a_time(walks: Walks) -> None:
    """A batch in which nothing could be pruned is passed, so that the walk ends."""
    seen: list[PrunedLinks] = []
    done = await module.Pruner(*walks.parts).run(
        datetime.now(UTC), rest=2.0, batch_links=2, progress=seen.append
    )
    assert done == seen[-1] == PrunedLinks(5, 3)
    assert walks.looks == [
        ("first", None),
        ("first", (2, False)),
        ("first", (4, False)),
        ("second", None),
        ("second", (1, True)),
    ]
    assert walks.dropped == []
    assert walks.slept == [2.0, 2.0, 2.0]


async def test_only_bindings_of_ripe_consumed_links_are_dropped(walks: Walks) -> None:
    """The binding goes before the row: without a row it would stay for good."""
    walks.fails = True
    walks.left["first"] = []
    with pytest.raises(LedgerUnavailable):
        await module.Pruner(*walks.parts).run(datetime.now(UTC), batch_links=9)
    assert walks.dropped == ["b-3 s/c"]


async def test_it_ends_in_time(walks: Walks) -> None:
    """The next run goes on."""
    done = await module.Pruner(*walks.parts).run(datetime.now(UTC), seconds=2.0, batch_links=2)
    assert done == PrunedLinks(4, 2)


async def test_a_meeting_is_there_for_its_walks(product: InProcess) -> None:
    """Bookings are walked by workspace, each once."""
    for sid, workspace in (("a", "one"), ("b", "two"), ("c", "one")):
        await product.ledger.meetings.put(Meeting(sid, workspace=workspace))
    walks = await product.ledger.pruning.walks()
    assert [(each.name, each.workspace) for each in walks] == [
        ("withdrawn", None),
        ("lapsed", None),
        ("ended", "one"),
        ("endless", "one"),
        ("ended", "two"),
        ("endless", "two"),
    ]
