"""Test that free ports are found."""

from __future__ import annotations

import pytest

from pool.up import ports


def test_a_port_is_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was chosen may be listened on only later, by a part that is not started yet."""
    first = ports.choose()
    numbers = iter([first - ports._FIRST, first - ports._FIRST, first - ports._FIRST + 1])
    monkeypatch.setattr(ports.secrets, "randbelow", lambda _: next(numbers))
    monkeypatch.setattr(ports, "is_free", lambda _: True)
    assert ports.choose() == first + 1
    assert ports.choose(first) == first, "the one that is asked for is taken again"
