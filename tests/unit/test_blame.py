"""Test which part is blamed when the provider gives no link."""

from __future__ import annotations

import random

import pytest

from pool.supply.blame import (
    FAILURES_TO_BLOCK,
    OTHERS_LINKS,
    OTHERS_LINKS_UNTHROTTLED,
    OWN_FAILURES_TO_BLOCK,
    Blame,
    Troubles,
)


def fail(
    troubles: Troubles, sid: str, kind: str = "failed", *, final: bool = False,
    meetings: int | None = 100, probe: bool = False,
) -> Blame:  # fmt: skip
    """Note one failure of a meeting, of a workspace that has a hundred."""
    return troubles.failed(sid, kind, final=final, meetings=meetings, probe=probe)


def test_a_refusal_is_put_down_to_its_meeting_at_once() -> None:
    """Asking again would not help."""
    troubles = Troubles()
    assert fail(troubles, "bad", "refused-404", final=True) is Blame.MEETING
    assert troubles.is_blamed("bad")


def test_a_failure_may_be_chance() -> None:
    """Only several failures in a row count, and a link in between restarts the count."""
    troubles = Troubles()
    for _ in range(FAILURES_TO_BLOCK - 1):
        assert fail(troubles, "a") is Blame.NOBODY
    troubles.worked("a")
    for _ in range(FAILURES_TO_BLOCK - 1):
        assert fail(troubles, "a") is Blame.NOBODY
    assert not troubles.is_blamed("a")
    assert fail(troubles, "a") is Blame.MEETING


def test_failures_at_the_same_time_are_one_observation() -> None:
    """One request that began later has to fail as well, however many were under way."""
    troubles = Troubles()
    for _ in range(3 * FAILURES_TO_BLOCK):
        assert troubles.failed("a", "failed", final=False, meetings=1, seen=0) is Blame.NOBODY
    assert troubles.is_suspect("a")  # so that it is tried one link at a time
    assert troubles.failed("a", "failed", final=False, meetings=1, seen=1) is Blame.MEETING


def test_meetings_that_fail_at_the_same_time_are_one_observation() -> None:
    """A link in between begins it anew."""
    troubles = Troubles()
    for _ in range(2):
        seen = troubles.seen
        for number in range(16):
            blame = troubles.failed(f"m{number}", "failed", final=False, meetings=16, seen=seen)
            assert blame is Blame.NOBODY
        troubles.worked("m0")
    seen = troubles.seen
    for number in range(16):
        troubles.failed(f"m{number}", "failed", final=False, meetings=16, seen=seen)
    assert fail(troubles, "m3", meetings=16) is Blame.WORKSPACE


def test_fewer_failures_are_enough_while_the_neighbours_get_links() -> None:
    """It is not the provider that is down."""
    troubles = Troubles()
    assert fail(troubles, "bad") is Blame.NOBODY
    assert not troubles.is_own("bad")
    for number in range(OTHERS_LINKS):
        troubles.worked(f"good-{number}")
    assert troubles.is_own("bad")
    for _ in range(OWN_FAILURES_TO_BLOCK - 2):
        assert fail(troubles, "bad") is Blame.NOBODY
    assert fail(troubles, "bad") is Blame.MEETING


def test_several_that_fail_alike_are_put_down_to_the_workspace() -> None:
    """More than half of those tried lately must fail, and enough must have been tried."""
    troubles = Troubles()
    blames = [fail(troubles, f"m{n}", "refused-404", final=True) for n in range(10)]
    assert blames == [Blame.MEETING] * 9 + [Blame.WORKSPACE]


def test_a_small_workspace_is_judged_by_all_it_has() -> None:
    """Three of three, or three of four; two are never enough."""
    three = Troubles()
    assert [fail(three, f"m{n}", meetings=3) for n in range(3)][-1] is Blame.WORKSPACE
    four = Troubles()
    four.worked("m3")
    assert [fail(four, f"m{n}", meetings=4) for n in range(3)][-1] is Blame.WORKSPACE
    two = Troubles()
    assert {fail(two, f"m{n % 2}", meetings=2) for n in range(7)} == {Blame.NOBODY}


