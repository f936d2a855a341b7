"""Test the page's server side: who gets in, what a form must prove, and what is shown."""

from __future__ import annotations

import asyncio
import base64
import hmac
import html
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request, Response
from pydantic import SecretStr
from structlog.testing import capture_logs

from pool.access.api_keys import Caller, KeyRing, make_key
from pool.access.doors import SIGN_INS
from pool.api.ops.charts.windows import BY_NAME
from pool.api.ops.frame.routing import views
from pool.api.ops.live.beat import UNSEEN_SECONDS, Live
from pool.api.ops.live.boards import Boards
from pool.api.ops.live.watched import board_of
from pool.api.ops.session.endings import Endings
from pool.api.ops.session.flash import done
from pool.api.ops.session.forms import Posted, form_of
from pool.api.ops.session.sessions import COOKIE, Session, Sessions
from pool.api.server.app import Application
from pool.api.service import Service
from pool.claims.known_meetings import KnownMeetings
from pool.config.settings import Settings, Workspace
from pool.errors import InvalidRequest, Unauthorized
from pool.ledger import EventState, Ledger, NewEvent
from pool.ledger.deadline import REQUEST_SECONDS
from pool.ledger.hours import Hour
from pool.model.incidents import Incident, What
from pool.model.meetings import Meeting
from pool.model.outcomes import Outcomes
from pool.operations.reader import Reader
from pool.operations.selection import Selection
from pool.operations.trends import Trends
from pool.operations.vitals import Trouble, Vitals
from pool.operations.vitals_watch import VitalsWatch
from pool.store import Store
from pool.store.records import Block
from tests.any_redis import AnyRedis
from tests.redis_process import RedisServer

HOOK_SECRET = "the secret of the webhooks of these tests"
ADMIN_KEY = "lp_admin_of_these_tests_and_of_no_others"
ACTED: list[str] = []

acting = views()


@acting.post("/ops/tests/act")
async def act(request: Request, action: Posted) -> Response:
    """Do nothing, as an action that a view has."""
    ACTED.append(action.form.text("reason", required=True, max_characters=20))
    return done(request, "/ops", f"Done because of {ACTED[-1]}.")


class Browser:
    """Speaks to the application as a browser does, cookies and all."""

    def __init__(self, application: Application, ledger: Ledger, service: Service) -> None:
        self.application = application
        self.ledger = ledger
        self.service = service
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application), base_url="http://ops.test"
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Get a page, following redirects."""
        return await self.http.get(path, headers=headers, follow_redirects=True)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """Return a form's answer, without following redirects."""
        return await self.http.post(path, data=fields, headers=headers)

    async def sign_in(self, key: str = ADMIN_KEY) -> str:
        """Sign in. Return the token that the session's forms carry."""
        answer = await self.post("/ops/sign-in", {"key": key})
        assert answer.status_code == 303, answer.text
        return self.token((await self.get("/ops")).text)

    async def new_key(self, *scopes: str, meetings: frozenset[str] | None = None) -> str:
        """Return a key that the application knows."""
        key, record = make_key(frozenset(scopes), meetings, "test")
        await self.ledger.keys.add(record)
        await self.service.keys.refresh()
        return key

    @staticmethod
    def token(html: str) -> str:
        """Return the token in a page."""
        found = re.search(r'name="csrf" value="(\w+)"', html)
        assert found is not None
        return found[1]


@asynccontextmanager
async def opened(
    redis_server: RedisServer, ledger: Ledger, url: str, tmp_path: Path, **more: Any
) -> AsyncIterator[Browser]:
    """Open the application over a real Redis and a real ledger, with two meetings."""
    await ledger.meetings.put(Meeting("shown"))
    await ledger.meetings.put(Meeting("hidden"))
    settings = Settings(
        redis_url=redis_server.url(),
        database_url=url,
        data_dir=tmp_path,
        admin_key=SecretStr(ADMIN_KEY),
        secret_key=SecretStr("a secret of these tests and of no others"),
        **more,
    )
    application = Application(settings)
    application.framework.router.routes[:0] = acting.routes
    ACTED.clear()
    async with application.framework.router.lifespan_context(application.framework):
        browser = Browser(application, ledger, application.framework.state.service)
        try:
            yield browser
        finally:
            await browser.http.aclose()


@pytest.fixture
async def browser(
    redis_server: RedisServer, any_ledger: Ledger, any_url: str, tmp_path: Path
) -> AsyncIterator[Browser]:
    """Return the application over a real Redis and a real ledger, with two meetings."""
    async with opened(redis_server, any_ledger, any_url, tmp_path) as browser:
        yield browser


@pytest.fixture
async def behind_proxy(
    redis_server: RedisServer, any_ledger: Ledger, any_url: str, tmp_path: Path
) -> AsyncIterator[Browser]:
    """Return the same behind a proxy on this machine that names people, with a workspace."""
    workspace = Workspace(
        name="default",
        subdomain="acme",
        api_key=SecretStr("key-of-acme"),
        webhook_secret=SecretStr(HOOK_SECRET),
    )
    more = {
        "proxy_identity_header": "X-Forwarded-User",
        "proxy_roles": "vera=viewer, otto=operator, ada=admin",
        "trusted_proxies": "127.0.0.1",
        "workspaces": {"default": workspace},
    }
    async with opened(redis_server, any_ledger, any_url, tmp_path, **more) as browser:
        yield browser


# -- who gets in ---------------------------------------------------------------------


