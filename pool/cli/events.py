"""List, replay and assign events of the webhook inbox: `linkpool events`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pool.cli.common import (
    ACTOR,
    AsJson,
    DataDir,
    ReasonOption,
    print_json,
    print_table,
    run,
    settings_for,
)
from pool.compose import compose
from pool.ledger.records import EventState, InboxEvent

app = typer.Typer(help="The webhook inbox.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(metavar="ID")]


@app.command("list")
def list_events(
    state: Annotated[EventState | None, typer.Option(help="Only events in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List events, the newest first, and what became of them."""
    settings = settings_for(data_dir)

    async def work() -> list[InboxEvent]:
        async with compose(settings) as parts:
            return await parts.ledger.inbox.list(state, limit=limit)

    views = [_view(event) for event in run(work)]
    if as_json:
        print_json(views)
    else:
        columns = ["id", "received_at", "workspace", "event", "state", "match", "why"]
        print_table("Events", columns, [[view[c] or "" for c in columns] for view in views])


@app.command()
def replay(event_id: EventId, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """Settle an event again now."""
    settings = settings_for(data_dir)

    async def work() -> InboxEvent:
        async with compose(settings) as parts:
            return await parts.bookings.replay(event_id, ACTOR, reason)

    _say(run(work))


@app.command()
def assign(
    event_id: EventId,
    slug: Annotated[str, typer.Argument(help="The link that the booking used.")],
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Assign an event that matched no link to this link, and settle it."""
    settings = settings_for(data_dir)

    async def work() -> InboxEvent:
        async with compose(settings) as parts:
            return await parts.bookings.assign(event_id, slug, ACTOR, reason)

    _say(run(work))


def _say(event: InboxEvent) -> None:
    sys.stdout.write(
        f"{event.id} is {event.state.value}{': ' + event.reason if event.reason else ''}\n"
    )


def _view(event: InboxEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "received_at": event.received_at.isoformat(timespec="seconds"),
        "workspace": event.workspace,
        "event": event.event,
        "state": event.state.value,
        "match": event.match,
        "why": event.reason or event.last_error or "",
        "attempts": event.attempts,
        "seen": event.seen,
    }
