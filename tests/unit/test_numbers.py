"""Hold the numbers of the core to their documented and measured values.

Other tests use these numbers by their names, so that they say what a number is for; none of them
would notice a change. A change is made here, too, and in the documents that name it.
"""

from __future__ import annotations

import importlib
import inspect
from datetime import timedelta
from typing import Any

import pytest

NUMBERS: dict[str, dict[str, Any]] = {
    "pool.claims.desk": {
        "CALLS_PER_MEETING": 2,
        "WORTH_A_CALL": 32,
        "CALLS_AT_ONCE": 32,
        "WAITING_LIMIT": 20_000,
    },
    "pool.claims.known_meetings": {"_FORGET_UNKNOWN_SECONDS": 1.0, "_UNKNOWN_KEPT": 10_000},
    "pool.claims.on_demand": {"AT_ONCE": 4},
    "pool.claims.spot_links": {"LEDGER_TRUST_SECONDS": 1.0},
    "pool.access.api_keys": {"LAST_USED_SECONDS": 300.0},
    "pool.access.limits": {"_KEPT": 50_000, "_ROUNDING": 1e-6},
    "pool.supply.blame": {
        "FAILURES_TO_BLOCK": 8,
        "OWN_FAILURES_TO_BLOCK": 3,
        "SUSPECT_FAILURES": 2,
        "OTHERS_LINKS": 3,
        "OTHERS_LINKS_UNTHROTTLED": 10,
        "ALIKE_TO_BLOCK": 3,
        "TRIED_LATELY": 10,
    },
    "pool.supply.link_bases": {"PUBLISHED_SECONDS": 1.5},
    "pool.supply.link_maker": {"Patience.LONGEST_SECONDS": 60.0},
    "pool.supply.planning": {"FAIR_EVERY": 4, "PROBE_EVERY": 10},
    "pool.supply.pool_writer": {"LINKS_PER_CALL": 500},
    "pool.supply.top_up": {
        "RUN_SECONDS": 40.0,  # under Celery's soft limit
        "LOOK_SECONDS": 1.0,
        "PLAN_LINKS": 1_000,
        "TURN_SECONDS": 2.0,
    },
    "pool.supply.under_way": {"SHARE": 2, "SUSPECT_SHARE": 4},
    "pool.durability.erasure": {"_ROUNDS": 5, "_LOG_TRIES": 5, "_LOG_WAIT_SECONDS": 0.2},
    "pool.durability.fence_watch": {"_CLAIMS_PER_CALL": 200, "_AGAIN_SECONDS": 0.2},
    "pool.durability.recent_claims": {
        "KEPT_SECONDS": 10.0,  # docs/guarantees.md
        "FAILOVER_KEPT_SECONDS": 30.0,
        "KEPT_CLAIMS": 200_000,
        "ALWAYS_KEPT_CLAIMS": 100,
    },
    "pool.durability.recorder": {"CLAIMS_PER_WRITE": 2_000},
    "pool.durability.recovery": {"GRACE_SECONDS": 1.0, "AT_ONCE": 8},
    "pool.durability.reopening": {"_SLUGS": 500},
    "pool.durability.rebinding": {"CALL": 500},
    "pool.bookings.matcher": {"CLOCKS": timedelta(minutes=2)},
    "pool.bookings.meeting_ids": {"ASK_SECONDS": 300.0, "GAP_SECONDS": 2.0, "_ASKED_MOST": 10_000},
    "pool.bookings.reconcile": {
        "OVERLAP": timedelta(hours=1),
        "FIRST_LOOK": timedelta(days=7),
        "ROUND_EVERY": timedelta(minutes=15),
        "OVER_SINCE": timedelta(days=30),
        "BUDGET_SHARE": 0.2,
        "PASS_SECONDS": 30.0,
        "PAGES_MAX": 10_000,
    },
    "pool.bookings.settling": {
        "MAX_ATTEMPTS": 10,
        "EVENT_SECONDS": 25,
        "RETRY_SECONDS": 5,
        "RETRY_MAX_SECONDS": 600,
        "UNMATCHED_LEAST_SECONDS": 60,
        "UNMATCHED_MOST_SECONDS": 86_400,
    },
    "pool.model.bookings": {
        "_RANKS": {"incomplete": 0, "pending": 1, "confirmed": 3, "rejected": 4, "cancelled": 5},
        "_UNDOCUMENTED_RANK": 2,
        "_SUREST_FIRST": ("field", "slug", "assigned", "booking", "probable"),
    },
    "pool.model.marks": {
        "MARK_BYTES": 8,
        "MARKS_MAX": 4_096,
        "_TELLING_CHARACTERS": 8,
        "_ID_CHARACTERS": range(4, 257),
    },
    "pool.model.meetings": {"LEAD_SECONDS": 5},
    "pool.ledger.database": {"DEADLINE_SECONDS": 20},
    "pool.ledger.erased": {"_SCAN": 5_000, "_PAGE": 200},
    "pool.ledger.inbox": {"_ERROR_MAX_CHARACTERS": 1_000},
    "pool.ledger.postgresql": {
        "CONNECT_SECONDS": 3,
        "POOL_SECONDS": 5,
        "STATEMENT_SECONDS": 15,
        "MIGRATION_SECONDS": 600,
        "IDLE_IN_TRANSACTION_SECONDS": 30,
    },
    "pool.ledger.sqlite": {"BUSY_SECONDS": 5, "POOL_SECONDS": 5, "_READERS": 4},
    "pool.ledger.retention": {"BODY_SHARE": 3},
    "pool.ledger.pruning": {"BATCH_LINKS": 500},
    "pool.store.alerts": {"NOTICES_LIMIT": 200, "FELL_SECONDS": 60},
    "pool.store.bindings": {"_BEGUN_KEPT": 20_000},
    "pool.store.connect": {"SENTINEL_SECONDS": 0.5},
    "pool.store.history": {"LOCK_SECONDS": 10.0},
    "pool.store.locks": {"LOCK_SECONDS": 5.0, "_RENEWALS": 4, "_END_SECONDS": 1.0},
    "pool.store.records": {"BATCH_LIMIT": 64},
    "pool.store.recovery": {"_STANDINGS": 500, "CALL_SECONDS": 2.0},
    "pool.store.replies": {"_HEAT_TAU_SECONDS": 30.0},
    "pool.store.levels": {"_LOOK_AT": 25},
    "pool.nudges": {
        "CLOCKS_DIFFER_SECONDS": 300.0,
        "EXPIRES_SECONDS": 30,
        "_SPACING_SECONDS": 0.5,
        "_WAITING_LIMIT": 1_000,
    },
    "pool.alerting.rules": {
        "LOW_SECONDS": 120.0,
        "ENOUGH_SECONDS": 300.0,
        "LAG_CLAIMS": 1_000,
        "NO_LAG_CLAIMS": 100,
        "STUCK_SWEEPS": 6,
        "STUCK_LEAST_SECONDS": 30.0,
    },
    "worker.app": {
        "LAPSE_SECONDS": 5.0,
        "EXPIRE_SECONDS": 60.0,
        "FORESEE_SECONDS": 60.0,
        "SOFT_LIMIT_SECONDS": 45,
        "HARD_LIMIT_SECONDS": 60,
    },
    "worker.broker": {"RECONNECT_SECONDS": 0.5},
    "worker.each": {"AWAY": 3},
    "worker.erase": {"_RUN_SECONDS": 10.0, "_REWRITE_AFTER": timedelta(days=1)},
    "worker.expire": {"ASTRAY_SECONDS": 60, "_LINKS_PER_STEP": 1_000},
    "worker.forecast": {"AT_ONCE": 500, "LOCK_SECONDS": 30.0},
    "worker.lapse": {"_LINKS_PER_STEP": 1_000, "_REST": 2.0, "_RUN_SECONDS": 30.0},
    "worker.loop": {"_CLOSE_SECONDS": 5.0},
    "worker.reconcile": {"BATCH": 100, "SETTLE_SECONDS": 10.0},
    "worker.settle": {"EVENTS_PER_LOOK": 100},
    "worker.survey": {
        "PAGE": 100,
        "TURN_SECONDS": 5.0,
        "NOT_FOUND": "refused-404",
        "_BATCH": 1_000,
    },
}

