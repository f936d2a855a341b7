"""Test the wire that stands between a benchmark's browser and its servers."""

from __future__ import annotations

import socket
import threading
import time

from bench.loads.wire import Wire

ROUND_TRIP_SECONDS = 0.1


def test_an_answer_takes_a_round_trip_and_a_connection_one_more() -> None:
    """Every byte arrives, in order; how much later than that is the machine's."""
    answering = socket.create_server(("127.0.0.1", 0))

    def echo() -> None:
        connection, _ = answering.accept()
        with connection:
            while received := connection.recv(100_000):
                connection.sendall(received)

    threading.Thread(target=echo, daemon=True).start()
    sent = bytes(range(256)) * 300
    took = []
    with answering, Wire(ROUND_TRIP_SECONDS) as wire:
        port = wire.port()
        wire.lay(port, answering.getsockname()[1])
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            for _ in range(2):
                client.sendall(sent)
                received = b""
                while len(received) < len(sent):
                    received += client.recv(100_000)
                assert received == sent
                took.append(time.monotonic() - started)
                started = time.monotonic()
            client.shutdown(socket.SHUT_WR)
    assert took[0] >= 2 * ROUND_TRIP_SECONDS
    assert took[1] >= ROUND_TRIP_SECONDS
