"""Test where the demo page is served: with the sandbox of `linkpool up`, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from pool.api.demo.routes import demo_of
from pool.config.settings import Settings, Workspace
from pool.errors import Unknown
from pool.model.meetings import Meeting


def service(base_url: str, demo_meeting: str | None) -> Any:
    """Return what the route needs of a service with one workspace and one meeting."""
    workspace = Workspace(
        name="default", subdomain="acme", api_key=SecretStr("a-key"), base_url=base_url
    )
    settings = Settings(workspaces={"default": workspace}, demo_meeting=demo_meeting)

    async def find(sid: str) -> Meeting:
        return Meeting(sid)

    return SimpleNamespace(settings=settings, known_meetings=SimpleNamespace(find=find))


async def test_the_demo_shows_the_meeting_of_the_sandbox() -> None:
    demo = await demo_of(service("http://127.0.0.1:8001", "demo"))
    assert (demo.meeting.sid, demo.workspace.name) == ("demo", "default")


@pytest.mark.parametrize(
    ("base_url", "demo_meeting"),
    [
        ("http://127.0.0.1:8001", None),
        ("", "demo"),
        ("https://acme.neetocal.com", "demo"),
        ("http://127.0.0.1.example.com", "demo"),
    ],
)
async def test_the_demo_is_never_served_with_a_real_provider(
    base_url: str, demo_meeting: str | None
) -> None:
    """Anybody who opens it gets a link, so the setting alone is not enough."""
    with pytest.raises(Unknown):
        await demo_of(service(base_url, demo_meeting))
