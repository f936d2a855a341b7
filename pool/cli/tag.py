"""Print the tag for a page: `linkpool tag`."""

from __future__ import annotations

import sys
from html import escape
from typing import Annotated

import typer

from pool.cli.common import AsJson, DataDir, check_sid, settings_for
from pool.cli.printing import print_json
from pool.embeds.tag import tag_of


def tag(
    meeting: Annotated[str, typer.Option(metavar="SID", help="The meeting.")],
    public_key: Annotated[
        str | None, typer.Option(help="A public key of the meeting, instead of a token.")
    ] = None,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Where browsers reach linkpool.")
    ] = "https://links.example.com",
    pinned: Annotated[
        bool, typer.Option(help="Pin the script to its content, with `integrity`.")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print the tag that shows a meeting's links in a static or cached page."""
    check_sid(meeting, "--meeting")
    found = tag_of(settings_for(data_dir).workspaces)
    src = url.rstrip("/") + (found.path if pinned else "/embed.js")
    if as_json:
        print_json({"src": src, "path": found.path, "integrity": found.integrity})
        return
    attributes = {"src": src}
    if pinned:
        attributes["integrity"] = found.integrity
    attributes["data-meeting"] = meeting
    attributes |= {"data-public-key": public_key} if public_key else {"data-token": "TOKEN"}
    # Without `crossorigin`, a browser opens a second connection for the claim.
    listed = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    sys.stdout.write(f"<script async crossorigin {listed}></script>\n")
