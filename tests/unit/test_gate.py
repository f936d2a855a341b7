"""Test the refusals before a body is read, which keep callers without a key from causing work."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from pool.access.api_keys import KeyRing, make_key
from pool.access.doors import Doors
from pool.api.routes.events import receive
from pool.api.server.edge import Edge
from pool.api.server.gate import QUERY_FIELDS, Gate
from pool.config.networks import TrustedProxies
from pool.errors import BadSignature
from pool.ledger.records import ApiKey
from pool.providers.signatures import SIGNATURE_HEADER

UNKNOWN = b"lp_00000000_" + b"x" * 43
FORM = b"sha256=" + b"0" * 64


class CountingKeys:
    """The keys of a ledger, which counts how often it is asked."""

    def __init__(self, *kept: ApiKey) -> None:
        self.kept = list(kept)
        self.asked = 0

    async def all(self) -> list[ApiKey]:
        self.asked += 1
        return self.kept


class Hall(Doors):
    """Doors at which nobody really waits; notes for whom it would have been how long."""

    waits: list[float]

    def turn(self, address: str) -> float:
        self.waits.append(super().turn(address))
        return 0.0

    def turn_of_probe(self, address: str) -> float:
        self.waits.append(super().turn_of_probe(address))
        return 0.0

    def turn_of_visitor(self, address: str) -> float:
        self.waits.append(super().turn_of_visitor(address))
        return 0.0


class House:
    """An edge with a gate, and nothing behind it but a note of what came through."""

    def __init__(self, *kept: ApiKey) -> None:
        self.proxies = TrustedProxies("127.0.0.1")
        self.counts: Counter[str] = Counter()
        self.ledger_keys = CountingKeys(*kept)
        self.keys = KeyRing(SimpleNamespace(keys=self.ledger_keys), None)  # type: ignore[arg-type]
        self.events: Counter[tuple[str, ...]] = Counter()
        self.through: list[str] = []
        self.read = 0
        self.doors = Hall(self.proxies, lambda door: self.counts.update([door]))
        self.doors.waits = []
        service: Any = SimpleNamespace(
            keys=self.keys,
            doors=self.doors,
            settings=SimpleNamespace(metrics_key=SecretStr("of metrics")),
            parts=SimpleNamespace(
                providers={"default": SimpleNamespace(can_verify=True)},
                metrics=SimpleNamespace(webhooks=self),
                outcomes=SimpleNamespace(count=lambda *_: None),
            ),
        )
        self.edge = Edge(self.inside, self.proxies)
        self.edge.gate = Gate(service, lambda scope: scope["query_string"] == b"signed-in")

    def labels(self, *labels: str) -> Any:
        return SimpleNamespace(inc=lambda: self.events.update([labels]))

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.through.append(scope["path"])
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(
        self, path: str, *headers: tuple[bytes, bytes], method: str = "POST",
        peer: str = "203.0.113.7", query: bytes = b"",
    ) -> tuple[int, str]:  # fmt: skip
        """Return the status and the problem, and note whether the body was read."""
        sent: list[Message] = []

        async def receive() -> Message:
            self.read += 1
            return {"type": "http.request", "body": b"{", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "headers": list(headers),
            "client": (peer, 1), "scheme": "http", "query_string": query,
        }  # fmt: skip
        await self.edge(scope, receive, send)
        body = sent[1]["body"]
        problem = json.loads(body)["type"].rpartition("/")[2] if body else ""
        return sent[0]["status"], problem


@pytest.mark.parametrize("headers", [[], [(b"x-api-key", UNKNOWN)], [(b"x-api-key", b"\xff" * 99)]])
@pytest.mark.parametrize("path", ["/v1/meetings/intro/pause", "/v1/events", "/v1/nonsense"])
async def test_without_a_key_no_body_is_read(path: str, headers: list[tuple[bytes, bytes]]) -> None:
    """The request is counted, but not decoded, routed or looked up in the ledger."""
    house = House()
    await house.keys.refresh()
    for _ in range(100):
        assert await house.ask(path, *headers) == (401, "unauthorized")
    assert (house.read, house.through, house.ledger_keys.asked) == (0, [], 1)
    assert house.counts == {"api": 100}


async def test_with_a_key_everything_goes_on() -> None:
    """Any request passes with a key, whose scope the route checks."""
    clear, kept = make_key(frozenset({"claim"}), None, "")
    house = House(kept)
    await house.keys.refresh()
    assert await house.ask("/v1/nonsense", (b"x-api-key", clear.encode())) == (204, "")
    assert not house.counts


@pytest.mark.parametrize("path", ["/ops/sign-in", "/livez", "/v1/embed/claims", "/docs", "/v1"])
async def test_what_needs_no_key_goes_on_without(path: str) -> None:
    """It has doors of its own, or none."""
    house = House()
    await house.keys.refresh()
    assert await house.ask(path) == (204, "")


async def test_a_query_has_few_fields() -> None:
    """Every route decodes all of them, also those that use none."""
    house = House()
    fields = b"a&" * (QUERY_FIELDS - 1)
    assert await house.ask("/livez", query=fields) == (204, "")
    assert await house.ask("/livez", query=fields + b"a&") == (422, "invalid-request")
    assert await house.ask("/ops/sign-in", query=b"a=%61&" * 1_000) == (422, "invalid-request")


@pytest.mark.parametrize(
    ("path", "signatures", "answer"),
    [
        ("nobody", [FORM], (404, "unknown-workspace")),
        ("nobody", [], (404, "unknown-workspace")),
        ("default", [], (401, "bad-signature")),
        ("default", [b"nonsense"], (401, "bad-signature")),
        ("default", [FORM, FORM], (401, "bad-signature")),
        ("default/", [b""], (401, "bad-signature")),
    ],
)
async def test_a_webhook_that_cannot_be_genuine_is_not_read(
    path: str, signatures: list[bytes], answer: tuple[int, str]
) -> None:
    """An unknown workspace costs the same for any body."""
    house = House()
    headers = [(SIGNATURE_HEADER.encode(), each) for each in signatures]
    assert await house.ask(f"/v1/webhooks/{path}", *headers) == answer
    assert (house.read, house.counts) == (0, {"webhook": 1})
    assert (("default", "unknown", "bad-signature") in house.events) == (answer[0] == 401)


async def test_no_webhook_is_refused_for_the_wrong_signatures_of_others() -> None:
    """It may be genuine: all customers of a provider get theirs from the same few addresses."""
    house = House()
    form = (SIGNATURE_HEADER.encode(), FORM)
    for _ in range(1_000):
        house.doors.failed("webhook", "203.0.113.7")
        await house.ask("/v1/webhooks/nobody", form)
    assert await house.ask("/v1/webhooks/default", form) == (204, "")
    assert house.doors.waits[-1] > 1.0
    assert house.read == 1


async def test_a_sender_of_genuine_webhooks_does_not_wait() -> None:
    """Other requests of its address do not matter, and another address behind the same proxy
    waits.
    """
    house = House()
    form = (SIGNATURE_HEADER.encode(), FORM)
    house.doors.genuine("192.0.2.1")
    for _ in range(200):
        await house.ask("/v1/webhooks/nobody", peer="192.0.2.1")
    before = len(house.doors.waits)
    assert await house.ask("/v1/webhooks/default", form, peer="192.0.2.1") == (204, "")
    assert len(house.doors.waits) == before
    behind = (b"x-forwarded-for", b"192.0.2.2")
    assert await house.ask("/v1/webhooks/default", form, behind, peer="127.0.0.1") == (204, "")
    assert len(house.doors.waits) == before + 1


async def test_only_callers_without_proof_wait_for_a_turn() -> None:
    """Keys, sessions and processes of this machine never wait."""
    clear, kept = make_key(frozenset({"claim"}), None, "")
    house = House(kept)
    await house.keys.refresh()
    for _ in range(100):
        await house.ask("/v1/events", (b"x-api-key", clear.encode()))
        await house.ask("/ops", query=b"signed-in")
        await house.ask("/metrics", (b"x-api-key", b"of metrics"))
    assert house.doors.waits == []
    for _ in range(100):
        await house.ask("/metrics", peer="127.0.0.1")
    assert house.doors.waits == [0.0] * 100
    for path in ("/v1/events", "/ops", "/docs", "/nowhere", "/v1/webhooks/default"):
        house = House()  # all addresses together have a pace, too
        await house.keys.refresh()
        for _ in range(100):
            await house.ask(path, peer="192.0.2.1")
        waits = house.doors.waits
        assert (len(waits), waits[0]) == (100, 0.0)
        assert waits[-1] > 1.0


async def test_wrong_signatures_of_a_known_sender_are_answered_late() -> None:
    """They have not waited at the gate; genuine ones wait nowhere, however many are wrong."""
    house = House()
    hall = house.doors
    hall.genuine("203.0.113.7")

    class Bookings:
        async def receive(self, workspace: str, body: bytes, signatures: list[str]) -> str:
            if body != b"genuine":
                raise BadSignature("wrong")
            return "e1"

    service: Any = SimpleNamespace(
        doors=hall,
        nudges=SimpleNamespace(send=lambda hint: None),
        parts=SimpleNamespace(providers={}, bookings=Bookings()),
    )

    async def send(body: bytes) -> None:
        request: Any = SimpleNamespace(
            scope={},
            headers=Headers(),
            client=SimpleNamespace(host="203.0.113.7"),
            body=lambda: sent(body),
        )
        await receive("default", request, service)

    for _ in range(100):
        with pytest.raises(BadSignature):
            await send(b"wrong")
    assert hall.waits[-1] > 1.0
    await send(b"genuine")
    assert (len(hall.waits), house.counts) == (100, {"webhook": 100})


async def sent(body: bytes) -> bytes:
    return body
