"""Test what the store asks of Redis: which scripts, with which keys, and how often."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from pool.errors import StoreUnavailable
from pool.model.links import Claim
from pool.store import key_names, locks, recovery, scripts
from pool.store.bindings import CustomerNames
from pool.store.budget import Budget
from pool.store.cluster.client import ClusterRedis
from pool.store.locks import Held, Locks
from pool.store.records import payload
from pool.store.recovery import Rebind, RecoveryLost, RecoverySteps
from tests.any_redis import AnyRedis
from tests.unit.store_contract import SID, open_pool

# -- locks ---------------------------------------------------------------------------------------


class Scripts:
    """Notes the scripts that are run, and replies to each as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **replies: Any) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.replies = replies
        monkeypatch.setattr(scripts, "run", self.run)

    async def run(self, _redis: object, name: str, keys: list[Any], args: list[Any]) -> Any:
        self.said.append((name, keys, args))
        reply = self.replies[name]
        if isinstance(reply, list):
            reply = reply.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


async def test_a_lock_is_renewed_four_times_in_its_life_and_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its token alone does so, and a Redis that is away for a moment ends neither."""
    waits: list[float] = []

    async def rest(seconds: float) -> None:
        waits.append(seconds)
        await real_sleep(0)

    real_sleep = asyncio.sleep
    monkeypatch.setattr(locks.asyncio, "sleep", rest)
    said = Scripts(
        monkeypatch, lock=[b"token", None], unlock=StoreUnavailable("gone"),
        extend_lock=[1, StoreUnavailable("gone"), 1, 0],
    )  # fmt: skip
    client: Any = SimpleNamespace()
    async with Locks(client).held("a lock", seconds=8.0) as held:
        assert held is not None
        assert held.token == "token"
        for _ in range(30):
            await real_sleep(0)
    (first, keys, args), *rest_of = said.said
    assert (first, keys, args[1]) == ("lock", ["a lock"], 8_000)
    assert len(args[0]) == 16
    extended = ("extend_lock", ["a lock"], ["token", 8_000])
    assert rest_of == [*[extended] * 4, ("unlock", ["a lock"], ["token"])]
    assert waits == [2.0] * 4  # the fourth found that it was lost
    async with Locks(client).held("a lock") as held:
        assert held is None
    assert said.said[-1][2][1] == 5_000
    assert said.said[-1][2][0] != args[0]


async def test_who_holds_a_lock_hears_whether_it_is_still_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Scripts(monkeypatch, extend_lock=[1, 0], unlock=[1, 0])
    held = Held(SimpleNamespace(), "a lock", "token", 1.5)  # type: ignore[arg-type]
    assert [await held.extend(), await held.extend()] == [True, False]
    assert [await held.release(), await held.release()] == [True, False]


# -- budget --------------------------------------------------------------------------------------


async def test_what_is_asked_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds in milliseconds; a pause that no number holds is cut."""
    said = Scripts(
        monkeypatch, budget=[(1500, b"2.5"), (-1, b"1"), (0, b"3"), (0, b"4"), (0, b"5")]
    )
    budget = Budget(SimpleNamespace())  # type: ignore[arg-type]
    assert await budget.take("w", first_rate=2.0, within_seconds=1.25) == 1.5
    assert await budget.take("w", first_rate=2.0, within_seconds=0) is None
    assert await budget.report("w", "ok", first_rate=2.0) == 3.0
    for seconds in (0.5, 1e9):
        await budget.report("w", "throttled", first_rate=2.0, retry_after_seconds=seconds)
    assert {(name, *keys) for name, keys, _ in said.said} == {("budget", key_names.budget("w"))}
    assert [args for _, _, args in said.said] == [
        ["take", 2.0, 1250], ["take", 2.0, 0], ["ok", 2.0, ""], ["throttled", 2.0, 500],
        ["throttled", 2.0, 1_000_000_000],
    ]  # fmt: skip


async def test_there_is_no_rate_before_the_first_request(fake_redis: AnyRedis) -> None:
    budget = fake_redis.store.budget
    assert await budget.rate("w") is None
    await budget.take("w", first_rate=7.0, within_seconds=1)
    assert await budget.rate("w") == 7.0
    assert await budget.rate("other") is None


# -- recovery -------------------------------------------------------------------------------------