def test_a_few_that_fail_among_many_that_work_are_no_workspace() -> None:
    """The few may be tried any number of times."""
    troubles = Troubles()
    for turn in range(50):
        for number in range(5):
            blame = fail(troubles, f"bad-{number}", "refused-403", final=True)
            assert blame is Blame.MEETING
            troubles.worked(f"good-{turn}-{number}")


def test_many_that_fail_in_different_ways_are_no_workspace() -> None:
    """No cause that they share is known."""
    troubles = Troubles()
    ways = ["refused-403", "refused-404", "refused-422", "bad-answer"]
    for number in range(40):
        assert fail(troubles, f"m{number}", ways[number % 4], final=True) is Blame.MEETING


def test_blocked_meetings_that_are_probed_say_nothing_about_their_workspace() -> None:
    """No other meeting is tried while all others are full."""
    troubles = Troubles()
    for number in range(40):
        blame = fail(troubles, f"m{number}", "refused-404", final=True, probe=True)
        assert blame is Blame.MEETING


def test_links_made_on_the_spot_say_nothing_about_their_workspace() -> None:
    """They are asked for where pools are empty, which is where something is wrong."""
    troubles = Troubles()
    for number in range(40):
        blame = fail(troubles, f"m{number}", "refused-404", final=True, meetings=None)
        assert blame is Blame.MEETING


def test_the_evidence_against_a_workspace_is_gathered_anew_once_it_was_blocked() -> None:
    """The first failure after that is one failure."""
    troubles = Troubles()
    assert [fail(troubles, f"m{n}", meetings=3) for n in range(3)][-1] is Blame.WORKSPACE
    assert fail(troubles, "m0", meetings=3) is not Blame.WORKSPACE


def test_a_429_is_the_paces_fault() -> None:
    """That holds for several in a row, and for one while other meetings get links."""
    troubles = Troubles()
    for _ in range(30):
        assert troubles.throttled("a") is Blame.NOBODY
    troubles = Troubles()
    for turn in range(60):
        troubles.worked(f"m{turn % 5}")
        assert troubles.throttled(f"m{(turn + 2) % 5}") is Blame.NOBODY


def test_a_meeting_that_gets_429s_alone_is_blamed_for_them() -> None:
    """The others get links meanwhile, without a single one."""
    troubles = Troubles()
    assert troubles.throttled("bad") is Blame.NOBODY
    for number in range(OTHERS_LINKS_UNTHROTTLED):
        troubles.worked(f"m{number}")
    assert troubles.throttled("worse") is Blame.NOBODY  # another of the kind proves nothing
    assert troubles.throttled("bad") is Blame.NOBODY
    assert troubles.throttled("bad") is Blame.MEETING


def test_a_meeting_is_suspect_until_it_gets_a_link() -> None:
    """A meeting is suspect from the second failure in a row; one may be chance."""
    troubles = Troubles()
    fail(troubles, "a")
    assert not troubles.is_suspect("a")
    fail(troubles, "a")
    assert troubles.is_suspect("a")
    troubles.worked("a")
    assert not troubles.is_suspect("a")
    assert not troubles.is_suspect("never tried")


def provider_that_fails(share: int, meetings: int) -> tuple[Troubles, list[Blame]]:
    """Fail one call out of this many by chance. Return all blames but the earliest."""
    troubles, blames, chance = Troubles(), [], random.Random(1)
    for _ in range(3_000):
        sid = f"m{chance.randrange(meetings)}"
        if chance.randrange(share):
            troubles.worked(sid)
        else:
            blames.append(fail(troubles, sid, meetings=meetings))
    return troubles, blames[30:]


@pytest.mark.parametrize("meetings", [1, 3, 30])
def test_a_provider_that_fails_now_and_then_has_nobody_blamed(meetings: int) -> None:
    """A fifth of all calls fails for every meeting, so three in a row happen by chance."""
    troubles, blames = provider_that_fails(5, meetings)
    assert set(blames) == {Blame.NOBODY}
    troubles.worked("m0")
    fail(troubles, "m0")
    fail(troubles, "m0")
    assert not troubles.is_suspect("m0")


def test_a_broken_meeting_is_found_though_the_provider_fails_now_and_then() -> None:
    """It takes some more failures in a row than where nothing else fails."""
    troubles, _ = provider_that_fails(5, 30)
    found = [fail(troubles, "bad") for _ in range(12)]
    assert Blame.MEETING in found
    assert Blame.WORKSPACE not in found
