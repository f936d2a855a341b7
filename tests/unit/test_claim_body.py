"""Test the body of a claim: any bytes are understood, or refused in a documented way."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool.api.claim_path.claim_body import METADATA_BYTES, METADATA_LEVELS, parse_claim
from pool.api.http.messages import CLAIM_BODY_BYTES
from pool.errors import InvalidCustomerId, InvalidRequest, MalformedJson
from pool.model.links import check_customer_id
from pool.store.records import payload

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63 - 2, 2**64 + 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
bodies = st.fixed_dictionaries(
    {"customer_id": st.text(max_size=300) | json_values},
    optional={
        "email": st.emails() | json_values,
        "metadata": st.dictionaries(st.text(max_size=5), json_values, max_size=4) | json_values,
    },
)


def understood(body: bytes) -> bool:
    """Return True if the body is accepted, and False if it is refused in a documented way.

    Assert that an accepted claim can be written and read again, and that a refusal says why, in
    words that fit into an answer.
    """
    claim = refused = None
    try:
        claim = parse_claim(body)
    except (MalformedJson, InvalidRequest, InvalidCustomerId) as error:
        refused = error
    if claim is None:
        assert str(refused).encode(), "a refusal without a reason"
        return False
    check_customer_id(claim.customer_id)
    kept = payload(claim.customer_id, claim.email, claim.metadata)
    assert msgspec.msgpack.decode(kept)[0] == claim.customer_id
    if claim.metadata:
        assert len(msgspec.json.encode(claim.metadata)) <= METADATA_BYTES
        # The databases' drivers write it with the standard library, deep in a worker's calls.
        assert json.loads(json.dumps(claim.metadata)) is not None
    return True


@settings(max_examples=300, deadline=None)
@given(bodies)
def test_any_claim_is_taken_or_refused(body: Any) -> None:
    """An accepted claim can be recorded; everything else is one of three errors."""
    understood(json.dumps(body).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    """The parser raises nothing but the documented errors."""
    understood(body)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_broken_claim_is_taken_or_refused(data: st.DataObject) -> None:
    """A good claim that is cut, or has bytes changed, is one of the documented cases, too."""
    body = bytearray(b'{"customer_id":"Zo\\u00eb","email":"a@b.test","metadata":{"a":[1,{"b":2}]}}')
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    understood(bytes(body))


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ('{"a":18446744073709551615,"b":-9223372036854775808}', True),
        ('{"a":18446744073709551616}', False),
        ('{"a":-9223372036854775809}', False),
        ('{"a":' + "[" * (METADATA_LEVELS - 1) + "]" * (METADATA_LEVELS - 1) + "}", True),
        ('{"a":' + "[" * METADATA_LEVELS + "]" * METADATA_LEVELS + "}", False),
        ('{"a":' * METADATA_LEVELS + "1" + "}" * METADATA_LEVELS, True),
        ('{"a":' * METADATA_LEVELS + "{}" + "}" * METADATA_LEVELS, False),
        ('{"a":' + "[" * 950 + "]" * 950 + "}", False),
    ],
)
def test_metadata_is_taken_only_if_workers_can_record_it(metadata: str, taken: bool) -> None:
    """One claim that no worker can write down would stand before all others for ever."""
    assert understood(f'{{"customer_id": "x", "metadata": {metadata}}}'.encode()) is taken


@pytest.mark.parametrize(
    "body",
    [
        b'{"customer_id":"' + b"x" * CLAIM_BODY_BYTES + b'"}',
        b'{"customer_id":"x","metadata":{"a":"' + b"\\u0001" * (CLAIM_BODY_BYTES // 6) + b'"}}',
        b'{"customer_id":"x","metadata":{"a":[' + b"[]," * (CLAIM_BODY_BYTES // 3) + b"1]}}",
        b'{"customer_id":"x","metadata":{' + b'"a":1,' * (CLAIM_BODY_BYTES // 6) + b'"a":1}}',
        b'{"customer_id":"x","metadata":{"a":' + b"9" * CLAIM_BODY_BYTES + b"}}",
        b'{"customer_id":"x",' + b'"b":1,' * (CLAIM_BODY_BYTES // 6) + b'"b":1}',
        b'{"customer_id":"x","email":"' + b"@" * CLAIM_BODY_BYTES + b'"}',
        b"[" * CLAIM_BODY_BYTES,
        b" " * CLAIM_BODY_BYTES,
    ],
)
def test_the_largest_claim_takes_bounded_time(body: bytes) -> None:
    """16 KiB of the worst kind are understood or refused within some milliseconds."""
    started = time.process_time()
    for _ in range(10):
        understood(body)
    assert time.process_time() - started < 5.0  # however busy the machine is
