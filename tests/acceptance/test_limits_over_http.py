"""Test limits on new claims by address, and which proxies are trusted to name addresses."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pool.access.pace import AT_ONCE, PER_SECOND
from pool.model.meetings import Meeting
from tests.trials.harness.stage import Stage
from tests.trials.harness.wire import Reply, exchange, request

PER_MINUTE = 3
VISITOR = b"203.0.113.7"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Start two API servers: one trusts proxies on this machine, the other those of another
    address.
    """
    with (
        Stage(proxied=False, NEW_CLAIMS_PER_MINUTE_PER_ADDRESS=str(PER_MINUTE)) as stage,
        pytest.MonkeyPatch.context() as environment,
    ):
        # The server library's own setting is none of ours.
        environment.setenv("FORWARDED_ALLOW_IPS", "*")
        stage.start_servers(1)
        stage.start_servers(2, TRUSTED_PROXIES="192.0.2.1")
        stage.open(Meeting("limited", min_fresh=0, max_fresh=1, on_empty="fail"), links=100)
        yield stage


def claim(stage: Stage, server: int, customer: str, *forwarded: bytes) -> Reply:
    """Claim as the proxy on this machine, or as a client that pretends to be one."""
    headers = [(b"X-API-Key", stage.key.encode())]
    headers += [(b"X-Forwarded-For", each) for each in forwarded]
    sent = request(
        b"POST",
        b"/v1/meetings/limited/claims",
        *headers,
        body=f'{{"customer_id": "{customer}"}}'.encode(),
    )
    return exchange(stage.server_ports[server], sent)


def taken(stage: Stage, server: int, who: str, *forwarded: bytes) -> list[int]:
    """Claim one more time than is allowed. Return the statuses of the answers."""
    return [
        claim(
            stage,
            server,
            f"{who}-{number}",
            *(each.replace(b"%d", b"%d" % number) for each in forwarded),
        ).status
        for number in range(PER_MINUTE + 1)
    ]


ALLOWED = [201] * PER_MINUTE + [429]


def test_each_address_behind_a_proxy_has_its_own_limit(stage: Stage) -> None:
    """One visitor's claims do not count for another, and customers who hold a link are not
    limited.
    """
    assert taken(stage, 0, "first", b"198.51.100.1") == ALLOWED
    assert taken(stage, 0, "second", b"198.51.100.2") == ALLOWED
    refused = claim(stage, 0, "one-more", b"198.51.100.1")
    assert (refused.status, refused.problem) == (429, "rate-limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert claim(stage, 0, "first-0", b"198.51.100.1").status == 200


def test_what_a_visitor_says_of_itself_counts_for_nothing(stage: Stage) -> None:
    """Only the last entry, which the trusted proxy added, is believed."""
    assert taken(stage, 0, "list", b"198.51.100.%d, " + VISITOR) == ALLOWED
    assert claim(stage, 0, "two-headers", b"198.51.100.99", VISITOR).status == 429


def test_only_trusted_proxies_are_believed(stage: Stage) -> None:
    """From any other address the header is ignored, and the connection's own address counts."""
    assert taken(stage, 1, "spoofed", b"198.51.100.%d") == ALLOWED
    assert claim(stage, 1, "plain").status == 429


def test_strangers_wait_for_their_turn_and_hold_up_nobody(stage: Stage) -> None:
    """An address that guesses keys is slowed down, while callers with a key are served."""
    wrong = request(
        b"POST", b"/v1/meetings/limited/claims", (b"X-API-Key", b"lp_00000000_" + b"x" * 43),
        body=b'{"customer_id": "stranger"}',
    )  # fmt: skip
    started = time.monotonic()
    with ThreadPoolExecutor(8) as strangers:
        tries = [strangers.submit(exchange, stage.server_ports[1], wrong) for _ in range(64)]
        assert claim(stage, 1, "spoofed-0").status == 200
        served = time.monotonic() - started
        assert {each.result().status for each in tries} == {401}
    took = time.monotonic() - started
    assert took >= (64 - AT_ONCE - 1) / PER_SECOND
    assert served < took


def test_who_hangs_up_before_the_answer_has_used_their_allowance(stage: Stage) -> None:
    """The link is used all the same, so hanging up is no way around the limit."""
    before = stage.level("limited")
    for number in range(8 * PER_MINUTE):
        sent = request(
            b"POST",
            b"/v1/meetings/limited/claims",
            (b"X-API-Key", stage.key.encode()),
            (b"X-Forwarded-For", b"198.51.100.77"),
            body=f'{{"customer_id": "gone-{number}"}}'.encode(),
        )
        with socket.create_connection(("127.0.0.1", stage.server_ports[0])) as connection:
            connection.sendall(sent)
    assert claim(stage, 0, "still-here", b"198.51.100.77").status == 429
    assert before - stage.level("limited") <= PER_MINUTE
