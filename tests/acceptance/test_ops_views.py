"""Test the views of the operators' page as a server renders them: what each key sees and may do,
and through which forms.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from product import Product, signed, wait_until

from pool.api.ops.routes import router

KINDS = {
    "read": ("--scope", "read"),
    "limited": ("--scope", "admin", "--meeting", "seen"),
    "elsewhere": ("--scope", "admin", "--meeting", "elsewhere"),
}
# Not actions: signing in and out, and finding, which anybody who reads may do.
SIGN_OUTS = {"/ops/sign-out", "/ops/sign-out-everywhere"}
NO_ACTIONS = {"/ops/sign-in", "/ops/find", "/ops/inbox", "/ops/theme"} | SIGN_OUTS
ACTIONS = sorted(
    context.path
    for included in router.routes
    for context in included.effective_route_contexts()
    if "POST" in context.methods and context.path not in NO_ACTIONS
)


class Visitor:
    """A signed-in visitor of the page who has no browser."""

    def __init__(self, product: Product, key: str) -> None:
        self.http = httpx.Client(base_url=product.url, timeout=20, trust_env=False)
        if key:
            answer = self.http.post("/ops/sign-in", data={"key": key})
            assert answer.status_code == 303, answer.text

    def page(self, path: str, status: int = 200) -> str:
        """Return a page, which must be answered with this status."""
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def csrf(self) -> str:
        """Return the token that this session's forms carry."""
        found = re.search(r'name="csrf" value="(\w+)"', self.page("/ops/find"))
        assert found
        return found[1]

    def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as the page does."""
        return self.http.post(path, data={"csrf": self.csrf(), **fields})

    def told(self, path: str, **fields: str) -> str:
        """Return the message that the page shows after a form was sent."""
        answer = self.post(path, **fields)
        assert answer.status_code == 303, answer.text
        found = re.search(
            r'<p class="flash.*?<span>(.*?)</span>', self.page(answer.headers["location"])
        )
        assert found
        return found[1]


Visit = Callable[[str], Visitor]


@pytest.fixture(scope="module")
def visit(shared: Product) -> Iterator[Visit]:
    """Return signed-in visitors by the kind of their key: admin, one of KINDS, or none."""
    made = dict(zip(KINDS, shared.new_keys(*KINDS.values()), strict=True))
    keys = {"admin": shared.key, "none": "", **made}
    opened: dict[str, Visitor] = {}

    def get(kind: str) -> Visitor:
        if kind not in opened:
            opened[kind] = Visitor(shared, keys[kind])
        return opened[kind]

    yield get
    for visitor in opened.values():
        visitor.http.close()


@pytest.fixture(scope="module")
def stock(shared: Product) -> dict[str, str]:
    """Make two meetings, a claim of each, and an event of each that matched nothing."""
    names = {"sid": "seen", "key_id": "00000000", "public_key": "pk_of_nobody"}
    names["workspace"] = "default"
    for sid in ("seen", "unseen"):
        shared.put(sid, min_fresh=3, cover_seconds=0)
        names[f"slug-{sid}"] = shared.slug(sid, f"{sid}-customer")
        names[f"event-{sid}"] = stranger(shared, sid)
        wait_until(lambda sid=sid: shared.link(names[f"slug-{sid}"]).get("customer_id"), 10)
    return names | {"event_id": names["event-seen"]}


def stranger(product: Product, sid: str, booking: str = "") -> str:
    """Send a booking that matches no link. Return its event, once it was processed."""
    said = {"sid": booking or f"bk-{sid}", "email": "nobody@x.test", "meeting": {"sid": sid}}
    body = json.dumps({"event": "booking_created", "booking": said}).encode()
    answer = product.api(
        "POST", "/v1/webhooks/default", key="", content=body, headers=signed(product, body)
    )
    event_id: str = answer.json()["event_id"]
    wait_until(lambda: event_of(product, event_id)["state"] == "unmatched", 10)
    return event_id


def event_of(product: Product, event_id: str) -> dict[str, object]:
    """Return an event of the inbox."""
    events = product.api("GET", "/v1/events", params={"limit": 1000}).json()["events"]
    return next(each for each in events if each["id"] == event_id)


def acts(product: Product) -> int:
    """Return the number of entries in the audit log."""
    return int(product.rows("SELECT count(*) FROM audit")[0][0])


def address(path: str, names: dict[str, str]) -> str:
    """Return an action's address, about things that exist."""
    return path.format(slug=names["slug-seen"], **names)


