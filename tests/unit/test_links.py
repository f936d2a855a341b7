"""Test links: their states, which only move right, and the names they carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.errors import InvalidCustomerId
from pool.model.links import State, check_customer_id, is_sid, is_slug, may_move, states_before

FRESH, RETIRED, QUARANTINED, CLAIMED, LAPSED, CONSUMED, CANCELLED = State

# The diagram, from left to right.
PLACE = {FRESH: 0, RETIRED: 1, QUARANTINED: 1, CLAIMED: 2, LAPSED: 3, CONSUMED: 4, CANCELLED: 4}
BOOKED = {CONSUMED, CANCELLED}


@pytest.mark.parametrize("new", State)
@pytest.mark.parametrize("old", State)
def test_links_only_move_right(old: State, new: State) -> None:
    """Every move to the right is one that happens, but for a lapse of what nobody claimed; and
    between consumed and cancelled, which follow from the link's bookings, both do."""
    right = PLACE[old] < PLACE[new] or (old is not new and {old, new} == BOOKED)
    never_claimed = new is LAPSED and old in (FRESH, RETIRED, QUARANTINED)
    assert may_move(old, new) is (right and not never_claimed)


@pytest.mark.parametrize("new", State)
def test_the_states_before_are_those_that_may_move(new: State) -> None:
    """Both tables agree."""
    assert set(states_before(new)) == {old for old in State if may_move(old, new)}


@given(st.lists(st.sampled_from(State)))
def test_no_order_of_events_brings_a_link_back(events: list[State]) -> None:
    """In any order of events, a link that left the pool is never fresh again."""
    state, left = FRESH, False
    for event in events:
        if may_move(state, event):
            assert PLACE[event] > PLACE[state] or {event, state} == BOOKED
            state = event
        left |= state is not FRESH
        assert (state is not FRESH) is left


@given(st.permutations([CLAIMED, LAPSED, CONSUMED]))
def test_the_last_state_does_not_depend_on_the_order(events: list[State]) -> None:
    """A claim, its lapse and its booking may be reported in any order."""
    state = FRESH
    for event in events:
        if may_move(state, event):
            state = event
    assert state is CONSUMED


@pytest.mark.parametrize(
    "customer_id",
    ["a", "x" * 256, "ann@example.com", "order/7?x=1", "Zoë <&>", "日本", "🙂", " ", "..", "{}"],
)
def test_a_customer_id_is_the_sites_own(customer_id: str) -> None:
    """One to 256 characters of any script; it comes back as it is."""
    assert check_customer_id(customer_id) is customer_id


@pytest.mark.parametrize(
    ("customer_id", "problem"),
    [
        ("", "empty"),
        ("x" * 257, "257 characters"),
        ("x" * 1_000_000, "1000000 characters"),
        ("a\x00b", "control"),
        ("a\n", "control"),
        ("\x7f", "control"),
        ("\x85", "control"),
        ("\ud800", "control"),
        ("ok\udfff", "control"),
    ],
)
def test_an_unusable_customer_id_is_refused(customer_id: str, problem: str) -> None:
    """The message names the fault, and never repeats the id."""
    with pytest.raises(InvalidCustomerId, match=problem) as refused:
        check_customer_id(customer_id)
    assert len(str(refused.value)) < 100


@given(st.text(min_size=1, max_size=256))
def test_whatever_is_accepted_can_be_written_as_utf8(customer_id: str) -> None:
    """Every later step can take it as it is."""
    try:
        check_customer_id(customer_id)
    except InvalidCustomerId:
        return
    assert customer_id.encode().decode() == customer_id
    assert customer_id.isprintable() or not any(ord(character) < 32 for character in customer_id)


@pytest.mark.parametrize("sid", ["a", "A-z_9", "x" * 64, "-", "_"])
def test_a_sid_is_letters_digits_and_dashes(sid: str) -> None:
    """The letters, digits and dashes are those that the provider writes."""
    assert is_sid(sid)


@pytest.mark.parametrize("sid", ["", "x" * 65, "a b", "a/b", "..", "{}", "a\n", "ü", "a\x00"])
def test_anything_else_is_no_sid(sid: str) -> None:
    """It stands in the names of keys and in the provider's paths."""
    assert not is_sid(sid)


@pytest.mark.parametrize("slug", ["one-off-c5530bc7c9ab", "abc", "a" * 128, "0_-"])
def test_a_slug_has_a_form(slug: str) -> None:
    """Three to 128 letters, digits, dashes and underscores, the first no dash."""
    assert is_slug(slug)


@pytest.mark.parametrize(
    "slug", ["", "ab", "a" * 129, "-abc", "_abc", "a:bc", "a b c", "abc\n", "äbc", "a/bc"]
)
def test_anything_else_is_no_slug(slug: str) -> None:
    """It stands in bindings, between colons, and in addresses."""
    assert not is_slug(slug)
