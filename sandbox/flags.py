"""Read the command line: the sandbox's identity, where it listens, and a flag for every knob."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.knob_checks import KnobError
from sandbox.knobs import Knobs, knob_facts, set_knobs

DEFAULT_PORT = 8090
DEFAULT_API_KEY = "sandbox-key"
KEY_VARIABLE = "SANDBOX_API_KEY"
SECRET_VARIABLE = "SANDBOX_WEBHOOK_SECRET"  # noqa: S105 - the variable's name, no secret

_ABOUT = """\
A local NeetoCal: it makes one-off links, shows their booking pages, sends signed
webhooks, and fails in every way you ask for. Open its address in a browser to see
what it holds."""

_EXAMPLES = f"""\
examples:
  python -m sandbox
  curl -X POST -H 'X-API-KEY: {DEFAULT_API_KEY}' \\
    http://127.0.0.1:{DEFAULT_PORT}/api/external/v2/meetings/demo/one-off-links

  SANDBOX_WEBHOOK_SECRET=s3cret python -m sandbox --meeting demo="Intro call" \\
    --webhook-url http://127.0.0.1:8000/v1/webhooks/default

  python -m sandbox --limit-per-second 20 --limit-retry-after 5 --p-lost 0.01 --seed 7

while it runs (JSON, no key needed, so keep it off open networks; web pages elsewhere are
refused, by Host and Origin):
  GET   /_control/state          knobs, counters, webhook deliveries
  GET   /_control/links          every slug and its state (?meeting_sid= &limit=)
  GET   /_control/calls          the last calls for a link, each with time and status
  GET   /_control/knobs          the knobs
  PATCH /_control/knobs          {{"p_429": 0.2, "latency_seconds": 0.15}}
  POST  /_control/reset          counters to zero
  GET   /_control/meetings       how each meeting behaves
  POST  /_control/meeting        {{"meeting_sid", "disabled", "deleted", "refuse", "kind"}}:
                                 one meeting's share of the knobs that list meetings
  POST  /_control/book           {{"slug" or "meeting_sid", "name", "email", "answers": {{}},
                                 "starts_at", "time_zone", "created_at"}}
  POST  /_control/book_many      {{"slugs": [] or "meeting_sid", "count", ...}}
  POST  /_control/cancel         {{"booking_sid", "series", "reason", "by",
                                 "reschedule_requested"}}
  POST  /_control/cancel_many    {{"booking_sids": []}}
  POST  /_control/reschedule     {{"booking_sid", "style", "starts_at"}}
  POST  /_control/confirm        {{"booking_sid"}}: it is paid, or confirmed by hand
  POST  /_control/approve        {{"booking_sid"}}; /_control/reject the same
  POST  /_control/set_status     {{"booking_sid", "status"}}: any text, no webhook
  POST  /_control/emit           {{"booking_sid", "event", "times", "delay_seconds"}}
  POST  /_control/redeliver      {{"delivery_id"}}: the same body again, at any later time

exit status: 0 stopped, 1 could not start, 2 wrong flag"""


def parse(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> argparse.Namespace:
    """Return the flags, with `knobs` set from them. Exit with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        usage="python -m sandbox [flags]",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_places(parser)
    _add_account(parser, environment)
    _add_knobs(parser)
    flags = parser.parse_args(arguments)
    flags.knobs = Knobs()
    try:
        set_knobs(flags.knobs, {name: getattr(flags, name) for name in knob_facts()})
    except KnobError as error:
        parser.error(f"--{error.knob.replace('_', '-')}: {str(error).partition(': ')[2]}")
    flags.meetings = dict(flags.meeting)
    return flags


def _add_places(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    group.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help=f"port to listen on; 0: any free one, printed at the start ({DEFAULT_PORT})",
    )
    group.add_argument(
        "--public-url",
        type=_url,
        metavar="URL",
        help="what every link's URL begins with (http://HOST:PORT)",
    )
    group.add_argument(
        "--state-file",
        type=Path,
        metavar="PATH",
        help="keep links and bookings here across restarts, one JSON line each; "
        "knobs, counters and pending webhooks are not kept (nothing is kept)",
    )


def _add_account(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    group = parser.add_argument_group("account")
    group.add_argument(
        "--subdomain", type=_subdomain, default="sandbox", help="the account's name (sandbox)"
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        default=environment.get(KEY_VARIABLE) or DEFAULT_API_KEY,
        help=f"the key that callers must send; better in {KEY_VARIABLE} ({DEFAULT_API_KEY})",
    )
    group.add_argument(
        "--meeting",
        type=_meeting,
        action="append",
        default=[],
        metavar="SID[=NAME]",
        help="a meeting that exists; may be given again (none: any SID will do)",
    )
    group.add_argument(
        "--any-meeting",
        action="store_true",
        help="accept any other SID too, although meetings are named",
    )
    group.add_argument(
        "--webhook-url", type=_url, metavar="URL", help="where events are sent (nowhere)"
    )
    group.add_argument(
        "--webhook-secret",
        metavar="SECRET",
        default=environment.get(SECRET_VARIABLE, ""),
        help=f"what events are signed with; better in {SECRET_VARIABLE} (none: not signed)",
    )


def _add_knobs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "knobs", "how it behaves; each can be changed later by PATCH /_control/knobs"
    )
    for name, (default, metadata) in knob_facts().items():
        flag = f"--{name.replace('_', '-')}"
        shown = default if default != "" else "empty"
        text = f"{metadata['help']} ({shown})".replace("%", "%%")
        if isinstance(default, bool):
            text = text.replace(f"({default})", "(yes)" if default else "(no)")
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=default, help=text
            )
        elif isinstance(default, str):
            choices = None if metadata["form"] else metadata["choices"] or None
            group.add_argument(
                flag,
                default=default,
                choices=choices,
                metavar=None if choices else "TEXT",
                help=text,
            )
        else:
            kind = int if isinstance(default, int) else float
            group.add_argument(flag, type=kind, default=default, metavar="N", help=text)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("takes a number from 0 to 65535")
    return int(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError("takes a URL that begins with http:// or https://")
    return text.rstrip("/")


def _subdomain(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,63}", text):
        raise argparse.ArgumentTypeError("takes 1 to 63 of a-z, 0-9 and -")
    return text


def _meeting(text: str) -> tuple[str, str]:
    sid, _, name = text.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sid):
        raise argparse.ArgumentTypeError("takes a SID of 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return sid, name.strip() or f"Meeting {sid}"