async def test_visitors_who_are_not_signed_in_are_led_to_the_sign_in_and_back(
    browser: Browser,
) -> None:
    """Any page leads a visitor who is not signed in to the sign-in, and from there back to that
    page.
    """
    asked = await browser.http.get("/ops?state=low&q=x")
    assert asked.status_code == 303
    form = await browser.http.get(asked.headers["location"])
    place = re.search(r'name="next" value="([^"]*)"', form.text)
    assert place is not None
    signed = await browser.post(
        "/ops/sign-in", {"key": ADMIN_KEY, "next": place[1].replace("&amp;", "&")}
    )
    assert signed.headers["location"] == "/ops?state=low&q=x"


@pytest.mark.parametrize(
    "place", ["https://evil.example", "//evil.example", "/opsevil", "/ops/\\evil", "/ops\r\nx: y"]
)
async def test_a_sign_in_leads_nowhere_else(browser: Browser, place: str) -> None:
    """A lure in the address cannot send a person on to another site after signing in."""
    signed = await browser.post("/ops/sign-in", {"key": ADMIN_KEY, "next": place})
    assert signed.headers["location"] == "/ops"


async def test_a_key_that_may_only_claim_does_not_get_in(browser: Browser) -> None:
    """Sites' keys stand in their configuration; the page is not for them."""
    refused = await browser.post("/ops/sign-in", {"key": await browser.new_key("claim")})
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


async def test_a_cookie_cannot_be_made_or_changed_by_others(browser: Browser) -> None:
    """Its key, its expiry and its signature are all checked."""
    await browser.sign_in()
    good = browser.http.cookies[COOKIE]
    key_id, expires, number, signature = good.split(".")
    for cookie in (
        f"other.{expires}.{number}.{signature}",
        f"{key_id}.{int(expires) + 1}.{number}.{signature}",
        f"{key_id}.{expires}.{number}.{'0' * 64}",
        f"{key_id}.{expires}.{number}",
        "...",
        "",
        "é.1.2.3",
    ):
        browser.http.cookies.clear()
        answer = await browser.http.get("/ops", headers={"cookie": f"{COOKIE}={cookie}".encode()})
        assert answer.status_code == 303, cookie


async def test_a_session_ends_with_its_time_and_with_its_key(browser: Browser) -> None:
    """The session ends without anybody's doing."""
    now = [time.time()]
    keys = KeyRing(browser.ledger, ADMIN_KEY)
    sessions = Sessions(keys, b"secret", Endings(browser.ledger), clock=lambda: now[0])
    _, cookie = sessions.open(ADMIN_KEY)
    assert sessions.find(cookie).caller.key_id == "admin"
    now[0] += 13 * 3600
    with pytest.raises(Unauthorized):
        sessions.find(cookie)
    reader = await browser.new_key("read")
    await browser.sign_in(reader)
    await browser.ledger.keys.revoke(reader[3:11], datetime.now(UTC))
    await browser.service.keys.refresh()
    assert (await browser.http.get("/ops")).headers["location"] == "/ops/sign-in"


async def test_signing_out_ends_the_session_and_not_just_its_cookie(browser: Browser) -> None:
    """A copied cookie is out, too; "everywhere" ends each of the key's sessions."""
    token = await browser.sign_in()
    cookie = browser.http.cookies[COOKIE]
    browser.http.cookies.clear()
    await browser.sign_in()
    other = browser.http.cookies[COOKIE]

    async def shown(cookie: str) -> bool:
        browser.http.cookies.clear()
        answer = await browser.http.get("/ops", headers={"cookie": f"{COOKIE}={cookie}"})
        return answer.status_code == 200

    async def post(path: str, cookie: str, token: str) -> httpx.Response:
        browser.http.cookies.clear()
        return await browser.post(path, {"csrf": token}, cookie=f"{COOKIE}={cookie}")

    assert (await post("/ops/sign-out", cookie, "wrong")).status_code == 403
    assert await shown(cookie)
    left = await post("/ops/sign-out", cookie, token)
    assert (left.status_code, left.headers["location"]) == (303, "/ops/sign-in")
    assert 'linkpool_ops=""' in left.headers["set-cookie"]
    assert (await shown(cookie), await shown(other)) == (False, True)
    await browser.sign_in()
    third, token = browser.http.cookies[COOKIE], Browser.token((await browser.get("/ops")).text)
    await post("/ops/sign-out-everywhere", third, token)
    assert [await shown(each) for each in (cookie, other, third)] == [False] * 3


async def test_a_session_ends_in_the_process_that_revokes_its_key_at_once(
    browser: Browser,
) -> None:
    """The process does not wait for the next look at the ledger."""
    reader = await browser.new_key("admin")
    await browser.sign_in(reader)
    token = Browser.token((await browser.get("/ops/keys")).text)
    await browser.post(f"/ops/keys/{reader[3:11]}/revoke", {"csrf": token, "reason": "left"})
    assert (await browser.http.get("/ops")).headers["location"] == "/ops/sign-in"


async def test_guesses_at_the_sign_in_are_throttled_by_address(browser: Browser) -> None:
    """Counted, and refused before the key is looked at; other addresses sign in meanwhile."""
    answers = [await browser.post("/ops/sign-in", {"key": f"guess {n}"}) for n in range(20)]
    assert [answer.status_code for answer in answers] == [401] * SIGN_INS + [429] * (20 - SIGN_INS)
    assert "too many failed attempts" in answers[-1].text
    assert (await browser.post("/ops/sign-in", {"key": ADMIN_KEY})).status_code == 429
    elsewhere = {"x-forwarded-for": "203.0.113.9"}
    assert (await browser.post("/ops/sign-in", {"key": ADMIN_KEY}, **elsewhere)).status_code == 303
    await browser.service.tally.flush()
    failures = browser.service.parts.metrics.authentication_failures.labels("sign-in")
    assert failures._value.get() >= SIGN_INS


