"""Test the settings of a meeting on the page: in words, with advice, and with a way back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.api.ops.actions.settings_form import changes_of, preview, problems_of, shown
from pool.api.ops.actions.settings_words import check_nobody_else_changed
from pool.api.ops.session.forms import Form
from pool.errors import InvalidRequest, NotInForceYet, StoreUnavailable
from pool.model.durations import exact_words, seconds_of
from pool.model.forecast import NO_PAST, Outlook, Usual, forecast
from pool.model.incidents import What
from pool.model.meetings import Meeting
from pool.operations.administration import Administration
from pool.operations.advice import meanings, suggestions
from pool.operations.undo import undo, undoable
from tests.in_process import InProcess
from tests.unit.test_ops_pages import status

NOW = datetime(2026, 11, 26, 10, 55, tzinfo=UTC)


# -- lengths of time -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45 s", 45), ("45", 45), ("0", 0), ("2 h", 7_200), ("30 days", 2_592_000),
        ("1 day", 86_400), ("10min", 600), ("1 h 30 min", 5_400), ("1.5 h", 5_400),
        (" 2 Weeks ", 1_209_600), ("90 Seconds", 90), ("1 d, 2 h", 93_600),
    ],
)  # fmt: skip
def test_a_length_of_time_is_read_as_people_write_it(text: str, seconds: int) -> None:
    """It may have a unit, several parts or a fraction."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-5", "1 h 30", "5 months", "0.5", "1 2", "h", "٣ s", "1e3", "9" * 13]
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    """Rather than guessed."""
    with pytest.raises(InvalidRequest):
        seconds_of(text)


@given(st.integers(0, 40_000_000))
def test_what_the_form_shows_is_what_it_takes(seconds: int) -> None:
    """A form that is sent back unchanged changes nothing."""
    assert seconds_of(exact_words(seconds)) == seconds


# -- the form ------------------------------------------------------------------------


def test_an_unchanged_form_changes_nothing() -> None:
    """The form has the values in words, as the page shows them."""
    meeting = Meeting("intro", cover_seconds=90, fallback_url="https://x.test/")
    fields = {each.setting.name: each.value for each in shown(meeting)}
    assert (fields["cover_seconds"], fields["claim_ttl_seconds"]) == ("90 s", "30 days")
    assert changes_of(Form(fields), meeting) == {}
    assert changes_of(Form(fields | {"cover_seconds": "2 h"}), meeting) == {"cover_seconds": 7_200}


def test_every_wrong_field_is_named_beside_it() -> None:
    """All errors are shown at once, contradictions included."""
    wrong = {
        "min_fresh": "many", "cover_seconds": "25 h", "claim_ttl_seconds": "soon",
        "on_empty": "explode", "reason": " ",
    }  # fmt: skip
    found = problems_of(Form(wrong), Meeting("intro"))
    assert found == {
        "min_fresh": "Enter a whole number of links.",
        "cover_seconds": "At most 1 day.",
        "claim_ttl_seconds": "“soon” is no length of time; write 45 s, 10 min, 2 h or 30 days.",
        "on_empty": "Choose one of the answers offered.",
        "reason": "Fill this in.",
    }
    both = problems_of(Form({"max_fresh": "3", "reason": "x"}), Meeting("intro"))
    assert both == {"max_fresh": "3 is below the minimum (50)."}


def test_a_preview_takes_what_is_valid_already() -> None:
    """Half a sentence in one field keeps the others from nothing."""
    found = preview(Form({"min_fresh": "7", "cover_seconds": "2 "}), Meeting("intro"))
    assert (found.min_fresh, found.cover_seconds) == (7, 2)
    assert preview(Form({"min_fresh": "", "max_fresh": "9"}), Meeting("intro")).max_fresh == 9


# -- what settings mean --------------------------------------------------------------


def words(meeting: Meeting, rate: float, fresh: int) -> str:
    return " ".join(each.words for each in meanings(meeting, rate, fresh))


def test_settings_are_said_in_words_at_the_present_rate() -> None:
    """They say how long the stock lasts, what the cover asks for, where the maximum ends."""
    said = words(Meeting("m", min_fresh=20), 0.6, 20)
    assert "At 0.6 claims/s, 20 links last 33 s." in said
    assert "To last 5 min, this rate asks for 183 links" in said
    assert "The minimum alone lasts 33 s." in said
    assert "At most 2,000 is enough up to 6.6 claims/s." in said