# What callers get who leave these arguments out: a function, and its defaults that are not None.
DEFAULTS: dict[str, dict[str, Any]] = {
    "pool.claims.desk:Desk.claim": {"limited": False},
    "pool.claims.desk:Desk.join": {"limited": False},
    "pool.claims.spot_links:empty": {"seconds": 2},
    "pool.supply.blame:Troubles.failed": {"probe": False},
    "pool.supply.link_maker:LinkMaker.make_now": {"probe": False},
    "pool.durability.recovery:PoolRecovery.recover": {"grace_seconds": 1.0},
    "pool.durability.recovery:PoolRecovery.recover_all": {"grace_seconds": 1.0},
    "pool.bookings.bookings:Bookings.settle_due": {"limit": 100},
    "pool.bookings.reconcile:Reconciler.run": {"seconds": 30.0},
    "pool.ledger.audit:Audit.list": {"limit": 100},
    "pool.ledger.erased:Erased.unfinished": {"limit": 100},
    "pool.ledger.erased:Erased.unmarked": {"limit": 200},
    "pool.ledger.inbox:Inbox.due": {"limit": 100},
    "pool.ledger.inbox:Inbox.list": {"limit": 100},
    "pool.ledger.inbox:Inbox.failed": {"max_attempts": 10, "its_fault": True},
    "pool.ledger.inbox:Inbox.reopen_unmatched": {"limit": 100},
    "pool.ledger.links:Links.lapse": {"limit": 10000},
    "pool.ledger.links:Links.live_bindings": {"batch": 5000},
    "pool.ledger.links:Links.forgotten": {"after": "", "limit": 500},
    "pool.ledger.retention:Retention.prune": {"limit": 500},
    "pool.ledger.search:Search.links": {"limit": 50},
    "pool.store.history:History.sparks": {"points": 30},
    "pool.store.locks:Locks.held": {"seconds": 5.0},
    "pool.store.stock:Stock.take_out": {"limit": 1000},
    "pool.store.store:Store.open": {"timeout_seconds": 2.0, "max_connections": 32},
    "pool.store.store:Store.replace": {"made": ""},
    "worker.broker:_QoS.reject": {"requeue": False},
    "pool.model.forecast:Curve.claims": {"sigmas": 0.0},
    "pool.model.forecast:Curve.runway_seconds": {"sigmas": 0.0},
}


@pytest.mark.parametrize("module", NUMBERS)
def test_numbers_change_on_purpose(module: str) -> None:
    """Each number equals the one in this table."""
    found = importlib.import_module(module)
    now = {name: _at(found, name) for name in NUMBERS[module]}
    assert now == NUMBERS[module]


@pytest.mark.parametrize("function", DEFAULTS)
def test_defaults_change_on_purpose(function: str) -> None:
    """Each default equals the one in this table."""
    module, _, name = function.partition(":")
    parameters = inspect.signature(_at(importlib.import_module(module), name)).parameters
    empty = (inspect.Parameter.empty, None)
    now = {each.name: each.default for each in parameters.values() if each.default not in empty}
    assert now == DEFAULTS[function]


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name)
    return value
