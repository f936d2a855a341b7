"""Show the past of all pools together: visitors' answers, wasted links, incidents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.charts.earlier import Before, chosen
from pool.api.ops.charts.windows import BY_NAME, DEFAULT
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.live.history_boards import incidents_part
from pool.api.ops.live.pasts import incidents_of
from pool.api.ops.pages.charted import charted
from pool.api.ops.pages.csv_files import csv_answer
from pool.api.ops.session.sessions import SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.errors import LedgerError, StoreError, StoreUnavailable
from pool.model.incidents import What
from pool.model.outcomes import EVERYWHERE, NAMES, Outcomes, added
from pool.store.records import Span
from pool.store.tallies import Counted

router = views()

_DAYS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Day:
    """The outcomes for visitors and links on one day, in UTC."""

    day: date
    outcomes: Outcomes


@router.get("/ops/history")
async def history(
    request: Request, session: SignedIn, service: TheService, span: str = "day", compare: str = ""
) -> Response:
    """Show the past of all pools. A key of some meetings sees the incidents of those only."""
    session.caller.check(Scope.READ)
    ops: Ops = request.app.state.ops
    window, compared = BY_NAME.get(span, DEFAULT), chosen(compare)
    everywhere = session.caller.meetings is None
    without_redis = ops.live.is_silent(What.REDIS)
    problem, past = "", None
    days: list[Day] = []
    before: tuple[Before, ...] = ()
    try:
        if window.in_redis and without_redis:
            raise StoreUnavailable("Redis does not answer")
        past = await ops.pasts.of(EVERYWHERE, window)
    except LedgerError:
        problem = "The ledger does not answer, and only it has this range."
    except StoreError:
        without_redis = True
    if everywhere and not without_redis:
        try:
            before = await ops.pasts.before(EVERYWHERE, window, compared)
            [counted] = await service.parts.store.tallies.past([EVERYWHERE], Span.FIVE_WEEKS)
            [today] = await service.parts.store.tallies.past([EVERYWHERE], Span.DAY)
            days = by_day(counted.counted, today.counted)[:_DAYS_SHOWN]
        except StoreError:
            without_redis = True
    now = datetime.now(UTC)
    if past is not None:
        parts = ops.history_boards.parts(past, window, before, session, now)
    else:
        parts = incidents_part(await incidents_of(service.parts.ledger, window), session, now)
    return render(
        request,
        "history.html",
        session,
        title="History",
        status=503 if without_redis else 200,
        silent_part=What.REDIS if without_redis else None,
        lacking=f"{'Counts by day are' if past else 'Charts of this range and counts by day are'} "
        "kept there. What the ledger knows is below.",
        parts=parts,
        days=days,
        problem=problem,
        **charted(window, compared, before, view="history"),
    )


@router.get("/ops/history.csv")
async def history_csv(
    request: Request, session: SignedIn, span: str = "day", compare: str = ""
) -> Response:
    """Return the past of all pools as comma-separated values."""
    session.caller.check_everywhere(Scope.READ)
    ops: Ops = request.app.state.ops
    window = BY_NAME.get(span, DEFAULT)
    return await csv_answer(ops.pasts, EVERYWHERE, window, chosen(compare), "linkpool")


def by_day(hours: Iterable[Counted], minutes: Iterable[Counted]) -> list[Day]:
    """Return days, the latest first: hours that are over, and minutes of the hour that is not.

    A slot counts what happened before it began.
    """
    days: dict[date, list[Outcomes]] = defaultdict(list)
    last_ms = 0
    for each in hours:
        last_ms = max(last_ms, each.at_ms)
        began = datetime.fromtimestamp(each.at_ms / 1000, UTC) - timedelta(hours=1)
        days[began.date()].append(each.outcomes)
    for each in minutes:
        if each.at_ms > last_ms:
            began = datetime.fromtimestamp(each.at_ms / 1000, UTC) - timedelta(minutes=1)
            days[began.date()].append(each.outcomes)
    found = [Day(day, added(several)) for day, several in days.items()]
    return sorted(
        (each for each in found if any(each.outcomes[name] for name in NAMES)),
        key=lambda each: each.day,
        reverse=True,
    )