def test_there_are_actions() -> None:
    """The tests below have actions to try."""
    assert len(ACTIONS) >= 9


@pytest.mark.parametrize("path", ACTIONS)
def test_no_action_without_an_admins_own_form(
    product: Product, visit: Visit, stock: dict[str, str], path: str
) -> None:
    """An action is refused without a sign-in, for readers and other meetings' admins, and without
    the session's own token.
    """
    url, before = address(path, stock), acts(product)
    fields = {"reason": "no", "typed": stock["sid"], "slug": stock["slug-seen"]}
    refused = visit("none").http.post(url, data=fields)
    assert (refused.status_code, refused.headers["location"]) == (303, "/ops/sign-in")
    for kind in ("read", "elsewhere"):
        assert visit(kind).post(url, **fields).status_code == 403
    admin = visit("admin")
    for token in ("", "0" * 64, visit("read").csrf()):
        assert admin.http.post(url, data={"csrf": token, **fields}).status_code == 403
    foreign = {"sec-fetch-site": "cross-site"}
    data = {"csrf": admin.csrf(), **fields}
    assert admin.http.post(url, data=data, headers=foreign).status_code == 403
    assert acts(product) == before


@pytest.mark.parametrize(
    "path",
    ["/ops", "/ops/workspaces/default", "/ops/runbooks/LinkpoolDown", "/ops/runbooks",
     "/ops/find", "/ops/history", "/ops/add", "/ops/history.csv", "/ops/inbox",
     "/ops/audit", "/ops/keys", "/ops/palette.json", "/ops/meetings/seen",
     "/ops/meetings/seen/drain", "/ops/links/{slug-seen}", "/ops/inbox/{event-seen}"],
)  # fmt: skip
def test_nothing_is_seen_without_signing_in(visit: Visit, stock: dict[str, str], path: str) -> None:
    """Every page redirects to the sign-in."""
    answer = visit("none").http.get(address(path, stock))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/ops/sign-in")


def test_a_read_only_key_sees_no_action(visit: Visit, stock: dict[str, str]) -> None:
    """It sees no form but those to sign out and to find, and no link to the drain or the keys."""
    reader = visit("read")
    for path in ("/ops/meetings/seen", "/ops/inbox/{event-seen}", "/ops/audit", "/ops/inbox"):
        page = reader.page(address(path, stock))
        forms = set(re.findall(r'<form method="post" action="([^"]+)"', page))
        assert forms - {"/ops/inbox", "/ops/theme"} == SIGN_OUTS  # what changes nothing
        assert "/drain" not in page
        assert "/ops/keys" not in page
    # What a booking says of its customer is for those who may assign it.
    assert "nobody@x.test" not in reader.page(address("/ops/inbox/{event-seen}", stock))
    place, admin = address("/ops/inbox/{event-seen}", stock), visit("admin")
    assert "nobody@x.test" not in admin.page(place)
    assert "nobody@x.test" in admin.post(f"{place}/show-booker").text
    for path in ("/ops/keys", "/ops/meetings/seen/drain"):
        reader.page(path, 403)


def test_a_limited_key_sees_its_own_meeting_everywhere(
    product: Product, visit: Visit, stock: dict[str, str]
) -> None:
    """Find, links, inbox, audit and the meeting show nothing of other meetings."""
    limited = visit("limited")
    for sid in ("seen", "unseen"):
        visit("admin").told(f"/ops/meetings/{sid}/top-up", reason=f"reason-{sid}")
    assert stock["slug-seen"] in limited.post("/ops/find", asked="seen-customer").text
    hidden = limited.post("/ops/find", asked="unseen-customer").text
    # Found again by their slugs, by who comes back to them.
    both = f"/ops/find?of={stock['slug-seen']},{stock['slug-unseen']},nonsense"
    assert f'data-again="/ops/find?of={stock["slug-seen"]}"' in limited.page(both)
    assert "1 link found" in limited.page(both)
    assert "2 links found" in visit("admin").page(both)
    assert "Nothing found" in hidden
    assert stock["slug-unseen"] not in hidden
    assert "Nothing found" in limited.post("/ops/find", asked=stock["slug-unseen"]).text
    assert "Nothing found" in limited.post("/ops/find", asked="bk-unseen").text
    for path, mine, others in (
        ("/ops/audit", "reason-seen", "reason-unseen"),
        ("/ops/inbox", stock["event-seen"], stock["event-unseen"]),
    ):
        page = limited.page(path)
        assert mine in page
        assert others not in page
    assert "reason-unseen" not in limited.page("/ops/audit?meeting=unseen")
    for path in ("/ops/links/{slug-unseen}", "/ops/inbox/{event-unseen}", "/ops/meetings/unseen",
                 "/ops/meetings/unseen/drain", "/ops/keys"):  # fmt: skip
        limited.page(address(path, stock), 403)
    # It acts on its meeting, but not on events: they may turn out to be about any.
    assert limited.told("/ops/meetings/seen/pause", reason="mine").startswith("Paused")
    assert limited.told("/ops/meetings/seen/resume", reason="mine").startswith("Resumed")
    assert limited.post(f"/ops/inbox/{stock['event-seen']}/replay").status_code == 403