async def test_behind_a_proxy_with_tls_the_cookie_is_secure(browser: Browser) -> None:
    """The proxy on this machine is believed; the session works over https alone."""
    https = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9"}
    signed = await browser.post("/ops/sign-in", {"key": ADMIN_KEY}, **https)
    cookie = signed.headers["set-cookie"]
    assert cookie.startswith("__Host-linkpool_ops=")
    assert "Secure" in cookie
    browser.http.cookies.clear()
    sent = {"cookie": cookie.partition(";")[0]}
    assert (await browser.http.get("/ops", headers=sent | https)).status_code == 200
    assert (await browser.http.get("/ops", headers=sent)).status_code == 303


async def test_an_admin_of_some_meetings_leaves_workspaces_alone(browser: Browser) -> None:
    """It moves no meeting to another, nor lifts a block that holds for others' meetings."""
    some = await browser.new_key("admin", meetings=frozenset({"shown", "new"}))
    every = await browser.new_key("admin")
    blocks = browser.service.parts.store.blocks
    block = Block("401", 1, 2)

    async def call(method: str, path: str, key: str, body: object) -> httpx.Response:
        headers = {"x-api-key": key}
        return await browser.http.request(
            method, f"/v1/meetings/{path}", headers=headers, json=body
        )

    for sid in ("shown", "new"):
        moved = await call("PUT", sid, some, {"workspace": "other"})
        assert (moved.status_code, moved.json()["type"]) == (403, "/problems/forbidden")
    # The workspace it is in may be named; that none is configured here is another matter.
    same = await call("PUT", "shown", some, {"workspace": "default", "min_fresh": 1})
    assert same.json()["type"] == "/problems/unknown-workspace"
    for action in ("resume", "top-up"):
        await blocks.put_workspace("default", block)
        await blocks.put("shown", block)
        assert (await call("POST", f"shown/{action}", some, {})).is_success
        assert await blocks.of_workspace("default") == block
        assert await blocks.of("shown") is None
        assert (await call("POST", f"shown/{action}", every, {})).is_success
        assert await blocks.of_workspace("default") is None


async def test_a_key_of_some_networks_is_refused_from_elsewhere(browser: Browser) -> None:
    """On every way: a claim, another call, and the page."""
    clear, record = make_key(frozenset({"admin"}), None, "", networks=("10.0.0.0/8",))
    await browser.ledger.keys.add(record)
    await browser.service.keys.refresh()
    for address, statuses in (("10.1.2.3", {200, 201, 303, 503}), ("192.0.2.1", {403})):
        headers = {"x-api-key": clear, "x-forwarded-for": address}
        claimed = await browser.http.post(
            "/v1/meetings/shown/claims", json={"customer_id": "c"}, headers=headers
        )
        listed = await browser.http.get("/v1/meetings", headers=headers)
        signed = await browser.post("/ops/sign-in", {"key": clear}, **{"x-forwarded-for": address})
        assert {claimed.status_code, listed.status_code, signed.status_code} <= statuses


async def test_no_log_of_a_failed_page_holds_its_address(browser: Browser) -> None:
    """Slugs stand in it."""
    await browser.sign_in()
    broken = views()

    @broken.get("/ops/tests/{slug}")
    async def fail(slug: str) -> Response:
        raise RuntimeError

    browser.application.framework.router.routes[:0] = broken.routes
    with capture_logs() as lines:
        assert (await browser.http.get("/ops/tests/one-off-c5530bc7c9ab")).status_code == 500
    assert any(line.get("route") == "/ops/tests/{slug}" for line in lines)
    assert "c5530bc7c9ab" not in repr(lines)


async def test_a_key_of_some_meetings_sees_only_those(browser: Browser) -> None:
    """The key's limit holds in rows and in counts."""
    await browser.sign_in(await browser.new_key("read", meetings=frozenset({"shown"})))
    page = (await browser.get("/ops")).text
    assert 'data-sid="shown"' in page
    assert "hidden<" not in page
    assert 'All <span class="tally">1</span>' in page


async def test_a_stream_is_for_those_who_are_signed_in(browser: Browser) -> None:
    """Others are refused at once, and nothing is read for them."""
    answer = await browser.http.get("/ops/stream")
    assert answer.text == "event: signed-out\ndata:\n\n"


# -- what a form must prove ------------------------------------------------------------


