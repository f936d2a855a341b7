"""Test the inbox on the page, and people whom a proxy signs in."""

from __future__ import annotations

import hmac
import json
import re

import httpx

from tests.integration.ops_stage import (
    ACTED,
    HOOK_SECRET,
    Browser,
    open_behind_proxy,  # noqa: F401 - fixtures
)

# -- people whom a proxy signs in ----------------------------------------------------


async def test_a_proxy_signs_people_in_and_the_audit_names_them(behind_proxy: Browser) -> None:
    """Viewers read, operators act and admins manage keys; a form still needs its token."""
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
    """A header of a stranger, a name without a role and a name given twice lead to the sign-in."""
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


# -- the inbox -----------------------------------------------------------------------


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
    """Everybody sees the appointment; no page has name and e-mail until an admin asks for them."""
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
    """E-mail, booking and id are searched without standing in an address, and filters stay."""
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
    """They are the picked ones, or all that match and existed when the page was shown."""
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
