"""Claim from several pools of one server by one script call.

Where claims go over thousands of meetings in turn, hardly two share a pool. A script call for each
would spend most of its time on what every call needs: the fence's look at the server, and the call
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import ClusterCrossSlotError, InvalidResponse, NoScriptError
from redis.exceptions import ConnectionError as RedisConnectionError

from pool.store import scripts
from pool.store.wire import Abandon, OnReply, Wire


class _Claim:
    """The keys and arguments of a claim script's call, and who waits for its reply."""

    __slots__ = ("args", "keys", "on_reply")

    def __init__(self, keys: Sequence[str], args: Sequence[Any], on_reply: OnReply) -> None:
        self.keys = keys
        self.args = args
        self.on_reply: OnReply | None = on_reply  # until it is called, or the claim abandoned

    def end(self, reply: Any) -> None:
        """Pass the reply, or the error instead of it, unless that was done."""
        on_reply, self.on_reply = self.on_reply, None
        if on_reply is not None:
            on_reply(reply)


class Together:
    """The calls of a claim script that become one call of it."""

    def __init__(self, wire: Wire, script: str) -> None:
        self._wire = wire
        self._script = script
        self._claims: list[_Claim] = []
        self._abandon: Abandon | None = None  # while the call is under way
        self.customers = 0

    def add(self, keys: Sequence[str], args: Sequence[Any], on_reply: OnReply) -> Abandon:
        """Add a call for `send`, as `Wire.call_at_once` would make it."""
        claim = _Claim(keys, args, on_reply)
        self._claims.append(claim)
        self.customers += len(args) - 1
        return partial(self._give_up, claim)

    def send(self) -> None:
        """Send what was added. Where no connection is ready, it ends as with a lost one."""
        self._claims = [claim for claim in self._claims if claim.on_reply is not None]
        if len(self._claims) == 1:
            [claim] = self._claims
            self._call("EVALSHA", scripts.sha1(self._script), claim.keys, claim.args)
        elif self._claims:
            self._call("EVALSHA", scripts.sha1(self._name), *self._keys_and_args())

    @property
    def _name(self) -> str:
        return self._script + scripts.TOGETHER

    def _keys_and_args(self) -> tuple[list[str], list[Any]]:
        claims = self._claims
        return [key for claim in claims for key in claim.keys], [
            len(claims),
            *[len(claim.args) - 1 for claim in claims],
            *[arg for claim in claims for arg in claim.args],
        ]

    def _call(self, command: str, script: str, keys: Sequence[str], args: Sequence[Any]) -> None:
        try:
            self._abandon = self._wire.call_at_once(
                (command, script, len(keys), *keys, *args), self._replied
            )
        except Exception as error:  # noqa: BLE001 - passed on, like every other
            self._end(error)
        else:
            if self._abandon is None:
                self._end(RedisConnectionError("no connection is ready"))

    def _replied(self, reply: Any) -> None:
        self._abandon = None
        claims = self._claims
        if len(claims) == 1:
            claims[0].end(reply)
        elif isinstance(reply, NoScriptError):  # nothing was run, so its text repeats nothing
            self._call("EVAL", scripts.source(self._name), *self._keys_and_args())
        elif isinstance(reply, ClusterCrossSlotError):  # nothing was run
            self._wire.has_slots = True
            self._end(RedisConnectionError("these pools are claimed from one by one"))
        elif isinstance(reply, list) and len(reply) == len(claims):
            for claim, part in zip(claims, reply, strict=True):
                claim.end(part)
        else:
            self._end(reply if isinstance(reply, Exception) else InvalidResponse("replies missing"))

    def _end(self, error: Exception) -> None:
        for claim in self._claims:
            claim.end(error)

    def _give_up(self, claim: _Claim) -> None:
        claim.on_reply = None
        if self._abandon is not None:
            abandon, self._abandon = self._abandon, None
            abandon()
            self._end(RedisConnectionError("connection closed: another claim took too long"))