def test_an_action_wants_a_reason(product: Product, visit: Visit, stock: dict[str, str]) -> None:
    """Without a reason nothing is done; with one it stands in the audit log beside the key's id."""
    admin = visit("admin")
    assert "Reason: fill this in" in admin.told("/ops/meetings/seen/pause")
    assert product.meeting("seen")["state"] != "paused"
    admin.told("/ops/meetings/seen/pause", reason="wrong calendar <&>")
    assert product.meeting("seen")["state"] == "paused"
    page = admin.page("/ops/audit?meeting=seen&actor=admin")
    assert "wrong calendar &lt;&amp;&gt;" in page
    admin.told("/ops/meetings/seen/resume", reason="right again")
    assert product.meeting("seen")["state"] != "paused"


def test_a_drain_wants_the_sid_typed(product: Product, visit: Visit) -> None:
    """The server compares the typed SID, and the page shows beforehand how many links go."""
    product.put("drained", min_fresh=4, cover_seconds=0)
    admin = visit("admin")
    admin.told("/ops/meetings/drained/pause", reason="before a drain")
    assert "4 fresh links" in admin.page("/ops/meetings/drained/drain")
    for typed in ("", "Drained", "drained2", "seen"):
        said = admin.told("/ops/meetings/drained/drain", typed=typed, reason="why")
        assert "not the SID" in said
    assert product.meeting("drained")["fresh"] == 4
    said = admin.told("/ops/meetings/drained/drain", typed=" drained ", reason="wrong duration")
    assert said == "Drained: 4 links retired."
    assert product.meeting("drained")["fresh"] == 0
    assert "Nothing to drain" in admin.page("/ops/meetings/drained/drain")


def test_a_meeting_is_added_from_the_providers_list(product: Product, visit: Visit) -> None:
    """Meetings that have a pool are not offered again, and cannot be added twice."""
    admin = visit("admin")
    page = admin.page("/ops/add")
    assert "Add a meeting" in page
    assert 'name="sid" value="seen"' not in page
    said = admin.told("/ops/add", sid="added-here", workspace="default", reason="a campaign")
    assert said.startswith("Added.")
    assert product.meeting("added-here")["target"] == 50
    assert "has a pool already" in admin.told("/ops/add", sid="added-here", workspace="default")
    assert "a meeting" in admin.told("/ops/add", sid="no/sid", workspace="default")
    visit("read").page("/ops/add", 403)


def test_settings_are_changed_and_checked(product: Product, visit: Visit) -> None:
    """Invalid values are named and nothing is saved; unchanged values are not in the audit log."""
    product.put("set", min_fresh=2, cover_seconds=0)
    admin = visit("admin")
    url = "/ops/meetings/set/settings"
    for fields, said in (
        ({"min_fresh": "many"}, "Minimum: enter a whole number of links"),
        ({"min_fresh": "9", "max_fresh": "3"}, "max_fresh: 3 is below min_fresh (9)"),
        ({"cover_seconds": "90000"}, "Cover: "),
        ({"fallback_url": "javascript:alert(1)"}, "fallback_url: must be"),
        ({"on_empty": "explode"}, "When empty: "),
    ):
        assert said in admin.told(url, reason="why", **fields), fields
    assert product.meeting("set")["min_fresh"] == 2
    said = admin.told(url, reason="campaign", min_fresh="3", max_fresh="2000", target="auto")
    assert said == "Saved: Minimum, Target. Changes apply within seconds."
    assert product.meeting("set")["min_fresh"] == 3
    assert product.meeting("set")["target_mode"] == "auto"
    [[detail]] = product.rows("SELECT detail FROM audit WHERE reason = 'campaign'")
    assert json.loads(detail) == {"min_fresh": 3, "target_mode": "auto"}


