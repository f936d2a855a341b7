"""Test the server's side of the page: who gets in, what a form must prove, and how it is sent."""

from __future__ import annotations

import asyncio
import html
import re
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import Response
from structlog.testing import capture_logs

from pool.access.api_keys import Caller, KeyRing, make_key
from pool.access.doors import SIGN_INS
from pool.api.ops.charts.windows import BY_NAME
from pool.api.ops.frame.routing import views
from pool.api.ops.live.watched import board_of
from pool.api.ops.session.endings import Endings
from pool.api.ops.session.sessions import COOKIE, Session, Sessions
from pool.errors import Unauthorized
from pool.ledger import EventState, NewEvent
from pool.ledger.hours import Hour
from pool.model.incidents import Incident, What
from pool.model.outcomes import Outcomes
from pool.operations.vitals import Trouble, Vitals
from pool.store.records import Block
from tests.integration.ops_stage import (  # noqa: F401 - fixtures
    ACTED,
    ADMIN_KEY,
    Browser,
    open_behind_proxy,
    open_browser,
    opened,
)

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
    """An address that was tampered with cannot lead to another site after signing in."""
    signed = await browser.post("/ops/sign-in", {"key": ADMIN_KEY, "next": place})
    assert signed.headers["location"] == "/ops"


async def test_a_key_that_may_only_claim_does_not_get_in(browser: Browser) -> None:
    """Such keys stand in the configuration of sites, and are not for the page."""
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
    """The session ends although nobody signs out."""
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
    """A copied cookie is refused too, and "everywhere" ends each of the key's sessions."""
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
    """They are counted and refused before the key is checked; other addresses can sign in."""
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
    """The proxy on this machine is trusted, and the session works over HTTPS alone."""
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
    """That holds for a claim, another call, and the page."""
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
    """Addresses contain slugs."""
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


# -- what a form must prove ----------------------------------------------------------


async def test_a_form_of_the_session_acts_and_says_so_once(browser: Browser) -> None:
    """The notice is on the next page, and not on the one after it."""
    token = await browser.sign_in()
    answer = await browser.post("/ops/tests/act", {"csrf": token, "reason": "<b>lunch</b>"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ops")
    assert ACTED == ["<b>lunch</b>"]
    assert "Done because of &lt;b&gt;lunch&lt;/b&gt;." in (await browser.get("/ops")).text
    assert "Done because of" not in (await browser.get("/ops")).text


async def test_what_was_typed_is_filled_in_again_where_it_failed(browser: Browser) -> None:
    """The reason is included, and the message stands in the open section of the form."""
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
    """The frame of every view has both, whatever the view shows."""
    await browser.sign_in()
    for path in ("/ops", "/ops/meetings/shown", "/ops/inbox", "/ops/history", "/ops/keys"):
        page = (await browser.get(path)).text
        assert 'data-stream="/ops/stream' in page, path
        assert 'id="banner"' in page, path
    vitals = browser.application.framework.state.ops.live._vitals

    async def look_no_more() -> None:
        """Leave the known state unchanged."""

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
    """It exists for one meeting and for all; a key of some meetings sees its own incidents only."""
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
    """A page that was opened before gets new incidents and the visitors since then."""
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
    """It has no token, one of another session, or was sent by another site."""
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
    """It is on the same page after signing in, unless another site sent the form."""
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
    """The answer is a page with the status of that error."""
    token = await browser.sign_in()
    answer = await browser.post("/ops/tests/act", {"csrf": token, "reason": reason})
    assert answer.status_code == 422
    assert says in answer.text
    assert answer.headers["content-type"].startswith("text/html")


async def test_all_dead_events_are_replayed_with_one_click(browser: Browser) -> None:
    """Users who may act see the button while there are any, and the API can do the same."""
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


async def test_a_notice_that_others_made_is_not_shown(browser: Browser) -> None:
    """Only the server can put a message on the page."""
    await browser.sign_in()
    browser.http.cookies.set("linkpool_ops_flash", "eyJraW5kIjoiZG9uZSJ9.0000", path="/ops")
    assert 'class="flash' not in (await browser.get("/ops")).text


# -- how it is sent ------------------------------------------------------------------


async def test_every_page_forbids_what_is_not_its_own(browser: Browser) -> None:
    """Pages, errors too, have no inline script or style, no other host, no frame, and are not
    cached.
    """
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
    """The address with the file's hash is cached for ever, and another one is not cached."""
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
