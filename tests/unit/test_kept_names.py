"""Test the names that outlive a release: the next one finds what was stored under a secret key."""

from __future__ import annotations

import pytest

from pool.model.marks import Marks, packed
from pool.store.bindings import CustomerNames

KEY = b"the secret key of these tests"
MARKS, NAMES = Marks(KEY), CustomerNames(KEY)


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (MARKS.of_email("zo\u00eb@x.test"), "0493fe560701606a"),
        (MARKS.of_email_before("Stra\u00dfe@x.test"), "5a9ffff6eacf58bc"),
        (MARKS.of_booking("default", "b-1"), "836ea54a6fb33236"),
        (MARKS.of_text(" order-4711 "), "2be17743e76c5eef"),
        (NAMES.marks.of_text("order-4711"), "2be17743e76c5eef"),
        (MARKS.pseudonym("default", "b-1"), "erased-e5f69fe39e68c538e6cab416e79ecaeb"),
        (NAMES.name("intro", "ann"), "u0cTW8NzcrwEkYt4"),
        (NAMES.email_name("Ann@x.test"), "e7556a83596e66cb17344eece6b66136"),
        (NAMES.fingerprint, "29bbd1c5451b73ee"),
    ],
)
def test_what_is_kept_under_a_key_is_named_the_same_for_ever(made: str, kept: str) -> None:
    """Ledgers hold these: another name would forget the erased, and lose bindings."""
    assert made == kept


def test_texts_that_are_no_unicode_have_names_too() -> None:
    """A webhook may hold half a surrogate pair."""
    lone = "\ud800@x.test"
    assert len(MARKS.of_text(lone)) == 16
    assert MARKS.pseudonym("default", lone).startswith("erased-")
    assert NAMES.email_name(lone) != NAMES.email_name("?@x.test")


def test_the_names_of_a_bounded_number_of_meetings_are_prepared() -> None:
    """A name stays the same when they are forgotten."""
    names = CustomerNames(KEY)
    for number in range(20_000):
        names._begin(f"m{number}")
    assert names.name("m1", "ann") != names.name("m2", "ann")
    assert len(names._begun) == 20_000
    before = names.name("m2", "ann")
    names.name("one more", "ann")
    assert list(names._begun) == ["one more"]
    assert names.name("m2", "ann") == before


def test_marks_are_packed_once_each_in_their_order() -> None:
    """The inbox stores them in this form."""
    assert packed(["0b", "0a", "0b"]) == b"\x0b\x0a"
    assert packed([]) == b""