@pytest.mark.parametrize(
    ("settings", "rate", "fresh", "said"),
    [
        ({"min_fresh": 1, "max_fresh": 1}, 0.59, 1,
         "At most 1 is too small: this rate needs about 180."),
        ({}, 0.5, 0, "The pool is empty, at 0.5 claims/s."),
        ({"max_fresh_age_seconds": 3_600}, 0.001, 50, "retires after 1 h: many are made for"),
    ],
)  # fmt: skip
def test_what_is_too_small_or_too_large_comes_first(
    settings: dict[str, Any], rate: float, fresh: int, said: str
) -> None:
    """It is marked as bad."""
    first, *others = meanings(Meeting("m", **settings), rate, fresh)
    assert first.bad
    assert said in first.words
    assert not all(each.bad for each in others)


def test_without_claims_the_minimum_is_what_counts() -> None:
    """A minimum of 0 lets the first visitor wait."""
    assert words(Meeting("m"), 0.0, 50) == "Nobody claims now, so 50 links are kept ready."
    none = Meeting("m", min_fresh=0, on_empty="fail", reserve=3)
    assert "the first visitor after a quiet time gets the error pool-empty" in words(none, 0.0, 0)
    assert "while more than 3 are left" in words(none, 0.0, 0)


# -- what would be better ------------------------------------------------------------


def advised(meeting: Meeting, rate: float, outlook: Outlook = NO_PAST) -> Any:
    seen = forecast(meeting, 50, rate, NOW.timestamp(), outlook)
    target = meeting.target(rate)
    return suggestions(
        status("m", meeting=meeting, claims_per_second=rate, forecast=seen, target=target), NOW
    )


def test_a_pool_that_may_hold_too_little_is_offered_more() -> None:
    """The suggestion is a round number with its reason."""
    [only] = advised(Meeting("m", min_fresh=1, max_fresh=1), 0.59)
    assert list(only.changes) == ["max_fresh"]
    assert 180 <= int(only.changes["max_fresh"]) <= 400
    assert "The maximum is 1 now." in only.why


