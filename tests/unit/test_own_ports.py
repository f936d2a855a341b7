"""Test that no two servers of the tests are given one port."""

from __future__ import annotations

import socket

from pool.up import ports


def test_no_port_is_given_twice() -> None:
    """This holds before anything listens, and for the port above, which a sandbox takes."""
    chosen = [ports.choose() for _ in range(100)]
    assert len({port + more for port in chosen for more in (0, 1)}) == 200


def test_a_port_that_is_taken_is_not_given() -> None:
    """It is not given even if it is preferred."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert ports.choose(taken) != taken