def test_bindings_go_back_line_by_line() -> None:
    """Each by the customer's name, with its time or the word that drops it."""
    names = CustomerNames(b"k")
    steps = RecoverySteps(SimpleNamespace(), names)  # type: ignore[arg-type]
    claim = Claim("a-1", "claimed", "pool", 5)
    packed = steps.packed(
        "s", [Rebind("ann", claim, "bind", 70), Rebind("ben", claim, "drop", 80)]
    )  # fmt: skip
    assert packed == f"{names.name('s', 'ann')} 70 cp5:a-1\n{names.name('s', 'ben')} drop cp5:a-1\n"


async def test_what_is_asked_of_a_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step by its keys and the lock's token; one that gave way says so."""
    replies = {
        "seal": [1, 0], "recover_begin": (b"ok", b"run:repl"), "recover_bind": b"ok",
        "recover_open": [b"ok", b"lost"],
    }  # fmt: skip
    said = Scripts(monkeypatch, **replies)
    steps = RecoverySteps(SimpleNamespace(), CustomerNames(b"k"))  # type: ignore[arg-type]
    assert [await steps.seal("s", "t"), await steps.seal("s", "t")] == [True, False]
    assert await steps.begin("s", "t", keep_fresh=True) == "run:repl"
    await steps.put("s", "t", "lines")
    await steps.drop("s", "t", [("name", "a-1"), ("other", "a-2")])
    await steps.open("s", "t", "run:repl", "n")
    with pytest.raises(RecoveryLost, match=r"recovery of meeting s gave way \(lost\)"):
        await steps.open("s", "t", "run:repl", "n")
    lock, epoch, fresh = (
        key_names.recovery_lock("s"), key_names.epoch("s"), key_names.fresh("s"),
    )  # fmt: skip
    assert said.said == [
        *[("seal", [epoch], ["t"])] * 2,
        ("recover_begin", [lock, epoch, fresh], ["t", 1]),
        ("recover_bind", [lock, key_names.binding("s", "")], ["t", "lines"]),
        ("recover_bind", [lock, key_names.binding("s", "")],
         ["t", "name drop cp0:a-1\nother drop cp0:a-2\n"]),
        *[("recover_open", [lock, epoch], ["t", "run:repl", "n"])] * 2,
    ]  # fmt: skip


async def test_bindings_that_gave_way_name_their_meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripts(monkeypatch, recover_bind=b"lost")
    steps = RecoverySteps(SimpleNamespace(), CustomerNames(b"k"))  # type: ignore[arg-type]
    with pytest.raises(RecoveryLost, match=r"recovery of meeting s gave way \(lost\)"):
        await steps.put("s", "t", "lines")