def test_the_forecast_says_why() -> None:
    """It says when the busy time begins, how sure that is, and on what data it is based."""
    hour = int(NOW.timestamp() // 3_600)
    busy = Outlook(hour, (Usual(36.0, 4.0), *[Usual(3_600.0, 200.0)] * 23))
    more, follow = advised(Meeting("m"), 0.01, busy)
    assert int(more.changes["min_fresh"]) > 250
    assert "from 11:00 UTC on" in more.why
    assert "in nine of ten cases, by what is usual at that hour" in more.why
    assert follow.changes == {"target": "auto"}
    assert advised(Meeting("m", target_mode="auto"), 0.01, busy) == []


def test_a_pool_that_is_set_well_is_left_alone() -> None:
    """It has no claims, or plenty of links."""
    assert advised(Meeting("m"), 0.0) == []
    assert advised(Meeting("m", min_fresh=500), 0.5) == []


# -- the way back --------------------------------------------------------------------


def acting(product: InProcess) -> Administration:
    parts = product.parts
    return Administration(parts.store, parts.ledger, parts.erasure, parts.recovery, parts.settings)


async def test_a_change_is_undone_with_one_click_and_again(product: InProcess) -> None:
    """The earlier settings come from the audit; an undo is a change that can be undone."""
    administration, ledger = acting(product), product.ledger
    await administration.put("m", {"min_fresh": 5}, "ann")
    assert await undoable(ledger, Meeting("m", min_fresh=5)) is None  # it was made, not changed
    changes = {"min_fresh": 9, "fallback_url": "https://x.test/"}
    meeting, _ = await administration.put("m", changes, "ann", reason="campaign")
    entry = await undoable(ledger, meeting)
    assert entry is not None
    assert entry.before == {"min_fresh": 5, "fallback_url": None}
    restored, _ = await undo(ledger, administration, "m", entry.id, "bob")
    assert (restored.min_fresh, restored.fallback_url) == (5, None)
    last = await ledger.audit.latest("put", "m")
    assert last is not None
    assert (last.actor, last.reason, last.detail) == (
        "bob", "Undo of: campaign", {"min_fresh": 5, "fallback_url": None},
    )  # fmt: skip
    again, _ = await undo(ledger, administration, "m", last.id, "bob")
    assert again.min_fresh == 9


async def test_a_change_that_others_followed_is_not_undone(product: InProcess) -> None:
    """Nothing is changed then, by whatever way the later change came."""
    administration, ledger = acting(product), product.ledger
    await administration.put("m", {}, "ann")
    meeting, _ = await administration.put("m", {"min_fresh": 9}, "ann")
    entry = await undoable(ledger, meeting)
    assert entry is not None
    await administration.put("m", {"cover_seconds": 60}, "bob")
    with pytest.raises(InvalidRequest, match="changed since"):
        await undo(ledger, administration, "m", entry.id, "ann")
    await administration.put("m", {"cover_seconds": 60}, "bob")
    nothing = await ledger.meetings.get("m")
    assert nothing is not None
    assert await undoable(ledger, nothing) is None  # the last one changed nothing
    past_the_audit = Meeting("m", min_fresh=9, cover_seconds=61)
    await ledger.meetings.put(past_the_audit)
    assert await undoable(ledger, past_the_audit) is None
    assert (await ledger.meetings.get("m")) == past_the_audit


async def test_a_pause_stays_while_somebody_changes_a_setting(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change looked at the meeting before it was paused, and is written afterwards."""
    administration, ledger = acting(product), product.ledger
    await administration.put("m", {}, "ann")
    get = ledger.meetings.get

    async def paused_meanwhile(sid: str) -> Meeting | None:
        found = await get(sid)
        monkeypatch.setattr(ledger.meetings, "get", get)
        await administration.pause("m", "flood", "bob")
        return found

    monkeypatch.setattr(ledger.meetings, "get", paused_meanwhile)
    meeting, _ = await administration.put("m", {"min_fresh": 7}, "ann")

    assert meeting == await get("m")
    assert (meeting.min_fresh, meeting.paused, meeting.pause_reason) == (7, True, "flood")
    [published] = await product.store.published.all()
    assert (published.min_fresh, published.paused) == (7, True)


async def test_a_change_that_redis_missed_is_in_the_audit_and_said_to_take_effect_later(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has it, so to call it failed would be wrong, and nobody would know who did it."""
    administration, ledger = acting(product), product.ledger
    await administration.put("m", {}, "ann")

    async def silent(_meetings: object) -> None:
        raise StoreUnavailable("Redis: Timeout reading from 127.0.0.1:6379")

    monkeypatch.setattr(product.store.published, "put", silent)
    for done in (
        administration.put("m", {"min_fresh": 7}, "ann", reason="campaign"),
        administration.pause("m", "flood", "bob"),
    ):
        with pytest.raises(NotInForceYet, match="takes effect by itself"):
            await done
    meeting = await ledger.meetings.get("m")
    assert meeting is not None
    assert (meeting.min_fresh, meeting.paused) == (7, True)
    acts = [(each.actor, each.action, each.reason) for each in await ledger.audit.list(2, "m")]
    assert acts == [("bob", "pause", "flood"), ("ann", "put", "campaign")]
    [standing] = await ledger.incidents.standing()
    assert (standing.what, standing.text) == (What.PAUSE, "flood")
    with pytest.raises(NotInForceYet):
        await administration.resume("m", "over", "bob")
    assert [each.action for each in await ledger.audit.list(1, "m")] == ["resume"]
    assert await ledger.incidents.standing() == []


def test_a_page_opened_before_takes_back_nothing_that_others_changed() -> None:
    """Only typed values count, and a setting that both changed is named."""
    opened = {f"was-{each.setting.name}": each.value for each in shown(Meeting("m"))}
    present = Meeting("m", max_fresh=900, cover_seconds=60)
    form = Form(opened | {"max_fresh": "2000", "min_fresh": "70", "cover_seconds": "5 min"})
    assert changes_of(form, present) == {"min_fresh": 70}
    check_nobody_else_changed(form, present)
    with pytest.raises(InvalidRequest) as refused:
        check_nobody_else_changed(Form(opened | {"max_fresh": "100", "min_fresh": "1"}), present)
    assert [each.partition(" since")[0] for each in refused.value.errors] == [
        "Maximum: somebody changed it to 900 links"
    ]
    check_nobody_else_changed(Form(opened | {"max_fresh": "900"}), present)  # both want the same