def test_what_is_wrong_with_a_setting_stands_beside_it_and_a_change_is_undone(
    product: Product, visit: Visit
) -> None:
    """Typed values are kept, lengths of time are shown in words, and one click undoes the
    change.
    """
    product.put("undone", min_fresh=2, cover_seconds=0)
    admin, url = visit("admin"), "/ops/meetings/undone/settings"
    answer = admin.post(url, reason="why", min_fresh="many", cover_seconds="2 weeks")
    page = admin.page(answer.headers["location"])
    for field, typed, said in (
        ("min_fresh", "many", "Enter a whole number of links."),
        ("cover_seconds", "2 weeks", "At most 1 day."),
    ):
        assert f'value="{typed}"' in page
        assert f'<p class="problem" id="e-{field}">{said}</p>' in page
    assert admin.told(url, reason="campaign", cover_seconds="2 min", min_fresh="3").startswith(
        "Saved: Cover, Minimum."
    )
    page = admin.page("/ops/meetings/undone")
    assert "Minimum 2 links → 3 links, Cover 0 s → 2 min" in re.sub(r"\s+", " ", page)
    # Somebody who opened the page before does not take that change back by changing another.
    old = {"was-min_fresh": "2", "was-cover_seconds": "0 s", "cover_seconds": "0 s"}
    said = admin.told(url, reason="late", min_fresh="9", **old)
    assert "Minimum: somebody changed it to 3 links since you opened this page" in said
    assert admin.told(url, reason="late", min_fresh="2", **old).startswith("Nothing was changed")
    assert 'name="was-min_fresh" value="3"' in admin.page("/ops/meetings/undone")
    assert "Nobody claims now, so 3 links are kept ready." in page
    assert '<td class="value">2 min</td>' in page
    entry = re.search(r'name="entry" value="(\d+)"', page)
    assert entry
    assert admin.told(f"{url}/undo", entry=entry[1]).startswith("Undone: Cover, Minimum.")
    meeting = product.meeting("undone")
    assert (meeting["min_fresh"], meeting["cover_seconds"]) == (2, 0)
    assert "were changed since" in admin.told(f"{url}/undo", entry=entry[1])
    assert "names no change" in admin.told(f"{url}/undo", entry="x")
    said = admin.page(f"{url}/meaning?min_fresh=0&max_fresh=odd")
    assert "With a minimum of 0" in said
    assert "Maximum: enter a whole number of links." in said
    assert "<html" not in said


def test_several_pools_are_acted_on_with_one_reason(product: Product, visit: Visit) -> None:
    """Pausing more than one is confirmed first, and the message names the outcome for each."""
    for sid in ("several-1", "several-2", "several-3"):
        product.put(sid, fill=False, min_fresh=1, cover_seconds=0)
    admin = visit("admin")
    wait_until(lambda: "several-3" in admin.page("/ops?q=several"), 10)

    def post(**fields: object) -> httpx.Response:
        data = {
            "csrf": admin.csrf(),
            "selection": "/ops?q=several",
            "reason": "as a trial",
            **fields,
        }
        return admin.http.post("/ops/several", data=data)

    def flash(answer: httpx.Response) -> str:
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].endswith("/ops?q=several")
        found = re.search(
            r'<p class="flash.*?<span>(.*?)</span>', admin.page(answer.headers["location"])
        )
        assert found
        return found[1]

    assert "choose at least one pool" in flash(post(act="pause"))
    assert "choose what to do" in flash(post(act="drain", scope="matching"))
    asked = post(act="pause", scope="matching")
    assert "Pause 3 pools?" in asked.text
    assert all(product.meeting(f"several-{number}")["state"] != "paused" for number in (1, 2, 3))
    stale = post(act="pause", scope="matching", confirmed="0" * 16)
    assert "Other pools match by now" in stale.text
    confirmed = re.search(r'name="confirmed" value="(\w+)"', asked.text)
    assert confirmed
    said = flash(post(act="pause", scope="matching", confirmed=confirmed[1]))
    assert said == "Paused 3 pools: several-1, several-2, several-3." or all(
        f"several-{number}" in said for number in (1, 2, 3)
    )
    assert all(product.meeting(f"several-{number}")["state"] == "paused" for number in (1, 2, 3))
    entries = product.rows(
        "SELECT meeting_sid, action FROM audit WHERE reason = 'as a trial' ORDER BY meeting_sid"
    )
    assert entries == [(f"several-{number}", "pause") for number in (1, 2, 3)]
    said = flash(post(act="resume", scope="chosen", sid=["several-1", "nowhere"]))
    assert "Resumed 1 pool: several-1." in said
    assert "nowhere (there is no meeting nowhere" in said
    limited = visit("limited")
    data = {"csrf": limited.csrf(), "act": "resume", "reason": "x", "sid": ["seen", "several-2"]}
    assert limited.http.post("/ops/several", data=data).status_code == 403


