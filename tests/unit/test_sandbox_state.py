"""Test the sandbox's rate limit, its state file and the bounds of its memory."""

from __future__ import annotations

from pathlib import Path

from sandbox.core import Config, Sandbox
from sandbox.journal import Journal
from sandbox.limiter import TokenBucket
from sandbox.state import State


def _sandbox(path: Path) -> Sandbox:
    sandbox = Sandbox(
        Config(public_url="http://s.test", api_key="k", meetings={"demo": "D"}, state_file=path)
    )
    sandbox.load()
    return sandbox


def _link(sandbox: Sandbox) -> str:
    meeting = sandbox.state.meeting("demo")
    assert meeting is not None
    return sandbox.state.make_link(meeting).slug


def _book(sandbox: Sandbox, slug: str) -> str:
    return sandbox.state.book(
        slug=slug,
        meeting_sid=None,
        name="Zoë",
        email="z@example.com",
        starts_at="2030-01-01T10:00:00.000000Z",
        answers={"ref": slug},
    ).sid


def test_the_bucket_fills_at_its_rate() -> None:
    """A full bucket gives its burst at once, then its rate, and never more than its size."""
    bucket = TokenBucket()

    def taken(now: float, tries: int) -> int:
        return sum(bucket.take(now, per_second=10, burst=5) for _ in range(tries))

    assert taken(0.0, 20) == 5
    assert taken(0.1, 20) == 1
    assert taken(0.5, 20) == 4
    assert taken(60.0, 20) == 5


def test_a_bucket_without_a_burst_holds_one_second() -> None:
    """Burst 0 means a second's worth, and at least one; rate 0 means no limit."""
    assert sum(TokenBucket().take(0.0, per_second=0, burst=0) for _ in range(50)) == 50
    whole, slow = TokenBucket(), TokenBucket()
    assert sum(whole.take(0.0, per_second=7, burst=0) for _ in range(20)) == 7
    assert sum(slow.take(0.0, per_second=0.2, burst=0) for _ in range(20)) == 1


def test_a_killed_sandbox_remembers(tmp_path: Path) -> None:
    """Without any orderly end, links and bookings that were answered are there again."""
    path = tmp_path / "deep" / "state.jsonl"
    before = _sandbox(path)
    used, unused = _link(before), _link(before)
    sid = _book(before, used)
    before.cancel(sid, reason="changed my mind")

    after = _sandbox(path)
    assert after.state.links == before.state.links
    assert after.state.bookings == before.state.bookings
    assert after.state.links[used].booking_sid == sid
    assert after.state.links[unused].booking_sid is None
    assert after.state.bookings[sid].status == "cancelled"


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    """A line cut short by a crash, or of another kind, costs nothing but itself."""
    path = tmp_path / "state.jsonl"
    before = _sandbox(path)
    slug = _link(before)
    with path.open("ab") as file:
        file.write(b'{"link": {"slug": "x", "unknown": 1}}\n[1]\n{"booking": {"sid"')
    after = _sandbox(path)
    assert set(after.state.links) == {slug}
    second = _link(after)
    assert set(_sandbox(path).state.links) == {slug, second}


def test_the_file_is_made_small_at_the_start(tmp_path: Path) -> None:
    """Many changes of one booking leave one line once the file is opened again."""
    path = tmp_path / "state.jsonl"
    sandbox = _sandbox(path)
    sid = _book(sandbox, _link(sandbox))
    for _ in range(20):
        sandbox.reschedule(sid)
    assert len(path.read_text().splitlines()) == 22
    _sandbox(path)
    assert len(path.read_text().splitlines()) == 2


def test_the_oldest_links_are_forgotten_first() -> None:
    """Memory is bounded: beyond its most, the oldest link makes room for the new one."""
    state = State(Journal(None), meetings={"demo": "D"}, any_meeting=False, links_most=3)
    meeting = state.meeting("demo")
    assert meeting is not None
    made = [state.make_link(meeting).slug for _ in range(5)]
    assert list(state.links) == made[2:]
