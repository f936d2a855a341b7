"""Test the Python clients against a server that answers by a script."""

from __future__ import annotations

import inspect
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import linkpool_client as lp
import pytest

from tests.clients.either_client import KEY, KINDS, NewClient
from tests.clients.scripted_linkpool import (
    CLAIM,
    CLAIMED,
    DROP,
    HANG,
    Answer,
    Asked,
    ScriptedLinkpool,
    problem,
)

# The contract's table of errors, and what else a client meets.
PROBLEMS = {
    "malformed-json": (400, lp.MalformedJson),
    "unauthorized": (401, lp.Unauthorized),
    "bad-signature": (401, lp.BadSignature),
    "forbidden": (403, lp.Forbidden),
    "not-found": (404, lp.Unknown),
    "unknown-meeting": (404, lp.UnknownMeeting),
    "unknown-claim": (404, lp.UnknownClaim),
    "unknown-link": (404, lp.UnknownLink),
    "unknown-workspace": (404, lp.UnknownWorkspace),
    "not-replaceable": (409, lp.NotReplaceable),
    "too-large": (413, lp.TooLarge),
    "invalid-customer-id": (422, lp.InvalidCustomerId),
    "invalid-request": (422, lp.InvalidRequest),
    "rate-limited": (429, lp.RateLimited),
    "internal-error": (500, lp.InternalError),
    "provider-failed": (502, lp.ProviderFailed),
    "pool-empty": (503, lp.PoolEmpty),
    "pool-paused": (503, lp.PoolPaused),
    "recovering": (503, lp.Recovering),
    "store-unavailable": (503, lp.StoreUnavailable),
    "ledger-unavailable": (503, lp.LedgerUnavailable),
    "still-erasing": (503, lp.StillErasing),
    "too-many-connections": (503, lp.TooManyConnections),
}


@pytest.fixture(params=sorted(KINDS))
def new_client(request: pytest.FixtureRequest) -> Iterator[NewClient]:
    """Make a client of either kind."""
    made = []

    def new(server: ScriptedLinkpool, **options: object) -> object:
        made.append(KINDS[request.param](server.url, KEY, **options))
        return made[-1]

    yield new
    for each in made:
        each.close()


