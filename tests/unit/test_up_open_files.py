"""Test that `linkpool up` says in one line that it may not open enough files."""

from __future__ import annotations

import resource

import pytest

from pool.errors import LinkpoolError
from pool.up.supervisord import check_open_files


@pytest.mark.parametrize("most", [1024, 4096, resource.RLIM_INFINITY])
def test_a_hard_limit_of_1024_files_is_enough(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The soft limit does not matter, since supervisord raises it."""
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: asked.append(which) or (64, most))
    check_open_files()
    assert asked == [resource.RLIMIT_NOFILE]


def test_too_few_files_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is linkpool's own, not the message of supervisord."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 1023))
    with pytest.raises(LinkpoolError, match=r"more than 1023 files.*1024.*LimitNOFILE"):
        check_open_files()
