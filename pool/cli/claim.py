"""Claim for the customers of a CSV file: `linkpool claim --csv`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from pool.cli.common import (
    DONE,
    FAILED,
    NOT_REACHABLE,
    WRONG_USAGE,
    AsJson,
    DataDir,
    check_sid,
    exit_code,
    fail,
    settings_for,
)
from pool.cli.lengths import length
from pool.cli.printing import print_json
from pool.config.settings import KEY_VARIABLE, URL_VARIABLE
from pool.errors import LinkpoolError
from pool.up.ports import reachable


def claim(
    csv: Annotated[
        Path,
        typer.Option(
            "--csv",
            help="CSV file with the column customer_id, optionally email and metadata.NAME.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="CSV file to write: the same rows with slug, url, status, error."
        ),
    ],
    meeting: Annotated[str, typer.Option("--meeting", metavar="SID")],
    url: Annotated[
        str | None, typer.Option("--url", envvar=URL_VARIABLE, help="Where linkpool answers.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Customers per request.")] = 1000,
    patience_seconds: Annotated[
        float,
        typer.Option(
            parser=length(whole=False),
            metavar="TIME",
            help="How long to go on without a new link: 600, 10 min.",
        ),
    ] = 600.0,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Claim a link for each customer of a CSV file, over HTTP.

    The key is read from LINKPOOL_KEY; a `linkpool up` on this machine needs none. A run that was
    stopped goes on where it was: call it again with the same files.
    """
    check_sid(meeting, "--meeting")
    address, key = _whom_to_ask(url, data_dir)
    # Imported here, because what speaks HTTP and draws bars takes long to import.
    from pool.cli.batch_client import NotReachable
    from pool.cli.claim_run import claim_for_file

    try:
        found, without = claim_for_file(
            csv,
            out,
            address,
            key,
            meeting,
            batch_size=batch_size,
            patience_seconds=patience_seconds,
        )
    except KeyboardInterrupt:
        fail("stopped; run the command again to go on", FAILED)
    except NotReachable as error:
        fail(str(error), NOT_REACHABLE)
    except LinkpoolError as error:
        fail(str(error), exit_code(error))
    if as_json:
        print_json({"rows": found + without, "with_link": found, "without": without})
    else:
        sys.stdout.write(f"{found} of {found + without} customers have a link: {out}\n")
    raise typer.Exit(FAILED if without else DONE)


def _whom_to_ask(url: str | None, data_dir: Path | None) -> tuple[str, str]:
    """Return the address and the key: those given, else those of the linkpool on this machine."""
    key = os.environ.get(KEY_VARIABLE, "")
    if not url:
        settings = settings_for(data_dir)
        url = f"http://{reachable(settings.host)}:{settings.port}"
        # The admin key of this machine's linkpool is for no other.
        key = key or (settings.admin_key.get_secret_value() if settings.admin_key else "")
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        fail(f"--url {url!r}: must be an http:// or https:// address", WRONG_USAGE)
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        fail(f"set {KEY_VARIABLE} to an API key of scope claim", WRONG_USAGE)
    return url.rstrip("/"), key