def test_a_claim_is_one_request_with_the_key_and_what_was_given(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The body has the given values and nothing else, and the answer is read into values."""
    client = new_client(scripted)
    claimed = client.claim("demo", "order-1", email="zoe@example.com", metadata={"plan": "a"})
    client.claim("demo", "order-1")
    first, second = scripted.asked
    assert (first.method, first.target) == ("POST", "/v1/meetings/demo/claims")
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.body == {
        "customer_id": "order-1",
        "email": "zoe@example.com",
        "metadata": {"plan": "a"},
    }
    assert second.body == {"customer_id": "order-1"}
    assert claimed.claim.slug == "one-off-1"
    assert claimed.claim.claimed_at.isoformat() == "2026-11-22T06:00:00+00:00"
    assert not claimed.claim.booked
    assert claimed.embed["organization"] == "acme"
    assert claimed.embed_html is None


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_has_a_class_of_its_own(
    name: str, scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The name decides the class; the fields come from the document and its headers."""
    status, kind = PROBLEMS[name]
    scripted.script = [problem(name, status, "7", errors=["email: too long"])]
    with pytest.raises(lp.Problem) as raised:
        new_client(scripted).claim("demo", "order-1")
    error = raised.value
    assert type(error) is kind
    assert (error.name, error.status, error.detail) == (name, status, "because")
    assert error.errors == ("email: too long",)
    assert (error.retry_after_seconds, error.request_id) == (7.0, "req-1")
    assert isinstance(error, lp.Unavailable) == (status == 503)
    assert isinstance(error, lp.Unknown) == (status == 404)
    assert "because" in str(error)


def test_a_problem_of_an_unknown_name_is_a_problem_still(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """A problem type of a later linkpool is raised as the base class, under its name."""
    scripted.script = [problem("too-early", 425)]
    with pytest.raises(lp.Problem) as raised:
        new_client(scripted).claim("demo", "order-1")
    assert type(raised.value) is lp.Problem
    assert raised.value.name == "too-early"


def test_a_fallback_url_comes_with_the_error(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """A page can show the meeting's plain link."""
    plain = "https://acme.neetocal.com/intro"
    scripted.script = [problem("pool-empty", 503, "30", fallback_url=plain)]
    with pytest.raises(lp.PoolEmpty) as raised:
        new_client(scripted).claim("demo", "order-1")
    assert raised.value.fallback_url == plain


def test_retry_after_is_waited_for(scripted: ScriptedLinkpool, new_client: NewClient) -> None:
    """A refusal that passes is not seen; the next request comes no sooner than it may."""
    scripted.script = [problem("recovering", 503, "1"), Answer(201, CLAIMED)]
    assert new_client(scripted).claim("demo", "order-1").claim.slug == "one-off-1"
    first, second = scripted.asked
    assert 1.0 <= second.at - first.at < 3.0


@pytest.mark.parametrize("zone", ["GMT", ""])
def test_retry_after_may_be_a_date(
    zone: str, scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """A date in an hour counts as 3,600 seconds, and a past one as no wait."""
    for minutes, least, most in ((60, 3590, 3600), (-60, 0, 0)):
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        said = f"{at:%a, %d %b %Y %H:%M:%S} {zone}".strip()
        scripted.script = [problem("pool-paused", 503, said)]
        with pytest.raises(lp.PoolPaused) as raised:
            new_client(scripted, retries=lp.Retries(times=1)).claim("demo", "order-1")
        assert least <= (raised.value.retry_after_seconds or 0) <= most
    assert len(scripted.asked) == 1 + 2


def test_a_replacement_that_was_never_sent_is_asked_for_again(new_client: NewClient) -> None:
    """A refused connection is repeated: nothing can have been done."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = ScriptedLinkpool(port)
    client = new_client(server, retries=lp.Retries(times=20, total_seconds=20))
    server.script = [Answer(200, {"claim": CLAIM})]
    opening = threading.Timer(0.3, server.__enter__)
    opening.start()
    try:
        assert client.replace("demo", "order-1", "why").slug == "one-off-1"
    finally:
        opening.join()
        server.__exit__()
    assert len(server.asked) == 1


def test_connections_that_were_given_stay_open(scripted: ScriptedLinkpool) -> None:
    """The client closes the connections it made, and no others."""
    with httpx.Client() as http:
        with lp.Client(scripted.url, KEY, http=http) as client:
            client.claim("demo", "order-1")
        assert not http.is_closed
    with lp.Client(scripted.url, KEY) as client:
        client.claim("demo", "order-1")
    with pytest.raises(RuntimeError, match="closed"):
        client.claim("demo", "order-1")


def test_retries_end_by_their_number(scripted: ScriptedLinkpool, new_client: NewClient) -> None:
    """Two retries are three requests."""
    scripted.script = [problem("rate-limited", 429, "0")]
    with pytest.raises(lp.RateLimited):
        new_client(scripted, retries=lp.Retries(times=2)).claim("demo", "order-1")
    assert len(scripted.asked) == 3


def test_retries_end_by_their_time(scripted: ScriptedLinkpool, new_client: NewClient) -> None:
    """A wait that does not fit is not begun, at the first refusal or at a later one."""
    scripted.script = [problem("pool-paused", 503, "30")]
    started = time.monotonic()
    with pytest.raises(lp.PoolPaused) as raised:
        new_client(scripted).claim("demo", "order-1")
    assert time.monotonic() - started < 15  # of the 30 that were asked for
    assert raised.value.retry_after_seconds == 30
    assert len(scripted.asked) == 1

    scripted.script = [problem("pool-empty", 503)]  # without Retry-After: 0.1, 0.2, 0.4 s …
    started = time.monotonic()
    with pytest.raises(lp.PoolEmpty):
        new_client(scripted, retries=lp.Retries(times=99, total_seconds=1.4)).claim("demo", "o")
    assert time.monotonic() - started < 1.4 + 15
    assert len(scripted.asked) - 1 == 4


def test_a_server_that_hangs_is_given_up_in_time(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The time of the whole call bounds its attempts, not only its waits."""
    scripted.script = [HANG]
    started = time.monotonic()
    with pytest.raises(lp.NotReachable, match="POST /v1/meetings/demo/claims"):
        new_client(scripted, retries=lp.Retries(total_seconds=0.5)).claim("demo", "order-1")
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize("passing", [DROP, Answer(502, "<html>Bad Gateway", kind="text/html")])
def test_what_a_claim_survives(
    passing: Answer, scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """A claim is idempotent, so it is sent again."""
    scripted.script = [passing, Answer(200, CLAIMED)]
    assert new_client(scripted).claim("demo", "order-1").claim.slug == "one-off-1"
    assert len(scripted.asked) == 2


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (DROP, lp.NotReachable),
        (problem("store-unavailable", 503, "0"), lp.StoreUnavailable),
        (problem("provider-failed", 502), lp.ProviderFailed),
    ],
)
def test_a_replacement_in_doubt_is_not_asked_for_again(
    first: Answer, kind: type[lp.LinkpoolError], scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The link may have been replaced, and a repetition would spend another one."""
    scripted.script = [first, Answer(200, {"claim": CLAIM})]
    with pytest.raises(kind):
        new_client(scripted).replace("demo", "order-1", "shows link expired")
    assert len(scripted.asked) == 1


def test_a_replacement_of_a_named_link_may_be_repeated(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """Once it is done, the customer holds another link, and linkpool answers that one."""
    scripted.script = [DROP, Answer(200, {"claim": CLAIM})]
    new_client(scripted).replace("demo", "order-1", "shows link expired", slug="one-off-0")
    assert len(scripted.asked) == 2
    assert scripted.asked[1].body == {"reason": "shows link expired", "slug": "one-off-0"}


def test_a_replacement_that_was_surely_refused_is_asked_for_again(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """429 is answered before anything is done."""
    scripted.script = [problem("rate-limited", 429, "0"), Answer(200, {"claim": CLAIM})]
    claim = new_client(scripted).replace("demo", "a/b", "shows link expired")
    assert claim.slug == "one-off-1"
    asked = scripted.asked[1]
    assert asked.target == "/v1/meetings/demo/claims/a%2Fb/replace"
    assert asked.body == {"reason": "shows link expired"}


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_what_does_not_pass_is_not_repeated(
    status: int, scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """A wrong request stays wrong."""
    scripted.script = [problem("whatever", status, "0")]
    with pytest.raises(lp.Problem):
        new_client(scripted).claim("demo", "order-1")
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>Welcome to nginx!", kind="text/html"),
        Answer(200, {"hello": "world"}),
        Answer(200, [1]),
        Answer(200, CLAIMED | {"claim": CLAIM | {"claimed_at": "yesterday"}}),
        Answer(404, "<html>Not here", kind="text/html"),
        Answer(302, None, {"Location": "/elsewhere"}),
        Answer(204),
    ],
)
def test_an_answer_that_is_not_linkpools_is_called_that(
    answer: Answer, scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """Whatever server answers at a wrong address, the error is typed, and a redirect never gets the
    key.
    """
    scripted.script = [answer]
    with pytest.raises(lp.UnusableAnswer) as raised:
        new_client(scripted).claim("demo", "order-1")
    assert raised.value.status == answer.status
    assert len(scripted.asked) == 1


def test_a_batch_goes_in_pieces_and_comes_back_in_order(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """2,500 customers are three requests; each has its own result, a claim or a problem."""

    def results(asked: Asked) -> Answer:
        each = [
            {"customer_id": one["customer_id"], "status": 201, "claim": CLAIM | one}
            for one in asked.body["claims"]
        ]
        if len(each) == 500:
            failed = problem("pool-empty", 503).body
            each[-1] = {"customer_id": "order-2499", "status": 503, "problem": failed}
        return Answer(200, {"results": each})

    scripted.script = [results]
    customers = [lp.Customer(f"order-{n}", email=f"{n}@example.com") for n in range(2499)]
    found = new_client(scripted).claim_batch("demo", [*customers, "order-2499"])
    assert [len(asked.body["claims"]) for asked in scripted.asked] == [1000, 1000, 500]
    assert {asked.target for asked in scripted.asked} == {"/v1/meetings/demo/claims:batch"}
    assert scripted.asked[0].body["claims"][7] == {
        "customer_id": "order-7",
        "email": "7@example.com",
    }
    assert [each.customer_id for each in found] == [f"order-{n}" for n in range(2500)]
    assert found[0].claim is not None
    assert found[0].problem is None
    assert found[-1].claim is None
    assert isinstance(found[-1].problem, lp.PoolEmpty)


def test_results_of_a_batch_in_another_order_are_refused(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """Nobody gets another customer's link because two rows changed places."""
    swapped = [
        {"customer_id": name, "status": 201, "claim": CLAIM | {"customer_id": name}}
        for name in ("b", "a")
    ]
    scripted.script = [Answer(200, {"results": swapped})]
    with pytest.raises(lp.UnusableAnswer, match="order"):
        new_client(scripted).claim_batch("demo", ["a", "b"])


def test_an_empty_batch_asks_nothing_and_one_text_is_no_batch(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The letters of one id are not taken for customers."""
    client = new_client(scripted)
    assert client.claim_batch("demo", []) == []
    with pytest.raises(TypeError, match="list of customers"):
        client.claim_batch("demo", "order-1")
    assert scripted.asked == []


@pytest.mark.parametrize(
    ("customer_id", "segment"),
    [("a/b", "a%2Fb"), ("..", "%2E%2E"), ("ü ?#", "%C3%BC%20%3F%23"), ("50%", "50%25")],
)
def test_any_customer_id_is_one_segment_of_the_path(
    customer_id: str, segment: str, scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """No id leads to another address."""
    scripted.script = [Answer(200, {"claim": CLAIM}), Answer(204)]
    client = new_client(scripted)
    client.get("demo", customer_id)
    client.forget("demo", customer_id)
    assert [asked.method for asked in scripted.asked] == ["GET", "DELETE"]
    assert {asked.target for asked in scripted.asked} == {f"/v1/meetings/demo/claims/{segment}"}


def test_an_empty_id_is_refused_here(scripted: ScriptedLinkpool, new_client: NewClient) -> None:
    """Without it the address would be another one."""
    with pytest.raises(ValueError, match="empty"):
        new_client(scripted).forget("demo", "")


def test_linkpools_embed_code_is_taken_as_it_is(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The claim asks for it in the same round trip; a link's code can be asked for later."""
    code = "<div>made by linkpool</div>"
    scripted.script = [
        Answer(201, CLAIMED | {"embed_html": code}),
        Answer(200, code, kind="text/html; charset=utf-8"),
    ]
    client = new_client(scripted)
    assert client.claim("demo", "order-1", embed="floating-popup").embed_html == code
    assert client.embed_html("one-off-1", "element-click") == code
    assert [asked.target for asked in scripted.asked] == [
        "/v1/meetings/demo/claims?embed=floating-popup",
        "/v1/links/one-off-1/embed?type=element-click&format=html",
    ]


def test_what_is_prefilled_goes_into_the_body(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """It goes with the other options of the code; without a type of embed they are an error."""
    scripted.script = [Answer(201, CLAIMED | {"embed_html": "<p>"})]
    client = new_client(scripted)
    options = {"nonce": "bm9uY2U="}
    client.claim("demo", "order-1", embed="inline", prefill={"name": "Zoe"}, options=options)
    assert scripted.asked[0].body == {
        "customer_id": "order-1",
        "prefill": {"name": "Zoe"},
        "nonce": "bm9uY2U=",
    }
    with pytest.raises(ValueError, match="embed="):
        client.claim("demo", "order-1", prefill={"name": "Zoe"})


def test_an_answer_without_the_code_that_was_asked_for_is_none(
    scripted: ScriptedLinkpool, new_client: NewClient
) -> None:
    """The error is raised, so that no page is shown without its booking frame."""
    with pytest.raises(lp.UnusableAnswer, match="embed_html"):
        new_client(scripted).claim("demo", "order-1", embed="inline")


def test_both_clients_have_the_same_methods() -> None:
    """The synchronous and the asynchronous client have the same methods."""

    def methods(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(method)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert methods(lp.Client) == methods(lp.AsyncClient)
    assert len(methods(lp.Client)) == 8


def test_the_key_is_never_in_a_text(scripted: ScriptedLinkpool, new_client: NewClient) -> None:
    """Neither the client's text nor an error's contains it."""
    client = new_client(scripted, retries=lp.Retries(times=0))
    assert KEY not in repr(client)
    scripted.script = [DROP]
    with pytest.raises(lp.NotReachable) as raised:
        client.claim("demo", "order-1")
    assert KEY not in repr(raised.value) + repr(raised.value.__cause__)
    with pytest.raises(ValueError, match="key") as refused:
        KINDS["sync"](scripted.url, f"{KEY}\n")
    assert KEY not in str(refused.value)
    with pytest.raises(ValueError, match=r"links\.example\.com"):
        KINDS["sync"]("links.example.com", KEY)


def test_errors_travel_between_processes() -> None:
    """A task queue can carry them."""
    error = lp.PoolEmpty("none left", status=503, retry_after_seconds=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.status, copy.retry_after_seconds) == (lp.PoolEmpty, 503, 2.0)
    assert str(copy) == str(error) == "pool-empty (503): none left"
