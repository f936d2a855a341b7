"""Test how many connections one address may have while most of them are taken."""

from __future__ import annotations

from types import SimpleNamespace

from pool.api.server.crowd import Crowd


class Connection:
    def __init__(self, network: str | None, since: float = 0.0) -> None:
        self.network = network
        self.since = since
        self.ended = False
        self.transport = SimpleNamespace(is_closing=lambda: self.ended, abort=self.end)

    def end(self) -> None:
        self.ended = True

    def stranger(self) -> str | None:
        return self.network

    def waits_since(self) -> float:
        return self.since


def many(count: int, network: str | None) -> list[Connection]:
    return [Connection(network, float(number)) for number in range(count)]


def ended(connections: list[Connection]) -> int:
    return sum(each.ended for each in connections)


def test_nobody_is_bounded_while_there_is_room() -> None:
    """A site's servers may connect as often as they like before they show their key."""
    crowd = Crowd(1_000)
    connections = many(500, "a")
    crowd.look(connections, connections)
    assert ended(connections) == 0
    assert all(crowd.admits(each) for each in many(500, "a"))


def test_while_it_is_crowded_an_address_has_a_tenth() -> None:
    """Its longest waiting connections end, and it gets no others meanwhile."""
    crowd = Crowd(1_000)
    greedy, few, keyed = many(400, "a"), many(60, "b"), many(300, None)
    connections = [*greedy, *few, *keyed]
    crowd.look(connections, connections)
    assert [each.ended for each in greedy] == [True] * 300 + [False] * 100
    assert ended(few) + ended(keyed) == 0
    assert not crowd.admits(Connection("a"))
    assert [crowd.admits(Connection("b")) for _ in range(50)] == [True] * 40 + [False] * 10
    assert all(crowd.admits(Connection("c")) for _ in range(100))
    assert all(crowd.admits(Connection(None)) for _ in range(1_000))


def test_the_bound_ends_with_the_crowd() -> None:
    """It ends at the next look after connections have ended."""
    crowd = Crowd(1_000)
    connections = many(600, "a")
    crowd.look(connections, connections)
    assert not crowd.admits(Connection("a"))
    left = [each for each in connections if not each.ended]
    crowd.look(left, left)
    assert crowd.admits(Connection("a"))