async def test_a_form_of_the_session_acts_and_says_so_once(browser: Browser) -> None:
    """The notice stands on the next page, and not on the one after."""
    token = await browser.sign_in()
    answer = await browser.post("/ops/tests/act", {"csrf": token, "reason": "<b>lunch</b>"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ops")
    assert ACTED == ["<b>lunch</b>"]
    assert "Done because of &lt;b&gt;lunch&lt;/b&gt;." in (await browser.get("/ops")).text
    assert "Done because of" not in (await browser.get("/ops")).text


async def test_what_was_typed_is_filled_in_again_where_it_failed(browser: Browser) -> None:
    """Also the reason; the message stands in the section of the form, which is open."""
    token = await browser.sign_in()
    typed = {"csrf": token, "min_fresh": "many", "max_fresh": "77", "reason": "as a <test>"}
    answer = await browser.post("/ops/meetings/shown/settings", typed)
    assert answer.headers["location"] == "/ops/meetings/shown#settings"
    page = (await browser.get("/ops/meetings/shown")).text
    section = page[page.index('id="settings"') :]
    assert "Minimum: enter a whole number of links" in section
    assert 'value="many"' in section
    assert 'value="77"' in section
    assert 'value="as a &lt;test&gt;"' in section
    assert '<details class="edit" open>' in section
    assert "whole number" not in page[: page.index('id="settings"')]
    again = (await browser.get("/ops/meetings/shown")).text
    assert 'value="many"' not in again


async def test_every_view_has_the_live_channel_and_what_is_silent(browser: Browser) -> None:
    """A view of one meeting, of the inbox, of keys: the frame says which part is silent."""
    await browser.sign_in()
    for path in ("/ops", "/ops/meetings/shown", "/ops/inbox", "/ops/history", "/ops/keys"):
        page = (await browser.get(path)).text
        assert 'data-stream="/ops/stream' in page, path
        assert 'id="banner"' in page, path
    vitals = browser.application.framework.state.ops.live._vitals

    async def look_no_more() -> None:
        """Leave what is known as it is."""

    vitals.step = look_no_more
    since = datetime.now(UTC)
    page = ""
    async with asyncio.timeout(60):
        while "No worker is at work" not in page:  # the watch may look again in between
            trouble = Trouble(What.WORKER, "", since, "No worker is at work")
            vitals.latest = Vitals(since, (trouble,))
            page = (await browser.get("/ops/inbox")).text
    assert "worker silent) Inbox · linkpool</title>" in page
    assert "icon_bad.svg" in page


async def test_history_is_shown_drawn_and_saved_in_every_range(browser: Browser) -> None:
    """Of a meeting and of all; a key of some meetings sees its own incidents only."""
    parts = browser.service.parts
    now = datetime.now(UTC)
    for sid in ("shown", "hidden"):
        await parts.ledger.incidents.add(
            Incident(What.SETTINGS, sid, now, now, f"of {sid}", (sid,))
        )
    await parts.ledger.hours.add(
        [
            Hour(sid, now - timedelta(days=40, hours=hour), 5, 2, 9, Outcomes({"empty": 3}))
            for hour in range(3)
            for sid in ("*", "shown")
        ]
    )
    await browser.sign_in()
    for window in BY_NAME:
        for path in ("/ops/history", "/ops/meetings/shown"):
            page = await browser.get(f"{path}?span={window}")
            assert page.status_code == 200, (path, window)
            assert "of shown" in page.text
    assert "9 visitors turned away" in (await browser.get("/ops/history?span=90days")).text
    saved = await browser.get("/ops/meetings/shown/history.csv?span=90days")
    assert "text/csv" in saved.headers["content-type"]
    head, *lines = (line.split(",") for line in saved.text.splitlines())
    assert sum(int(line[head.index("empty")]) for line in lines if len(line) > 2) == 9
    await browser.http.aclose()
    browser.http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=browser.application), base_url="http://ops.test"
    )
    await browser.sign_in(await browser.new_key("read", meetings=frozenset({"shown"})))
    page = (await browser.get("/ops/history")).text
    assert "of shown" in page
    assert "of hidden" not in page
    assert (await browser.get("/ops/history.csv")).status_code == 403


async def test_an_open_history_goes_on(browser: Browser) -> None:
    """An incident, and what visitors got since, come to a page that was opened before."""
    ledger = browser.service.parts.ledger
    now = datetime.now(UTC)
    await browser.sign_in()
    page = (await browser.get("/ops/history?span=90days")).text
    stream = re.search(r'data-stream="/ops/stream\?([^"]*)"', page)
    assert stream is not None
    query = html.unescape(stream[1])
    assert "No incidents" in page
    await ledger.incidents.add(Incident(What.SETTINGS, "shown", now, now, "of shown", ("shown",)))
    await ledger.hours.add([Hour("*", now - timedelta(days=4), 5, 2, 9, Outcomes({"empty": 3}))])
    ops = browser.application.framework.state.ops
    ops.pasts._kept.clear()  # some time has passed
    session = Session(Caller("k", frozenset({"read"}), None), "")
    board = await board_of(ops, query, await ops.live.moment(), session)
    assert "of shown" in board.parts["incidents"]
    assert "3 visitors turned away" in board.parts["charts"]
    assert "banner" in board.parts


async def test_a_form_that_others_made_does_nothing(browser: Browser) -> None:
    """Without a token, with one of another session, or sent by another site."""
    elsewhere = await browser.sign_in()
    token = await browser.sign_in()
    assert token != elsewhere
    for fields, site in (
        ({}, "same-origin"),
        ({"csrf": elsewhere}, "same-origin"),
        ({"csrf": "é"}, "same-origin"),
        ({"csrf": token}, "cross-site"),
        ({"csrf": token}, "same-site"),
    ):
        answer = await browser.post(
            "/ops/tests/act", fields | {"reason": "x"}, **{"sec-fetch-site": site}
        )
        assert answer.status_code == 403, fields
    browser.http.cookies.clear()
    assert (await browser.post("/ops/tests/act", {"csrf": token, "reason": "x"})).headers[
        "location"
    ] == "/ops/sign-in"
    assert ACTED == []


async def test_what_was_typed_when_the_sign_in_had_ended_is_filled_in_again(
    browser: Browser,
) -> None:
    """After signing in, on the page that it was typed on; unless another site has sent it."""
    token = await browser.sign_in()
    typed = {"csrf": token, "reason": "typed for minutes", "origins": "https://a.example"}
    headers = {
        "sec-fetch-site": "same-origin",
        "referer": "http://ops.test/ops/meetings/shown?span=day",
    }
    for site in ("same-origin", "cross-site"):
        browser.http.cookies.clear()
        answer = await browser.post(
            "/ops/meetings/shown/pause", typed, **headers | {"sec-fetch-site": site}
        )
        assert answer.status_code == 303
        page = (await browser.get(answer.headers["location"])).text
        assert ("you were not signed in any more" in page) == (site == "same-origin")
        answer = await browser.post(
            "/ops/sign-in", {"key": ADMIN_KEY, "next": "/ops/meetings/shown"}
        )
        page = (await browser.get(answer.headers["location"])).text
        assert ('value="typed for minutes"' in page) == (site == "same-origin")
    meeting = await browser.ledger.meetings.get("shown")
    assert meeting is not None
    assert not meeting.paused


