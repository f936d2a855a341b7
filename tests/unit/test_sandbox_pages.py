"""Test what a person sees and clicks in the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest

from sandbox.app import build
from sandbox.clock import slots, utc_now
from sandbox.core import Config, Sandbox

NASTY = "Zoë <&> \"'><script>alert(1)</script>"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(Config(public_url="http://s.test", api_key="k", meetings={"demo": NASTY}))


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(sandbox))
    async with httpx.AsyncClient(transport=transport, base_url="http://s.test") as client:
        yield client
    await sandbox.aclose()


class _Page(HTMLParser):
    """Inputs by name (the first of each), form actions, tags, and all text."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.inputs: dict[str, str] = {}
        self.actions: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        if tag == "input":
            self.inputs.setdefault(values["name"] or "", values.get("value") or "")
        if tag == "form":
            assert values["method"] == "post"
            self.actions.append(values["action"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def _slug(sandbox: Sandbox) -> str:
    meeting = sandbox.state.meeting("demo")
    assert meeting is not None
    return sandbox.state.make_link(meeting).slug


async def test_a_visitor_books_once(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """Filling in the form books, shows "You are booked", and leaves an expired link."""
    slug = _slug(sandbox)
    form = _Page(await client.get(f"/{slug}", params={"ref": slug, "email": "z@example.com"}))
    assert form.inputs["email"] == "z@example.com"
    done = await client.post(form.actions[0], data={**form.inputs, "name": NASTY})
    assert done.status_code == 303
    page = _Page(await client.get(done.headers["location"]))
    assert "You are booked" in page.text
    assert NASTY in page.text
    assert "script" not in page.tags
    (booking,) = sandbox.state.bookings.values()
    assert booking.answers == {"ref": slug}
    assert (booking.name, booking.slug) == (NASTY, slug)
    for answer in (await client.get(f"/{slug}"), await client.post(f"/{slug}", data=form.inputs)):
        assert answer.status_code == 200
        assert "link expired" in _Page(answer).text.lower()
    assert len(sandbox.state.bookings) == 1


async def test_a_visitor_reschedules_and_cancels(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """The booking's page has both buttons until it is cancelled, and the link stays expired."""
    slug = _slug(sandbox)
    form = _Page(await client.get(f"/{slug}"))
    data = {**form.inputs, "name": "A", "email": "a@b"}
    where = (await client.post(f"/{slug}", data=data)).headers["location"]
    actions = _Page(await client.get(where)).actions
    assert actions == [f"{where}/reschedule", f"{where}/cancel"]
    for action in actions:
        assert (await client.post(action)).headers["location"] == where
    page = _Page(await client.get(where))
    assert "This booking is cancelled" in page.text
    assert page.actions == []
    assert (await client.post(f"{where}/cancel")).status_code == 409
    assert "link expired" in (await client.get(f"/{slug}")).text.lower()


async def test_prefilled_answers_cannot_break_out(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """Query parameters come back as they were, and never as markup."""
    slug = _slug(sandbox)
    query = {"name": NASTY, NASTY: NASTY}
    page = _Page(await client.get(f"/{slug}", params=query))
    assert page.inputs["name"] == NASTY
    assert page.inputs[f"answer.{NASTY}"] == NASTY
    assert "script" not in page.tags
    assert NASTY in page.text


@pytest.mark.parametrize(
    "changes", [{"name": " "}, {"email": "nobody"}, {"starts_at": "2001-01-01"}]
)
async def test_an_incomplete_form_comes_back(
    client: httpx.AsyncClient, sandbox: Sandbox, changes: dict[str, str]
) -> None:
    """Missing fields are named, typed values are kept, and nothing is booked."""
    slug = _slug(sandbox)
    data = {"name": "A", "email": "a@b", "starts_at": slots(utc_now())[0], "answer.ref": "r"}
    answer = await client.post(f"/{slug}", data={**data, **changes})
    assert answer.status_code == 422
    page = _Page(answer)
    assert "Please" in page.text
    assert page.inputs["answer.ref"] == "r"
    assert not sandbox.state.bookings


async def test_what_is_not_there_says_so(client: httpx.AsyncClient) -> None:
    """An unknown slug or booking answers 404, as a page to people, as JSON to programs."""
    for path in ("/one-off-000000000000", "/bookings/nope", "/a/b/c"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "There is nothing here" in answer.text
    answer = await client.get("/_control/nope")
    assert answer.status_code == 404
    assert answer.json()["error"]


async def test_the_index_shows_what_there_is(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """The first page shows meetings, links, bookings and knobs, all escaped, and no secret."""
    slug = _slug(sandbox)
    sandbox.book(
        slug=slug,
        meeting_sid=None,
        name=NASTY,
        email="a@b",
        starts_at=slots(utc_now())[0],
        answers={},
    )
    sandbox.set_knobs({"limit_retry_after": "<b>"})
    answer = await client.get("/")
    page = _Page(answer)
    for shown in (slug, NASTY, "limit_retry_after", "<b>", "turned"):
        assert shown in page.text
    assert "script" not in page.tags
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_page_in_a_frame_tells_its_height(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    """Only there it has a script, which its policy names by its hash."""
    slug = _slug(sandbox)
    address = f"/{slug}?dynamicHeight=true&ref=x"
    alone = await client.get(address)
    framed = await client.get(address, headers={"sec-fetch-dest": "iframe"})
    assert "script" not in _Page(alone).tags
    assert "script-src" not in alone.headers["content-security-policy"]
    assert "sandboxHeight" in framed.text
    assert "script-src 'sha256-" in framed.headers["content-security-policy"]
    inputs = _Page(framed).inputs
    assert "answer.ref" in inputs
    assert "answer.dynamicHeight" not in inputs  # no question of the form


async def test_the_embed_script_is_served(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """It has the vendor's call, and is counted under a name of its own."""
    answer = await client.get("/javascript/embed.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "window.neetoCal = { embed }" in answer.text
    assert sandbox.counters.requests["embed_script"]["200"] == 1
