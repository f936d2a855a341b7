"""Test that the tests are shared out as they stand."""

from __future__ import annotations

from pathlib import Path

from tests.shares import SHARES, share_of

TESTS = Path(__file__).parents[1]


def test_each_share_names_what_there_is() -> None:
    """A file that is moved takes its place among the shares along, and stands in one of them."""
    names = [name for share in SHARES for name in share]
    assert len(names) == len(set(names))
    for name in names:
        assert (TESTS / name).is_dir() if name.endswith("/") else (TESTS / name).is_file(), name


def test_tests_on_one_product_are_one_share() -> None:
    """Tests of a share follow its number; those of any other file come last."""
    one = share_of("tests/acceptance/test_errors.py::test_a[x::y]")
    assert one == share_of("tests/acceptance/test_scopes.py::test_b")
    browser = share_of("tests/browser/test_tag.py::test_c")
    assert browser == share_of("tests/browser/test_tag_life.py::test_d")
    assert browser != share_of("tests/browser/test_views.py::test_e")
    other = share_of("tests/unit/test_desk.py::test_f")
    assert other == (len(SHARES), "tests/unit/test_desk.py")
    assert one < other