async def test_a_key_that_may_only_read_cannot_act(browser: Browser) -> None:
    """A key that may only read is refused whatever action it sends."""
    token = await browser.sign_in(await browser.new_key("read"))
    answer = await browser.post("/ops/tests/act", {"csrf": token, "reason": "x"})
    assert answer.status_code == 403
    assert "lacks the scope admin" in answer.text
    assert ACTED == []


@pytest.mark.parametrize(
    ("reason", "says"),
    [("", "fill this in"), ("x" * 21, "at most 20"), ("a\x00b", "cannot be printed")],
)
async def test_a_bad_field_is_refused_with_its_name(
    browser: Browser, reason: str, says: str
) -> None:
    """As a page, with the status of its kind."""
    token = await browser.sign_in()
    answer = await browser.post("/ops/tests/act", {"csrf": token, "reason": reason})
    assert answer.status_code == 422
    assert says in answer.text
    assert answer.headers["content-type"].startswith("text/html")


async def test_all_dead_events_are_replayed_with_one_click(browser: Browser) -> None:
    """The button is there while there are any, for who may act; the API has the same."""
    token = await browser.sign_in()
    assert "Replay all dead events" not in (await browser.get("/ops/inbox")).text
    kept, now = browser.ledger.inbox, datetime.now(UTC)
    for event_id in ("e1", "e2"):
        await kept.add(NewEvent(event_id, "default", "webhook", "booking_created", b"{}", now))
        await kept.failed(event_id, "a defect", not_before=now, max_attempts=1)
    assert "linkpool_dead_events 2.0" in (await browser.get("/metrics")).text
    for path in ("/ops/inbox", "/ops/inbox?state=dead"):
        assert "Replay 2 dead events" in (await browser.get(path)).text
    answer = await browser.post("/ops/inbox/replay-dead", {"csrf": token, "reason": "mended"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ops/inbox")
    page = (await browser.get("/ops/inbox")).text
    assert "Replaying 2 dead events." in page
    assert "Replay all dead events" not in page
    assert {(await kept.get(each)).state for each in ("e1", "e2")} == {EventState.PENDING}  # type: ignore[union-attr]
    await kept.failed("e2", "a defect", not_before=now, max_attempts=1)
    for body, status in (({"state": "dead"}, 202), ({"state": "settled"}, 422), ({}, 422)):
        said = await browser.http.post(
            "/v1/events/replay", json=body, headers={"x-api-key": ADMIN_KEY}
        )
        assert said.status_code == status, body
        if status == 202:
            assert said.json() == {"replayed": 1}
    await kept.failed("e1", "a defect", not_before=now, max_attempts=1)
    limited = await browser.new_key("admin", meetings=frozenset({"shown"}))
    token = await browser.sign_in(limited)
    assert "Replay all dead events" not in (await browser.get("/ops/inbox?state=dead")).text
    answer = await browser.post("/ops/inbox/replay-dead", {"csrf": token})
    assert answer.status_code == 403
    assert (await kept.get("e1")).state is EventState.DEAD  # type: ignore[union-attr]


# -- people whom a proxy signs in ------------------------------------------------------


async def test_a_proxy_signs_people_in_and_the_audit_names_them(behind_proxy: Browser) -> None:
    """Viewers look, operators act, admins do keys; a form needs its token as ever."""
    vera, otto, ada = ({"x-forwarded-user": name} for name in ("vera", "otto", "ada"))
    looked = await behind_proxy.get("/ops/audit", **vera)
    assert (looked.status_code, "Sign out" in looked.text) == (200, False)
    act = "/ops/tests/act"
    token = Browser.token((await behind_proxy.get("/ops/find", **vera)).text)
    refused = await behind_proxy.post(act, {"csrf": token, "reason": "no"}, **vera)
    assert (refused.status_code, "Your role is viewer" in refused.text) == (403, True)
    token = Browser.token((await behind_proxy.get("/ops/find", **otto)).text)
    for wrong, who in (({}, otto), ({"csrf": token}, ada), ({"csrf": "0" * 64}, otto)):
        assert (await behind_proxy.post(act, {**wrong, "reason": "no"}, **who)).status_code == 403
    other_site = {"sec-fetch-site": "cross-site"}
    sent = await behind_proxy.post(act, {"csrf": token, "reason": "no"}, **otto, **other_site)
    assert sent.status_code == 403
    assert ACTED == []
    sent = await behind_proxy.post(
        "/ops/meetings/shown/pause", {"csrf": token, "reason": "a rush"}, **otto
    )
    assert sent.status_code == 303
    [entry] = await behind_proxy.ledger.audit.list(1)
    assert (entry.actor, entry.action, entry.reason) == ("proxy:otto", "pause", "a rush")
    for path in ("/ops/keys", "/ops/meetings/shown/public-keys"):
        sent = await behind_proxy.post(path, {"csrf": token, "label": "x"}, **otto)
        assert (sent.status_code, "made and revoked by admins" in sent.text) == (403, True), path
    assert (await behind_proxy.get("/ops/keys", **otto)).status_code == 403
    keys = await behind_proxy.get("/ops/keys", **ada)
    assert "by your proxy, as ada (admin)" in keys.text
    token = Browser.token(keys.text)
    assert (await behind_proxy.post("/ops/sign-out", {"csrf": token}, **ada)).status_code == 403


async def test_a_header_opens_nothing_but_the_page_and_from_the_proxy_only(
    behind_proxy: Browser,
) -> None:
    """A stranger's word, a name without a role and a name said twice all lead to the sign-in."""
    ada = {"x-forwarded-user": "ada"}
    assert (await behind_proxy.http.get("/v1/meetings", headers=ada)).status_code == 401
    transport = httpx.ASGITransport(app=behind_proxy.application, client=("192.0.2.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://ops.test") as stranger:
        answer = await stranger.get("/ops", headers=ada)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ops/sign-in")
    for header, says in (
        ([("X-Forwarded-User", "eve")], "eve has no role here"),
        ([("X-Forwarded-User", "eve"), ("X-Forwarded-User", "ada")], "it came more than once"),
    ):
        answer = await behind_proxy.http.get("/ops", headers=header, follow_redirects=True)
        assert says in answer.text
        assert "API key" in answer.text
        assert "Sign out" not in answer.text
    back = await behind_proxy.http.get("/ops/sign-in?next=/ops/audit", headers=ada)
    assert (back.status_code, back.headers["location"]) == (303, "/ops/audit")


# -- the inbox --------------------------------------------------------------------------


def _booking(number: int, email: str) -> bytes:
    said = {
        "sid": f"bk-{number}", "name": "Zoë <Quist>", "email": email, "status": "confirmed",
        "starts_at": "2026-12-03T13:00:00Z", "ends_at": "2026-12-03T13:30:00Z",
        "time_zone": "Europe/Berlin",
    }  # fmt: skip
    return json.dumps({"event": "booking_created", "booking": said}).encode()


async def _receive(browser: Browser, *emails: str) -> list[str]:
    bookings = browser.service.parts.bookings
    ids = []
    for number, email in enumerate(emails):
        body = _booking(number, email)
        signature = hmac.digest(HOOK_SECRET.encode(), body, "sha256").hex()
        ids.append(await bookings.receive("default", body, [f"sha256={signature}"]))
    await bookings.settle_due()
    return ids


async def test_an_event_shows_its_booker_to_who_asks_once_and_notes_it(
    behind_proxy: Browser,
) -> None:
    """Everybody sees the appointment; name and e-mail are in no page until an admin asks."""
    [event_id] = await _receive(behind_proxy, "zoe@quist.test")
    place, ada, vera = (
        f"/ops/inbox/{event_id}",
        *({"x-forwarded-user": name} for name in ("ada", "vera")),
    )
    for who in (ada, vera):
        page = (await behind_proxy.get(place, **who)).text
        assert "Thu 3 Dec 2026, 14:00 to 14:30 (Europe/Berlin)" in page
        assert "no text in the event is a slug of ours" in page
        assert "zoe@quist.test" not in page
        assert "Zoë" not in page
    shown = f"{place}/show-booker"
    token = Browser.token((await behind_proxy.get("/ops/find", **vera)).text)
    assert (await behind_proxy.post(shown, {"csrf": token}, **vera)).status_code == 403
    token = Browser.token((await behind_proxy.get(place, **ada)).text)
    page = (await behind_proxy.post(shown, {"csrf": token}, **ada)).text
    assert "Zoë &lt;Quist&gt;, zoe@quist.test" in page
    [entry] = await behind_proxy.ledger.audit.list(1)
    assert (entry.actor, entry.action) == ("proxy:ada", "show booker")
    assert entry.detail == {"event": event_id}
    page = (await behind_proxy.get(place, **ada)).text
    assert "show booker" in page
    assert "zoe@quist.test" not in page


async def test_the_inbox_is_searched_without_a_trace_in_the_address(
    behind_proxy: Browser,
) -> None:
    """By e-mail, booking and id; what was typed is in no address, and filters stay."""
    ada = {"x-forwarded-user": "ada"}
    first, second = await _receive(behind_proxy, "zoe@quist.test", "bo@else.test")
    token = Browser.token((await behind_proxy.get("/ops/inbox", **ada)).text)

    async def found(asked: str) -> tuple[str, set[str]]:
        fields = {"csrf": token, "asked": asked, "query": "within=week"}
        to = (await behind_proxy.post("/ops/inbox", fields, **ada)).headers["location"]
        page = (await behind_proxy.get(to, **ada)).text
        return to, {each for each in (first, second) if f"/ops/inbox/{each}" in page}

    for asked, events in (
        ("ZOE@quist.test", {first}), ("bk-1", {second}), (first, {first}), ("nobody@x.test", set()),
        ("nobody", set()),
    ):  # fmt: skip
        to, seen = await found(asked)
        assert seen == events, asked
        assert "within=week" in to
        assert "@" not in to
        assert "quist" not in to.lower()
    everything = (await behind_proxy.get("/ops/inbox?state=unmatched&within=hour", **ada)).text
    assert first in everything
    assert second in everything
    for nothing in ("state=dead", "meeting=shown", "event=other", "day=2020-01-01", "workspace=x"):
        assert first not in (await behind_proxy.get(f"/ops/inbox?{nothing}", **ada)).text, nothing


async def test_many_events_are_replayed_with_one_entry_in_the_audit(behind_proxy: Browser) -> None:
    """Those that were picked, or all that match and were there when the page was shown."""
    ada = {"x-forwarded-user": "ada"}
    ids = await _receive(behind_proxy, *(f"{number}@x.test" for number in range(3)))
    page = (await behind_proxy.get("/ops/inbox?state=unmatched", **ada)).text
    token, until = Browser.token(page), re.search(r'name="until" value="(\d+)"', page)
    assert until is not None
    assert '<span id="matching">3 events' in page
    form = {"csrf": token, "query": "state=unmatched", "until": until[1], "reason": "mended"}

    async def states() -> list[str]:
        kept = [await behind_proxy.ledger.inbox.get(each) for each in ids]
        return [each.state.value for each in kept if each is not None]

    async def sent(**fields: str) -> str:
        answer = await behind_proxy.post("/ops/inbox/replay", {**form, **fields}, **ada)
        assert answer.headers["location"] == "/ops/inbox?state=unmatched"
        return (await behind_proxy.get(answer.headers["location"], **ada)).text

    assert "choose events by the boxes" in await sent(which="picked")
    assert "Reason: fill this in" in await sent(which="all", reason="")
    assert await states() == ["unmatched"] * 3
    said = await sent(which="picked", **{f"pick-{each}": "1" for each in ids[:2]})
    assert "Replaying 2 events." in said
    assert await states() == ["pending", "pending", "unmatched"]
    await behind_proxy.service.parts.bookings.settle_due()
    [late] = await _receive(behind_proxy, "late@x.test")
    assert late not in ids
    assert "Replaying 3 events." in await sent(which="all")
    assert await states() == ["pending"] * 3
    assert (await behind_proxy.ledger.inbox.get(late)).state == "unmatched"  # type: ignore[union-attr]
    entries = await behind_proxy.ledger.audit.list(2)
    assert [each.detail["events"] for each in entries] == [3, 2]
    assert {each.reason for each in entries} == {"mended"}
    assert entries[0].detail["state"] == "unmatched"


async def test_a_notice_that_others_made_is_not_shown(browser: Browser) -> None:
    """Nobody else puts words on the page."""
    await browser.sign_in()
    browser.http.cookies.set("linkpool_ops_flash", "eyJraW5kIjoiZG9uZSJ9.0000", path="/ops")
    assert 'class="flash' not in (await browser.get("/ops")).text


# -- how it is sent ----------------------------------------------------------------------


async def test_every_page_forbids_what_is_not_its_own(browser: Browser) -> None:
    """No inline script or style, no other host, no frame, no keeping; errors are pages, too."""
    signed_out = await browser.get("/ops")
    await browser.sign_in()
    for page in (signed_out, await browser.get("/ops"), await browser.get("/ops/nowhere")):
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|<script>|\son\w+=|https?://", page.text)
    assert page.status_code == 404
    assert "Not found" in page.text


async def test_files_are_kept_until_they_change(browser: Browser) -> None:
    """Under the address of what they hold for good; under another not at all."""
    page = (await browser.get("/ops")).text
    found = re.findall(r"/ops/static/\w+/[\w.]+", page)
    assert {url.rsplit("/", 1)[1] for url in found} >= {"icon.svg", "ops.css", "ops.js"}
    for url in found:
        file = await browser.get(url)
        assert "immutable" in file.headers["cache-control"]
        again = await browser.get(url, **{"if-none-match": file.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        old = await browser.get(re.sub(r"static/\w+", "static/0", url))
        assert old.headers["cache-control"] == "no-cache"
    assert (await browser.http.get("/ops/static/0/secret.key")).status_code == 404


async def test_without_redis_the_page_says_so_and_nothing_it_cannot_know(
    browser: Browser, redis_server: RedisServer
) -> None:
    """The page comes back with Redis."""
    token = await browser.sign_in()
    paused = {"csrf": token, "reason": "was made before Redis went"}
    assert (await browser.post("/ops/meetings/shown/pause", paused)).status_code == 303
    redis_server.kill()
    try:
        await _read_anew(browser)
        page = (await browser.get("/ops")).text
        assert "Redis does not answer" in page
        assert "data-sid" not in page
        assert "running" not in page
        for path, heading in (
            ("/ops/meetings/shown", "shown"),
            ("/ops/meetings/shown?span=90days", "shown"),
            ("/ops/meetings/shown/drain", "shown"),
            ("/ops/history", "History"),
            ("/ops/history?span=90days", "History"),
        ):
            view = await browser.get(path)
            assert view.status_code == 503, path
            assert f"<h1>{heading}</h1>" in view.text, path
            assert 'aria-label="Main"' in view.text, path
            assert 'data-reload="redis"' in view.text, path
            assert "/ops/runbooks/LinkpoolRedisAway" in view.text, path
        known = (await browser.get("/ops/meetings/shown")).text
        assert "state unknown" in known
        assert "Minimum links kept ready" in known, "the ledger has the settings"
        assert "Oldest fresh link" not in known
        assert "was made before Redis went" in known
    finally:
        redis_server.start()
    async with asyncio.timeout(60):
        view = await browser.get("/ops/meetings/shown")
        while view.status_code != 200:
            await asyncio.sleep(0.2)
            view = await browser.get("/ops/meetings/shown")
    assert "data-reload" not in view.text


async def test_no_action_is_begun_while_the_ledger_is_locked(
    redis_server: RedisServer, sqlite_ledger: Ledger, sqlite_url: str, tmp_path: Path
) -> None:
    """Each is refused before a request's time is over, keeps what was typed, and leaves nothing."""
    path = sqlite_url.removeprefix("sqlite:///")
    async with opened(redis_server, sqlite_ledger, sqlite_url, tmp_path) as browser:
        form = {"csrf": await browser.sign_in(), "reason": "a leak"}
        key = {"label": "shop", "scope-read": "on"}
        actions: dict[str, dict[str, str]] = {
            "/ops/meetings/shown/pause": {},
            "/ops/meetings/shown/resume": {},
            "/ops/meetings/shown/top-up": {},
            "/ops/meetings/shown/drain": {"typed": "shown"},
            "/ops/several": {"act": "top-up", "sid": "shown"},
            "/ops/keys": key,
        }
        before = await sqlite_ledger.audit.list(99)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            answers = await asyncio.gather(
                *(browser.post(place, {**form, **fields}) for place, fields in actions.items())
            )
            assert time.monotonic() - began < REQUEST_SECONDS
            answer = await browser.http.post(
                "/v1/meetings/shown/pause", json={"reason": "x"}, headers={"x-api-key": ADMIN_KEY}
            )
            other.execute("ROLLBACK")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/ledger-unavailable")
        for place, answer in zip(actions, answers, strict=True):
            assert answer.status_code == 303, (place, answer.text)
            text, _, _ = answer.cookies["linkpool_ops_flash"].strip('"').partition(".")
            said = json.loads(base64.urlsafe_b64decode(text))
            assert (said["kind"], said["typed"]["reason"]) == ("failed", "a leak"), place
            assert "nothing was done" in said["text"], place
        # What waited for the lock has ended, and has changed nothing.
        done = await browser.post("/ops/meetings/hidden/pause", form)
        assert done.status_code == 303
        found = await sqlite_ledger.meetings.all()
        assert {each.sid for each in found if each.paused} == {"hidden"}
        assert len(await sqlite_ledger.audit.list(99)) == len(before) + 1
        assert len(await sqlite_ledger.keys.all()) == 0


async def _read_anew(browser: Browser) -> None:
    """Let the reading that others may have asked for grow old."""
    await asyncio.sleep(2.1)


# -- one reading for all -------------------------------------------------------------------


class CountingStore(Store):
    """Counts how often pools are looked at."""

    looks = 0

    async def look(self, sids):  # type: ignore[no-untyped-def]
        """Count this look, and look."""
        self.looks += 1
        return await super().look(sids)


@asynccontextmanager
async def reading(
    fake_redis: AnyRedis, ledger: Ledger, every_seconds: float
) -> AsyncIterator[tuple[Reader, CountingStore]]:
    """Return a reader of one meeting, and the store it reads."""
    store = CountingStore(fake_redis.bare, fake_redis.store.names)
    known_meetings = KnownMeetings(store, ledger)
    known_meetings.put(Meeting("shown"))
    reader = Reader(store, ledger, known_meetings, Settings(), every_seconds=every_seconds)
    try:
        yield reader, store
    finally:
        await reader.close()


async def test_ten_pages_cost_what_one_costs(fake_redis: AnyRedis, any_ledger: Ledger) -> None:
    """They get the same readings, which are made once."""
    async with reading(fake_redis, any_ledger, 0.05) as (reader, store):

        async def follow() -> list[int]:
            seen = []
            async for snapshot in reader.follow():
                seen.append(id(snapshot))
                if len(seen) == 4:
                    break
            return seen

        seen = await asyncio.gather(*(follow() for _ in range(10)))
        assert len({tuple(each) for each in seen}) == 1
        assert store.looks <= 5


async def test_pools_are_read_less_often_while_nobody_sees_a_page(
    fake_redis: AnyRedis, any_ledger: Ledger
) -> None:
    """A page that comes into sight is shown the present at once, and others go on resting."""
    async with reading(fake_redis, any_ledger, 0.02) as (reader, store):
        live = Live(reader, VitalsWatch(store, any_ledger, 5.0))
        hidden = live.follow(unseen=True)
        await anext(hidden)
        assert reader.rests_seconds == UNSEEN_SECONDS
        await asyncio.sleep(0.1)  # five times the pace of pages that are seen
        assert store.looks <= 2
        seen = live.follow()
        await anext(seen)
        assert reader.rests_seconds == 0.0
        await seen.aclose()
        assert reader.rests_seconds == UNSEEN_SECONDS
        await hidden.aclose()
        await live.close()


async def test_what_was_just_done_is_in_the_next_reading(
    fake_redis: AnyRedis, any_ledger: Ledger
) -> None:
    """Though of many pools a reading is good for seconds; else some would be left out."""
    async with reading(fake_redis, any_ledger, 60.0) as (reader, _):
        live = Live(reader, VitalsWatch(reader._store, any_ledger, 5.0))
        before = (await live.moment()).found
        reader._known_meetings.put(Meeting("shown", paused=True))
        assert (await live.moment()).found is before
        live.forget()
        [after] = (await live.moment()).found
        assert after.meeting.paused
        await live.close()


async def test_nothing_is_read_while_nobody_looks(fake_redis: AnyRedis, any_ledger: Ledger) -> None:
    """The reader stops with the last page, and goes on with the next."""
    async with reading(fake_redis, any_ledger, 0.02) as (reader, store):
        for _ in range(2):
            following = reader.follow()
            await anext(following)
            await following.aclose()
            before = -1
            async with asyncio.timeout(30):  # a reading that was due may still be made
                while store.looks != before:
                    before = store.looks
                    await asyncio.sleep(0.15)


async def test_a_stop_ends_every_stream_at_once(fake_redis: AnyRedis, any_ledger: Ledger) -> None:
    """A server that stops does not wait for open pages."""
    async with reading(fake_redis, any_ledger, 60.0) as (reader, _):
        following = reader.follow()
        await anext(following)
        waiting = asyncio.create_task(anext(following, None))
        await asyncio.sleep(0.01)
        reader.stop()
        assert await asyncio.wait_for(waiting, 30) is None


async def test_pages_that_show_the_same_are_sent_the_same_bytes(
    fake_redis: AnyRedis, any_ledger: Ledger
) -> None:
    """A page is sent only what changed since the last message."""
    async with reading(fake_redis, any_ledger, 60.0) as (reader, store):
        boards = Boards(Trends(store), 5.0)
        session = Session(Caller("k", frozenset({"read"}), None), "")
        snapshot = await reader.latest()
        first = await boards.board(snapshot, Selection(), session)
        again = await boards.board(snapshot, Selection(), session)
        assert first is again
        assert first.message_after(None) is again.message_after(None)
        assert b'"rows":{"shown"' in first.message_after(None)
        assert b'"rows":{}' in first.message_after(first)
        bound = Session(Caller("b", frozenset({"read"}), frozenset({"other"})), "")
        assert (await boards.board(snapshot, Selection(), bound)).rows == {}


async def test_a_form_with_too_many_fields_is_refused() -> None:
    """Typed, as all that callers send."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"a=1&" * 100, "more_body": False}

    with pytest.raises(InvalidRequest):
        await form_of(Request({"type": "http", "headers": []}, receive))  # type: ignore[arg-type]