def test_the_provider_is_tried_and_its_answer_said(product: Product, visit: Visit) -> None:
    """A meeting is tried by a link that enters its pool, a workspace by its list; both are
    audited.
    """
    product.put("tried", min_fresh=1, cover_seconds=0)
    admin = visit("admin")
    before = product.meeting("tried")["fresh"]
    said = admin.told("/ops/meetings/tried/try")
    assert "It made a link " in said
    assert product.meeting("tried")["fresh"] == before + 1
    with product.turned(fail_status=503, fail_meeting="tried"):
        assert "503" in admin.told("/ops/meetings/tried/try")
    assert "accepts the key" in admin.told("/ops/workspaces/default/try")
    assert "Back to the pools" in admin.page("/ops/workspaces/none", 404)
    tries = "SELECT meeting_sid, detail FROM audit WHERE action = 'try'"
    # Other tests on this product try, too.
    actions = product.rows(f"{tries} AND coalesce(meeting_sid, 'tried') = 'tried' ORDER BY id")
    assert [sid for sid, _ in actions] == ["tried", "tried", None]
    assert "503" in actions[1][1]
    page = admin.page("/ops/runbooks/linkpoolmeetingblocked")
    assert "linkpool meetings resume SID" in page
    assert "Back to the pools" in admin.page("/ops/runbooks/nothing", 404)


def test_a_key_is_shown_once_and_revoked(product: Product, visit: Visit) -> None:
    """Only the answer that made the key shows it, and once revoked it is refused."""
    admin = visit("admin")
    assert "choose what the key may do" in admin.told("/ops/keys", label="Shop")
    wrong = {"label": "Shop", "scope-claim": "1", "meetings": "seen, no such"}
    wrong |= {"meetings": "seen, a/b", "networks": "10.0.0.0/8", "expires-in-days": "30"}
    answer = admin.post("/ops/keys", **wrong | {"scope-claim": "", "scope-read": "1"})
    assert answer.headers["location"] == "/ops/keys#new"
    page = admin.page("/ops/keys")  # nothing that was typed is lost
    assert "No key was created: a/b is not a SID" in page.partition('id="new"')[2]
    for value in ("Shop", "seen, a/b", "10.0.0.0/8", "30"):
        assert f'value="{value}"' in page
    assert [f'name="scope-{each}" value="1" checked' in page for each in ("claim", "read")] == [
        False, True,
    ]  # fmt: skip
    assert 'value="Shop"' not in admin.page("/ops/keys")
    fields = {"label": "Shop", "scope-claim": "1", "scope-read": "1", "meetings": "seen unseen"}
    answer = admin.post("/ops/keys", **fields)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = re.search(r"lp_([0-9a-f]{8})_[\w-]{32,}", answer.text)
    assert found
    key, key_id = found[0], found[1]
    assert key not in admin.page("/ops/keys")
    assert f"lp_{key_id}_" in admin.page("/ops/keys")
    wait_until(lambda: product.api("GET", "/v1/meetings", key=key).status_code == 200, 10)
    listed = product.api("GET", "/v1/meetings", key=key).json()["meetings"]
    assert {each["sid"] for each in listed} <= {"seen", "unseen"}
    said = admin.told(f"/ops/keys/{key_id}/revoke", reason="its owner left")
    assert said.startswith(f"Revoked {key_id}")
    assert "no live key" in admin.told(f"/ops/keys/{key_id}/revoke", reason="again")
    wait_until(lambda: product.api("GET", "/v1/meetings", key=key).status_code == 401, 10)


