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
    moment,
    on_parts,
    print_views,
    settings_for,
)
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
    events = on_parts(
        settings_for(data_dir), lambda parts: parts.ledger.inbox.list(state, limit=limit)
    )
    columns = ["id", "received_at", "workspace", "event", "state", "match", "why"]
    print_views("Events", columns, [_view(event) for event in events], as_json=as_json)


@app.command()
def replay(
    event_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All dead events.")] = False,
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Settle an event again now, or have the workers settle all dead events again."""
    if dead == (event_id is not None):
        raise typer.BadParameter("give the id of an event, or --dead for all dead events")
    settings = settings_for(data_dir)
    if event_id is not None:
        _say(on_parts(settings, lambda parts: parts.bookings.replay(event_id, ACTOR, reason)))
    else:
        count = on_parts(settings, lambda parts: parts.bookings.replay_dead(ACTOR, reason))
        sys.stdout.write(f"dead events to be settled again: {count}\n")


@app.command()
def assign(
    event_id: EventId,
    slug: Annotated[str, typer.Argument(help="The link that the booking used.")],
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Assign an event that matched no link to this link, and settle it."""
    settings = settings_for(data_dir)
    _say(on_parts(settings, lambda parts: parts.bookings.assign(event_id, slug, ACTOR, reason)))


def _say(event: InboxEvent) -> None:
    sys.stdout.write(
        f"{event.id} is {event.state.value}{': ' + event.reason if event.reason else ''}\n"
    )


def _view(event: InboxEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "received_at": moment(event.received_at),
        "workspace": event.workspace,
        "event": event.event,
        "state": event.state.value,
        "match": event.match,
        "why": event.reason or event.last_error or "",
        "attempts": event.attempts,
        "seen": event.seen,
    }
