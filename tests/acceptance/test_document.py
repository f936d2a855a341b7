"""Test the OpenAPI document against the very API that publishes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pool.model.meetings import Meeting
from tests.trials.harness.stage import Stage
from tests.trials.harness.wire import exchange, request

if TYPE_CHECKING:  # it is imported by the one process that needs it: that takes half a second
    import schemathesis
    from schemathesis.checks import CheckFunction

ADMIN_KEY = "the admin key of the document's test"
EXAMPLES = 25  # per operation
KNOWN = {"sid": "documented", "customer_id": "held", "workspace": "default"}
KNOWN_IN_BODIES = {"meeting_sid": "documented", "origins": ["https://www.example.com"]}
_turn = itertools.count()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Start an API without workers or provider, so that no request makes a million links."""
    # Without a limit of its own, an empty pool's claims would wait for a provider in vain.
    with Stage(proxied=False, ADMIN_KEY=ADMIN_KEY, DIRECT_TIMEOUT_SECONDS="0.1") as stage:
        stage.start_servers(1)
        stage.open(Meeting("documented", min_fresh=0, max_fresh=1, cover_seconds=0), links=200)
        sent = request(
            b"POST",
            b"/v1/meetings/documented/claims",
            (b"X-API-Key", ADMIN_KEY.encode()),
            body=b'{"customer_id": "held"}',
        )
        assert exchange(stage.server_ports[0], sent).status == 201
        yield stage


@pytest.fixture(scope="module")
def document(stage: Stage) -> schemathesis.BaseSchema:
    """Return the document, as the API serves it."""
    import schemathesis

    return schemathesis.openapi.from_url(f"http://127.0.0.1:{stage.server_ports[0]}/openapi.json")


def test_every_operation_answers_as_documented(document: schemathesis.BaseSchema) -> None:
    """Any request to an operation is answered with a documented status, type and form of body, and
    never with a server error.
    """
    from schemathesis.checks import Failure, FailureGroup

    lies: list[str] = []
    served: set[str] = set()
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()
        tried += 1
        try:
            _try(operation, served)
        except (Failure, FailureGroup) as failed:
            lies.append(f"{operation.label}: {failed}")
    assert tried >= 23
    # No webhook and no browser's token here is signed, no event there to be replayed or assigned,
    # no slug guessed, for which two operations ask, no public key, and no customer holds a link, so
    # that there is none to replace.
    assert len(served) >= tried - 8, served
    assert not lies, "\n\n".join(lies)


def _checks() -> list[CheckFunction]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    return [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
    ]


def _try(operation: Any, served: set[str]) -> None:
    checks = _checks()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def one(case: schemathesis.Case) -> None:
        # By turns a name that is there, so that more than 404 is seen, and a key or none.
        turn = next(_turn)
        if turn % 4:
            known = {name: value for name, value in KNOWN.items() if name in case.path_parameters}
            case.path_parameters.update(known)
            if isinstance(case.body, dict):
                case.body.update({k: v for k, v in KNOWN_IN_BODIES.items() if k in case.body})
        headers = {"X-API-Key": ADMIN_KEY} if turn % 8 else {}
        answer = case.call_and_validate(checks=checks, headers=headers, timeout=10)
        if answer.status_code < 400:
            served.add(operation.label)

    one()