def test_a_public_key_is_made_and_revoked_on_the_page(
    product: Product, visit: Visit, stock: dict[str, str]
) -> None:
    """All who see the meeting see the key, and only the meeting's admins can change it."""
    admin, url = visit("admin"), "/ops/meetings/seen/public-keys"
    assert "is not an origin" in admin.told(url, origins="https://www.example.com/")
    assert "Origins: fill this in" in admin.told(url, origins=" ")
    admin.post(url, origins="https://a.example/", label="landing page")
    page = admin.page("/ops/meetings/seen")
    assert '<details class="edit" open>' in page
    assert 'value="https://a.example/"' in page
    assert 'value="landing page"' in page
    origins = "https://www.example.com  http://localhost:3000"
    said = admin.told(url, origins=origins, label="<b>landing</b>")
    key = said.removeprefix("Made ").partition(".")[0]
    for kind in ("admin", "read"):
        page = visit(kind).page("/ops/meetings/seen")
        assert key in page
        assert "http://localhost:3000" in page
        assert "&lt;b&gt;landing&lt;/b&gt;" in page
        assert (f"{key}/revoke" in page) == (kind == "admin")
    headers = {"Origin": "http://localhost:3000"}

    def claimed() -> int:
        body = {"public_key": key}
        answer = product.api("POST", "/v1/embed/claims", key="", json=body, headers=headers)
        return answer.status_code

    assert claimed() in (201, 503)
    assert "no such public key" in admin.told(
        f"/ops/meetings/unseen/public-keys/{key}/revoke", reason="not its meeting"
    )
    assert admin.told(f"{url}/{key}/revoke", reason="the page is gone").startswith("Revoked")
    assert claimed() == 401
    assert key not in admin.page("/ops/meetings/seen").partition("Latest actions")[0]


def test_an_event_is_assigned_by_api_and_command_line(product: Product, visit: Visit) -> None:
    """Both assign it to the link, report the outcome, and may be repeated."""
    product.put("phoned", min_fresh=3, cover_seconds=0)
    slugs = [product.slug("phoned", f"caller-{number}") for number in range(2)]
    events = [stranger(product, "phoned", f"bk-phoned-{number}") for number in range(2)]
    path = f"/v1/events/{events[0]}/assign"
    for _ in range(2):
        answer = product.api("POST", path, json={"slug": slugs[0], "reason": "by phone"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["event"]["state"] == "settled"
        assert answer.json()["event"]["match"] == "assigned"
    assert product.link(slugs[0])["state"] == "consumed"
    taken = product.api("POST", path, json={"slug": slugs[1]})
    assert (taken.status_code, taken.json()["type"]) == (409, "/problems/not-assignable")
    for wrong in ({"slug": "one-off-000000000000"}, {"slug": "../x"}, {}):
        assert product.api("POST", path, json=wrong).status_code in (404, 422)
    done = product.command("events", "assign", events[1], slugs[1], "--reason", "by phone")
    assert (done.returncode, done.stdout) == (0, f"{events[1]} is settled\n")
    done = product.command("events", "assign", events[1], slugs[0])
    assert done.returncode == 2
    assert "another booking" in done.stderr
    page = visit("admin").post("/ops/find", asked="caller-0").text
    assert "Event assigned to this link: by phone" in page
    assert product.rows(
        "SELECT count(*) FROM audit WHERE action = 'assign' AND meeting_sid = 'phoned'"
    ) == [(2,)]


def test_pages_that_lead_nowhere_say_so(visit: Visit) -> None:
    """The error is shown within the frame, with the right status."""
    admin = visit("admin")
    for path in ("/ops/meetings/nothing", "/ops/links/one-off-nothing", "/ops/inbox/nothing"):
        assert "Back to the pools" in admin.page(path, 404)
    assert "Back to the pools" in admin.page("/ops/inbox?state=odd", 422)
    assert "Back to the pools" in admin.page("/ops/audit?before=0", 422)


def test_what_customers_send_is_text_on_every_page(product: Product, visit: Visit) -> None:
    """Markup in a customer id, a reason or an event's name is shown as text."""
    product.put("hostile", min_fresh=2, cover_seconds=0)
    evil = "<img src=x onerror=alert(1)>"
    slug = product.slug("hostile", evil)
    body = json.dumps({"event": f"booking_created{evil}", "booking": {"sid": evil}}).encode()
    answer = product.api(
        "POST", "/v1/webhooks/default", key="", content=body, headers=signed(product, body)
    )
    event_id = answer.json()["event_id"]
    admin = visit("admin")
    admin.told("/ops/meetings/hostile/pause", reason=evil)
    wait_until(lambda: product.link(slug).get("customer_id"), 10)
    for page in (
        admin.post("/ops/find", asked=evil).text,
        admin.page(f"/ops/links/{slug}"),
        admin.page("/ops/meetings/hostile"),
        admin.page("/ops/audit"),
        admin.page("/ops/inbox"),
        admin.page(f"/ops/inbox/{event_id}"),
    ):
        assert "&lt;img src=x" in page
        assert "<img" not in page
