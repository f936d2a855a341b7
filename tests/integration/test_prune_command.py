"""Test `linkpool db prune` with a retention of links, on a real Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_samples import claim, fresh, report
from typer.testing import CliRunner

from pool.cli.main import app
from pool.ledger import Ledger
from pool.model.links import State
from pool.model.meetings import Meeting
from tests.aside import in_thread
from tests.redis_process import RedisServer

DAY = timedelta(days=1)


@pytest.fixture
def environ(redis_server: RedisServer, any_url: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a linkpool with two old links, of which one was booked."""

    async def fill() -> None:
        at = datetime.now(UTC) - 101 * DAY
        ledger = Ledger.open(any_url)
        await ledger.meetings.put(Meeting("intro"))
        await ledger.links.insert_fresh([fresh(slug) for slug in ("a-1", "a-2", "a-3")])
        await ledger.links.move(["a-1"], State.RETIRED, at=at)
        await ledger.links.record([claim("a-2", "ann", claimed_at=at, lapses_at=at)])
        times = {"made_at": at, "heard_at": at, "starts_at": at, "ends_at": at}
        await ledger.bookings.settle(report("a-2", **times))
        await ledger.close()

    in_thread(fill())
    return {
        "LINKPOOL_DATA_DIR": str(tmp_path),
        "LINKPOOL_DATABASE_URL": any_url,
        "LINKPOOL_REDIS_URL": redis_server.url(),
        "LINKPOOL_LEDGER_RETENTION_DAYS": "100",
    }


def said(environ: dict[str, str], *words: str, code: int = 0) -> str:
    """Run the command. Return its output."""
    done = CliRunner().invoke(app, ["db", "prune", *words], env=environ)
    assert done.exit_code == code, done.output
    return done.output


def test_it_says_what_it_would_delete_and_deletes_it(environ: dict[str, str]) -> None:
    """A dry run changes nothing, and a second run finds nothing."""
    for _ in range(2):
        assert json.loads(said(environ, "--dry-run", "--json")) == {
            "events": 0, "bodies": 0, "links": 2, "bookings": 1, "dry_run": True,
        }  # fmt: skip
    assert said(environ, "--dry-run") == (
        "would have deleted 0 events, blanked 0 bodies, pruned 2 links and 1 bookings\n"
    )
    assert said(environ) == "deleted 0 events, blanked 0 bodies, pruned 2 links and 1 bookings\n"
    found = json.loads(said(environ, "--json"))
    assert (found["links"], found["bookings"]) == (0, 0)


def test_without_redis_no_link_is_pruned(environ: dict[str, str]) -> None:
    """Their bindings could not be dropped, and one line says so."""
    environ["LINKPOOL_REDIS_URL"] = "redis://127.0.0.1:1"
    assert "Redis" in said(environ, code=3)
    environ["LINKPOOL_LEDGER_RETENTION_DAYS"] = "0"
    assert said(environ) == "deleted 0 events, blanked 0 bodies\n"
