"""List, add, change, pause, resume, top up and drain meetings: `linkpool meetings`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import typer

from pool.cli.common import (
    ACTOR,
    WRONG_USAGE,
    AsJson,
    DataDir,
    ReasonOption,
    check_sid,
    fail,
    on_parts,
    settings_for,
)
from pool.cli.lengths import length
from pool.cli.printing import print_json, print_record
from pool.cli.status import print_statuses
from pool.compose import Parts
from pool.config.addresses import broker_url
from pool.errors import InvalidRequest, UnknownMeeting, UnknownWorkspace
from pool.model.durations import exact_words
from pool.model.meetings import Meeting
from pool.model.pools import SHARDS_MOST
from pool.nudges import TOP_UP, Nudges
from pool.operations.administration import Administration
from pool.operations.status import MeetingStatus, statuses
from pool.operations.words import duration_words

app = typer.Typer(help="Meetings and their pools.", no_args_is_help=True)

_STATE = {"sid", "paused", "pause_reason", "closed_reason"}
_SETTINGS = {each.name for each in fields(Meeting)} - _STATE
Sid = Annotated[str, typer.Argument(help="The meeting's SID at the provider.")]
Action = Callable[[Administration], Awaitable[object]]


@app.command("list")
def list_meetings(as_json_: AsJson = False, data_dir: DataDir = None) -> None:
    """List all meetings, the most urgent first."""

    async def work(parts: Parts) -> list[MeetingStatus]:
        meetings = await parts.ledger.meetings.all()
        return await statuses(parts.store, parts.ledger, meetings) if meetings else []

    found = on_parts(settings_for(data_dir), work)
    if as_json_:
        print_json([each.facts() for each in found])
    else:
        print_statuses(found)


Workspace = Annotated[str | None, typer.Option(help="Workspace at the provider.")]
MinFresh = Annotated[int | None, typer.Option(min=0, help="Minimum links kept ready.")]
MaxFresh = Annotated[int | None, typer.Option(min=1, help="Maximum links kept ready.")]
Cover = Annotated[
    int | None,
    typer.Option(
        parser=length(),
        metavar="TIME",
        help="How long the links kept ready should last for visitors: 600, 10 min.",
    ),
]
Ttl = Annotated[
    int | None,
    typer.Option(
        parser=length(least=60),
        metavar="TIME",
        help="How long a visitor keeps a link without booking: 30 days.",
    ),
]
Age = Annotated[
    int | None,
    typer.Option(
        parser=length(least=60),
        metavar="TIME",
        help="How old an unused link may be before it is thrown away: 7 days.",
    ),
]
After = Annotated[
    Literal["same", "new"] | None,
    typer.Option(help="What a customer who has booked gets: the same link, or a new one."),
]
OnEmpty = Annotated[
    Literal["direct", "fail"] | None,
    typer.Option(
        help="When no link is ready: make one on the spot (direct), or answer pool-empty (fail)."
    ),
]
Target = Annotated[
    Literal["fixed", "auto"] | None,
    typer.Option(
        "--target", help="Follow the present number of visitors (fixed), or the forecast (auto)."
    ),
]
Fallback = Annotated[
    str | None, typer.Option(help="A page to send visitors to when no link is ready.")
]
MatchEmail = Annotated[
    bool | None,
    typer.Option(help="Let a booking be matched to a link by its e-mail address alone."),
]

Reserve = Annotated[
    int | None,
    typer.Option(min=0, help="Links kept ready that claims with a public key may not take."),
]

Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=SHARDS_MOST,
        help="Pools over which customers are spread, for several masters of a Redis Cluster.",
    ),
]


@app.command("show")
def show(sid: Sid, as_json_: AsJson = False, data_dir: DataDir = None) -> None:
    """Show one meeting: its state with the reason, its pool, and all its settings."""

    async def work(parts: Parts) -> MeetingStatus:
        meeting = await _existing(parts, sid)
        return (await statuses(parts.store, parts.ledger, [meeting]))[0]

    view = on_parts(settings_for(data_dir), work).facts()
    if as_json_:
        print_json(view)
    else:
        first = ("sid", "state", "reason", "fresh", "target", "claims_per_second", "runway_seconds")
        found = {name: view[name] for name in first} | view
        print_record({name: in_words(name, value) for name, value in found.items()})


def in_words(name: str, value: object) -> object:
    """Return a value of a meeting for people: lengths of time with their unit, rates rounded."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name.endswith("_per_second"):
        return f"{value:.4g} per second"
    if not name.endswith("_seconds"):
        return value
    return exact_words(value) if isinstance(value, int) else duration_words(value)


