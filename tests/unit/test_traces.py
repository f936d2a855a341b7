"""Test the spans that claims leave, as an exporter gets them, and which claims leave any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import structlog
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from pool.access.api_keys import KeyRing
from pool.access.doors import Doors
from pool.api.claim_path.claim_batch import ClaimBatch
from pool.api.claim_path.tally import Tally
from pool.api.claim_path.traced import TracedLane
from pool.claims.desk import Desk, Receipt
from pool.claims.known_meetings import KnownMeetings
from pool.claims.traced import TracedOnDemandLinks
from pool.config.networks import TrustedProxies
from pool.config.settings import load
from pool.durability.recent_claims import RecentClaims
from pool.errors import (
    InvalidRequest,
    LedgerUnavailable,
    MalformedJson,
    PoolEmpty,
    ProviderFailed,
)
from pool.model.meetings import Meeting
from pool.providers.traced import TracedProvider
from pool.providers.watched import Answering
from pool.store.bindings import CustomerNames
from pool.store.traced import TracedStore
from pool.telemetry import tracing
from pool.telemetry.metrics import Metrics
from pool.telemetry.tracing import Tracing, asked_for, open_tracing
from tests.any_redis import SECRET_KEY, AnyRedis
from tests.fake_redis import FakeRedisServer
from tests.unit.store_contract import SID, open_pool

TRACE = "ab" * 16
HEADERS = [(b"x-api-key", b"admin"), (b"traceparent", f"00-{TRACE}-{'cd' * 8}-01".encode())]
SETTINGS = load({"LINKPOOL_NEETOCAL_SUBDOMAIN": "acme", "LINKPOOL_NEETOCAL_API_KEY": "key"})


class Heard:
    """A listener that notes in which trace workers would be asked."""

    def __init__(self, traced: Tracing) -> None:
        self._traced = traced
        self.claimed_in: list[str] = []

    def claimed(self, meeting: Meeting) -> None:
        self.claimed_in.append(self._traced.carrier()["traceparent"].split("-")[1])

    def low(self, meeting: Meeting) -> None: ...
    def fenced(self, sid: str) -> None: ...
    def batch(self, size: int) -> None: ...
    def outcome(self, sid: str, outcome: str, count: int) -> None: ...


class NoLedger:
    """No keys but the admin's, no meetings but those in Redis."""

    meetings = keys = None


class Stage:
    """A lane, the parts behind it, and the exported spans."""

    def __init__(self, store: TracedStore, traced: Tracing, exporter: InMemorySpanExporter) -> None:
        self.store = store
        self.waiting = traced.waiting
        self.heard = Heard(traced)
        self.exporter = exporter
        nobody: Any = NoLedger()
        self.known_meetings = KnownMeetings(store, nobody)
        on_demand = TracedOnDemandLinks(store, nobody, {}, timeout_seconds=1, tracing=traced)
        self.desk = Desk(
            store, self.known_meetings, RecentClaims(), on_demand, self.heard, timeout_seconds=2
        )
        self.lane = TracedLane(
            None, self.desk, self.known_meetings, KeyRing(nobody, "admin"), SETTINGS,
            Tally(Metrics()), Doors(TrustedProxies(""), lambda _door: None),
            tracing=traced, names=store.names,
        )  # fmt: skip

    async def claim(self, who: str, headers: Any = HEADERS) -> Receipt:
        """Claim as the server does."""
        admitted = self.lane.admit(SID, headers, "127.0.0.1")
        admitted.read(b'{"customer_id": "%b"}' % who.encode())
        answered: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.lane.join(admitted, answered)
        async with asyncio.timeout(10):
            return await answered

    def spans(self, name: str) -> list[Any]:
        """Return the spans of this name that have ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
async def stage(
    fake_server: FakeRedisServer, fake_redis: AnyRedis
) -> AsyncIterator[Callable[..., Any]]:
    """Make a stage with this many links."""
    exporter = InMemorySpanExporter()
    traced = Tracing("api", [SimpleSpanProcessor(exporter)])
    store = TracedStore(fake_server.client(), CustomerNames(SECRET_KEY), tracing=traced)
    made: list[Stage] = []

    async def make(*slugs: str, **settings: Any) -> Stage:
        await open_pool(fake_redis, *slugs, **settings)
        made.append(Stage(store, traced, exporter))
        await made[0].known_meetings.refresh()
        return made[0]

    yield make
    for each in made:
        await each.desk.close()
    await store.close()


async def test_a_claim_goes_on_in_its_callers_trace(stage: Callable[..., Any]) -> None:
    """The script call is its child, and so is what a worker is then asked for."""
    on = await stage("one-off-1")
    await on.claim("visitor")
    await on.desk.close()
    (claim,), (script,) = on.spans("claim"), on.spans("claim script")
    assert f"{claim.context.trace_id:032x}" == TRACE
    assert f"{claim.parent.span_id:016x}" == "cd" * 8
    assert script.parent.span_id == claim.context.span_id
    assert script.start_time >= claim.start_time
    assert claim.attributes["linkpool.outcome"] == "new"
    assert claim.attributes["linkpool.meeting"] == SID
    assert on.heard.claimed_in == [TRACE]


async def test_claims_served_together_are_linked(stage: Callable[..., Any]) -> None:
    """One call for all three: a child of the first, linked to the others."""
    on = await stage("one-off-1", "one-off-2", "one-off-3")
    await asyncio.gather(*(on.claim(f"visitor-{n}", HEADERS[:1]) for n in range(3)))
    first, *others = sorted(on.spans("claim"), key=lambda span: span.start_time)
    (script,) = on.spans("claim script")
    assert script.parent.span_id == first.context.span_id
    assert {link.context.span_id for link in script.links} == {
        other.context.span_id for other in others
    }
    assert script.attributes["linkpool.customers"] == 3
    assert len({span.context.trace_id for span in (first, *others)}) == 3


async def test_the_next_batch_is_in_its_own_trace(stage: Callable[..., Any]) -> None:
    """The next batch leaves when the one before it is back."""
    on = await stage("one-off-1", "one-off-2")
    await on.claim("visitor-1", HEADERS[:1])
    await on.claim("visitor-2", HEADERS)
    scripts = on.spans("claim script")
    assert [f"{script.context.trace_id:032x}" == TRACE for script in scripts] == [False, True]


async def test_no_span_says_who_or_which_link(stage: Callable[..., Any]) -> None:
    """No span of any claim has a customer id, a slug, a key or an address."""
    on = await stage("one-off-1")
    await on.claim("visitor-42")
    with pytest.raises(PoolEmpty):
        await on.claim("visitor-43")
    with pytest.raises(LedgerUnavailable):  # where keys are, and nobody has read them yet
        await on.claim("visitor-44", [(b"x-api-key", b"wrong-key")])
    everything = "".join(span.to_json() for span in on.exporter.get_finished_spans())
    assert "claim script" in everything
    for secret in ("visitor", "one-off", "wrong-key", "127.0.0.1"):
        assert secret not in everything


async def test_what_fails_says_how(stage: Callable[..., Any]) -> None:
    """Each span ends, once, with the kind of the error; a link made on the spot is in its
    claim's trace."""
    on = await stage()
    with pytest.raises(PoolEmpty):
        await on.claim("visitor")
    (claim,), (direct,) = on.spans("claim"), on.spans("make on the spot")
    assert direct.parent.span_id == claim.context.span_id
    for span in (claim, direct):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["linkpool.outcome"] == "PoolEmpty"
    with pytest.raises(MalformedJson):
        on.lane.admit(SID, HEADERS, "").read(b"[]")
    assert on.spans("claim")[1].attributes["linkpool.outcome"] == "MalformedJson"
    assert not on.waiting.of(SID, [on.store.names.name(SID, "visitor")])


