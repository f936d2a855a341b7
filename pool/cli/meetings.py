"""List, add, change, pause, resume, top up and drain meetings: `linkpool meetings`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pool.cli.common import (
    ACTOR,
    WRONG_USAGE,
    AsJson,
    DataDir,
    ReasonOption,
    fail,
    on_parts,
    print_json,
    settings_for,
)
from pool.cli.status import as_json, print_statuses
from pool.compose import Parts
from pool.config.addresses import broker_url
from pool.model.links import is_sid
from pool.nudges import TOP_UP, Nudges
from pool.operations.administration import Administration
from pool.operations.status import MeetingStatus, statuses

app = typer.Typer(help="Meetings and their pools.", no_args_is_help=True)

Sid = Annotated[str, typer.Argument(help="The meeting's SID at the provider.")]
Action = Callable[[Administration], Awaitable[str]]


@app.command("list")
def list_meetings(as_json_: AsJson = False, data_dir: DataDir = None) -> None:
    """List all meetings, the most urgent first."""

    async def work(parts: Parts) -> list[MeetingStatus]:
        meetings = await parts.ledger.meetings.all()
        return await statuses(parts.store, parts.ledger, meetings) if meetings else []

    found = on_parts(settings_for(data_dir), work)
    if as_json_:
        print_json([as_json(each) for each in found])
    else:
        print_statuses(found)


def _options(
    workspace: str | None,
    min_fresh: int | None,
    max_fresh: int | None,
    cover_seconds: int | None,
    claim_ttl_seconds: int | None,
    max_fresh_age_seconds: int | None,
    after_booking: str | None,
    on_empty: str | None,
    target_mode: str | None,
    fallback_url: str | None,
    match_email: bool | None,
    reserve: int | None,
) -> dict[str, Any]:
    return {name: value for name, value in locals().items() if value is not None}


Workspace = Annotated[str | None, typer.Option(help="Workspace at the provider.")]
MinFresh = Annotated[
    int | None, typer.Option(min=0, help="The least number of fresh links to hold.")
]
MaxFresh = Annotated[
    int | None, typer.Option(min=1, help="The greatest number of fresh links to hold.")
]
Cover = Annotated[int | None, typer.Option(min=0, help="Seconds for which the stock should last.")]
Ttl = Annotated[int | None, typer.Option(min=60, help="Seconds until an unbooked claim lapses.")]
Age = Annotated[int | None, typer.Option(min=60, help="Seconds until a fresh link is too old.")]
After = Annotated[
    Literal["same", "new"] | None, typer.Option(help="What a customer who booked gets next.")
]
OnEmpty = Annotated[
    Literal["direct", "fail"] | None, typer.Option(help="What an empty pool does for a visitor.")
]
Target = Annotated[
    Literal["fixed", "auto"] | None,
    typer.Option(help="Whether the target follows the present claim rate or its forecast."),
]
Fallback = Annotated[str | None, typer.Option(help="A URL that is offered when there is no link.")]
MatchEmail = Annotated[
    bool | None, typer.Option(help="Whether a booking may be matched by its e-mail alone.")
]

Reserve = Annotated[
    int | None,
    typer.Option(min=0, help="Fresh links that claims with a public key leave to all others."),
]


@app.command("add")
def add(
    sid: Sid,
    workspace: Workspace = None,
    min_fresh: MinFresh = None,
    max_fresh: MaxFresh = None,
    cover_seconds: Cover = None,
    claim_ttl_seconds: Ttl = None,
    max_fresh_age_seconds: Age = None,
    after_booking: After = None,
    on_empty: OnEmpty = None,
    target: Target = None,
    fallback_url: Fallback = None,
    match_email: MatchEmail = None,
    reserve: Reserve = None,
    data_dir: DataDir = None,
) -> None:
    """Add a meeting, or change its settings if it is there."""
    if not is_sid(sid):
        fail(f"{sid!r}: a SID has 1 to 64 letters, digits, - and _", WRONG_USAGE)
    changes = _options(
        workspace,
        min_fresh,
        max_fresh,
        cover_seconds,
        claim_ttl_seconds,
        max_fresh_age_seconds,
        after_booking,
        on_empty,
        target,
        fallback_url,
        match_email,
        reserve,
    )

    async def work(administration: Administration) -> str:
        meeting, created = await administration.put(sid, changes, ACTOR)
        done = "added" if created else "changed"
        return f"{done} {meeting.sid}: target at least {meeting.min_fresh}"

    _act(data_dir, work)


app.command("set", help="Change a meeting's settings; the same as add.")(add)


@app.command("pause")
def pause(sid: Sid, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """Stop top-up and claims of new links; customers who hold a link still get it."""

    async def work(administration: Administration) -> str:
        return f"paused {(await administration.pause(sid, reason, ACTOR)).sid}"

    _act(data_dir, work)


@app.command("resume")
def resume(sid: Sid, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """End a pause; a blocked meeting is tried again at once."""

    async def work(administration: Administration) -> str:
        return f"resumed {(await administration.resume(sid, reason, ACTOR)).sid}"

    _act(data_dir, work)


@app.command("top-up")
def top_up(sid: Sid, reason: ReasonOption = "", data_dir: DataDir = None) -> None:
    """Ask for a top-up now; a blocked meeting is tried again at once."""

    async def work(administration: Administration) -> str:
        return f"asked for a top-up of {(await administration.top_up(sid, reason, ACTOR)).sid}"

    _act(data_dir, work)


@app.command("drain")
def drain(
    sid: Sid,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Retire all fresh links of a meeting. Unless it is paused, top-up makes new ones."""
    if not yes and typer.prompt(f"This retires all fresh links of {sid}. Type the SID") != sid:
        fail("the SID does not match; nothing was done", WRONG_USAGE)

    async def work(administration: Administration) -> str:
        meeting, retired = await administration.drain(sid, reason, ACTOR)
        return f"drained {meeting.sid}: {retired} links retired"

    _act(data_dir, work)


def _act(data_dir: Path | None, action: Action) -> None:
    """Run one action, print its result, and nudge top-up of every workspace."""
    settings = settings_for(data_dir)

    def work(parts: Parts) -> Awaitable[str]:
        return action(
            Administration(parts.store, parts.ledger, parts.erasure, parts.recovery, settings)
        )

    said = on_parts(settings, work)
    nudges = Nudges(broker_url(settings))
    nudges.start()
    for workspace in settings.workspaces:
        nudges.send(TOP_UP, workspace=workspace)
    nudges.stop()
    sys.stdout.write(said + "\n")