def add(
    context: typer.Context,
    sid: Sid,
    workspace: Workspace = None,
    min_fresh: MinFresh = None,
    max_fresh: MaxFresh = None,
    cover_seconds: Cover = None,
    claim_ttl_seconds: Ttl = None,
    max_fresh_age_seconds: Age = None,
    after_booking: After = None,
    on_empty: OnEmpty = None,
    target_mode: Target = None,
    fallback_url: Fallback = None,
    match_email: MatchEmail = None,
    reserve: Reserve = None,
    shards: Shards = None,
    data_dir: DataDir = None,
) -> None:
    """Add a meeting, or change its settings if it is there."""
    given = locals()
    changes = {name: given[name] for name in given if name in _SETTINGS and given[name] is not None}
    is_set = context.info_name == "set"
    check_sid(sid)
    if is_set and not changes:
        fail(
            f"name a setting to change for {sid}; `linkpool meetings set --help` lists it",
            WRONG_USAGE,
        )

    async def work(administration: Administration) -> str:
        try:
            meeting, created = await administration.put(sid, changes, ACTOR)
        except UnknownWorkspace as error:
            raise InvalidRequest(str(error)) from None  # a wrong value of an option
        if not created and not changes:
            return f"{meeting.sid} already exists; nothing was changed"
        done = "added" if created else "changed"
        return f"{done} {meeting.sid}: at least {meeting.min_fresh} links kept ready"

    _act(data_dir, work, must_exist=sid if is_set else None)


app.command("add")(add)
app.command("set", help="Change the settings of a meeting.")(add)


async def _existing(parts: Parts, sid: str) -> Meeting:
    meeting = await parts.ledger.meetings.get(sid)
    if meeting is None:
        raise UnknownMeeting(f"there is no meeting {sid}; `linkpool meetings add {sid}` adds it")
    return meeting


@app.command("pause")
def pause(sid: Sid, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """Stop making links and handing out new ones; customers who hold a link still get it."""
    _act(data_dir, lambda each: each.pause(sid, reason, ACTOR), f"paused {sid}", must_exist=sid)


@app.command("resume")
def resume(sid: Sid, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """End a pause; a blocked meeting is tried again at once."""
    _act(data_dir, lambda each: each.resume(sid, reason, ACTOR), f"resumed {sid}", must_exist=sid)


@app.command("top-up")
def top_up(sid: Sid, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """Ask for more links now; a blocked meeting is tried again at once."""
    _act(
        data_dir,
        lambda each: each.top_up(sid, reason, ACTOR),
        f"asked for a top-up of {sid}",
        must_exist=sid,
    )


@app.command("drain")
def drain(
    sid: Sid,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Throw away all links kept ready. Unless the meeting is paused, new ones are made."""
    if (
        not yes
        and typer.prompt(f"This throws away all links kept ready for {sid}. Type the SID") != sid
    ):
        fail("the SID does not match; nothing was done", WRONG_USAGE)

    async def work(administration: Administration) -> str:
        meeting, retired = await administration.drain(sid, reason, ACTOR)
        return f"drained {meeting.sid}: {retired} links retired"

    _act(data_dir, work, must_exist=sid)


def _act(
    data_dir: Path | None, action: Action, done: str = "", *, must_exist: str | None = None
) -> None:
    """Run one action, print `done` or else its result, and nudge top-up of every workspace.

    `must_exist` is the SID of a meeting without which nothing is done.
    """
    settings = settings_for(data_dir)

    async def work(parts: Parts) -> object:
        if must_exist:
            await _existing(parts, must_exist)
        return await action(
            Administration(parts.store, parts.ledger, parts.erasure, parts.recovery, settings)
        )

    result = on_parts(settings, work)
    nudges = Nudges(broker_url(settings))
    nudges.start()
    for workspace in settings.workspaces:
        nudges.send(TOP_UP, workspace=workspace)
    nudges.stop()
    sys.stdout.write(f"{done or result}\n")