async def test_a_provider_that_fails_is_seen() -> None:
    """The span has its workspace and meeting; a call that asks nobody leaves none."""
    exporter = InMemorySpanExporter()
    traced = Tracing("worker", [SimpleSpanProcessor(exporter)])

    class Failing:
        can_verify = True

        async def create_link(self, sid: str) -> Any:
            raise ProviderFailed("500")

    failing: Any = Failing()
    provider = TracedProvider(failing, Answering(), "default", traced)
    assert provider.can_verify
    with pytest.raises(ProviderFailed):
        await provider.create_link("m")
    (span,) = exporter.get_finished_spans()
    assert span.name == "create link"
    assert dict(span.attributes or {}) == {
        "linkpool.workspace": "default",
        "linkpool.meeting": "m",
        "linkpool.outcome": "ProviderFailed",
    }


@pytest.mark.parametrize(
    ("environ", "asking"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "shop"}, ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, ""),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_the_standard_variables_ask(environ: dict[str, str], asking: str) -> None:
    """Traces are on where an exporter or a collector is named, and nothing turns them off."""
    assert asked_for(environ) == asking
    if not asking:
        assert open_tracing("api", environ) is None


def test_a_missing_extra_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves all the same."""
    monkeypatch.setattr(tracing, "entry_points", lambda **_: [])
    with structlog.testing.capture_logs() as lines:
        assert open_tracing("api", {"OTEL_TRACES_EXPORTER": "otlp"}) is None
        assert open_tracing("api", {"OTEL_TRACES_EXPORTER": "zipkin"}) is None
    assert ["linkpool[otel]" in line["event"] for line in lines] == [True, False]
    assert lines[0]["asking"] == "OTEL_TRACES_EXPORTER"
    assert lines[1]["name"] == "zipkin"


async def test_each_customer_of_a_batch_has_a_span(stage: Callable[..., Any]) -> None:
    """All in the caller's trace, and all ended, also those of customers who were refused."""
    on = await stage("one-off-1", "one-off-2", on_empty="fail")
    claims = [b'{"customer_id": "a"}', b'{"customer_id": ""}', b'{"customer_id": "b"}', b"7"]
    batch = ClaimBatch(on.lane, SID, HEADERS, "127.0.0.1")
    async with asyncio.timeout(10):
        results = json.loads(await batch.claim([msgspec.Raw(each) for each in claims]))["results"]
    assert [each["status"] for each in results] == [201, 422, 201, 400]
    spans = on.spans("claim")
    assert len(spans) == len(claims)
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}


async def test_a_claim_with_wrong_options_ends_its_span(stage: Callable[..., Any]) -> None:
    """A claim with a wrong body does, too."""
    on = await stage("one-off-1")
    admitted = on.lane.admit(SID, HEADERS, "127.0.0.1")
    with pytest.raises(InvalidRequest):
        admitted.read_embedded(b'{"customer_id": "a", "nonce": ""}', "inline")
    assert len(on.spans("claim")) == 1