async def test_fences_are_asked_for_some_at_a_time(
    fake_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come in the order asked, each with its epoch, and a foreign pool is recognised."""
    monkeypatch.setattr(recovery, "_STANDINGS", 2)
    sids = [f"m-{n}" for n in range(5)]
    epochs = {sid: await open_pool(fake_redis, sid=sid) for sid in sids}
    steps = fake_redis.store.recovery
    await steps.disown("m-3", epochs["m-3"])
    await fake_redis.bare.delete(key_names.epoch("m-1"))
    found = await steps.fences(sids)
    assert [each.sid for each in found] == sids
    assert [each.fence for each in found] == ["stands", "fallen", "stands", "foreign", "stands"]
    assert [each.epoch for each in found] == [
        epochs["m-0"], "", epochs["m-2"], f"foreign:{epochs['m-3']}", epochs["m-4"],
    ]  # fmt: skip
    assert await steps.epoch("m-3") == f"foreign:{epochs['m-3']}"
    assert await steps.epoch("m-1") == ""
    assert await steps.fences([]) == []


class Masters(ClusterRedis):
    """A Cluster whose masters reply to a look at fences as a test wants."""

    def __init__(self, *rounds: list[Any]) -> None:
        self.rounds, self.said = list(rounds), list[Any]()

    def pipeline(self, *, transaction: bool) -> Any:  # type: ignore[override]
        assert not transaction
        return self

    def evalsha(self, sha: str, keys: int, key: str) -> None:  # type: ignore[override]
        assert (sha, keys) == (scripts.sha1("fences"), 1)
        self.said.append(key)

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        return self.rounds.pop(0)


@pytest.mark.parametrize("unknown", [NoScriptError("?"), ResponseError("NOSCRIPT no such script")])
async def test_fences_on_several_masters_are_asked_for_one_by_one(
    monkeypatch: pytest.MonkeyPatch, unknown: Exception
) -> None:
    """A master that does not know the script is given it; one that is away is unreadable."""
    loaded: list[Any] = []

    async def load(redis: object, name: str) -> None:
        loaded.append((redis, name))

    monkeypatch.setattr(scripts, "load", load)
    known = [b"run", b"run:n"]
    masters = Masters([known, unknown], [known, RedisConnectionError("gone")])
    steps = RecoverySteps(masters, CustomerNames(b"k"))
    found = await steps.fences(["a", "b"])
    assert found == [("a", "stands", "run:n"), ("b", "unreadable", "")]
    assert masters.said == [key_names.epoch(sid) for sid in ("a", "b", "a", "b")]
    assert loaded == [(masters, "fences")]


async def test_masters_that_are_silent_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wire alone would wait for ever."""
    monkeypatch.setattr(recovery, "CALL_SECONDS", 0.01)

    class Silent(Masters):
        async def execute(self, *, raise_on_error: bool) -> list[Any]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(StoreUnavailable):
        await RecoverySteps(Silent(), CustomerNames(b"k")).fences(["a"])


# -- scripts --------------------------------------------------------------------------------------


async def test_a_script_that_is_not_known_is_sent_in_full() -> None:
    """It is sent once, with the same keys and arguments."""
    said: list[Any] = []

    class Client:
        known = False

        async def evalsha(self, *what: Any) -> str:
            said.append(what)
            if not self.known:
                raise NoScriptError
            return "known"

        async def eval(self, *what: Any) -> str:
            said.append(what)
            return "sent"

    client: Any = Client()
    assert await scripts.run(client, "unlock", ["k"], ["a", 1]) == "sent"
    rest = (1, "k", "a", 1)
    assert said == [(scripts.sha1("unlock"), *rest), (scripts.source("unlock"), *rest)]
    Client.known = True
    assert await scripts.run(client, "unlock", ["k"], ["a", 1]) == "known"
    assert scripts.source("unlock") == scripts.part("unlock")
    assert scripts.source("public_claim") == "\n".join(
        scripts.part(name) for name in ("fence", "stream", "reserve", "claim")
    )
    assert scripts.source("public_claim_together") == "\n".join(
        [
            *(scripts.part(name) for name in ("fence", "stream")),
            "local function claim(KEYS, ARGV)",
            *(scripts.part(name) for name in ("reserve", "claim")),
            "end",
            scripts.part("together"),
        ]
    )
    assert scripts.source("add") == "\n".join(scripts.part(name) for name in ("fence", "add"))
    assert not scripts.is_unknown(ResponseError("WRONGTYPE"))
    assert not scripts.is_unknown("NOSCRIPT")


@pytest.mark.parametrize(
    ("away", "masters", "raises"), [(1, 1, True), (1, 2, False), (2, 2, False)]
)
async def test_masters_that_are_away_are_given_no_script(
    monkeypatch: pytest.MonkeyPatch, away: int, masters: int, raises: bool
) -> None:
    """All others are; where there is but one, that is an error."""
    loaded: list[str] = []

    class Master:
        def __init__(self, *, away: bool) -> None:
            self.away = away

        async def script_load(self, text: str) -> None:
            if self.away:
                raise RedisConnectionError("gone")
            loaded.append(text)

    async def masters_of(_redis: object) -> list[Master]:
        return [Master(away=n < away) for n in range(masters)]

    monkeypatch.setattr(scripts, "masters_of", masters_of)
    client: Any = SimpleNamespace()
    if raises:
        with pytest.raises(RedisConnectionError):
            await scripts.load(client, "fences")
    else:
        await scripts.load(client, "fences")
    assert loaded == [scripts.source("fences")] * (masters - away)


# -- erasing --------------------------------------------------------------------------------------


async def test_the_binding_of_an_erased_customer_is_dropped_if_it_is_to_that_link(
    fake_redis: AnyRedis,
) -> None:
    store = fake_redis.store
    await open_pool(fake_redis, "a-1", "a-2")
    names = {who: store.names.name(SID, who) for who in ("ann", "ben")}
    await store.claim(SID, [(names[who], payload(who)) for who in names])
    await store.erasing.drop(SID, "a-1", names["ann"])
    await store.erasing.drop(SID, "a-1", names["ben"])
    left = [await fake_redis.bare.exists(key_names.binding(SID, name)) for name in names.values()]
    assert left == [0, 1]
