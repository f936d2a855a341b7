"""Bring all parts up, keep them up, and take them down in order."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pool.config.settings import Settings
from pool.errors import LinkpoolError
from pool.up import ports
from pool.up.data_dir import DataDirectory
from pool.up.parts import API, REDIS, SANDBOX, WORKER, Plan
from pool.up.redis_server import answers, is_loading
from pool.up.signals import StopRequest
from pool.up.supervisord import OUTPUT as SUPERVISORD_OUTPUT
from pool.up.supervisord import Supervisord, Unreachable
from pool.up.watch import Watch

_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 0.25  # between two questions why a part is not ready
_START_SECONDS = 30.0
# The worker waits this long for the API, which the first visitor needs first.
_HEAD_START_SECONDS = 3.0
_EARLY_DEATHS = 3
_DEAF_LOOKS = 3
_RETRY_SECONDS = 5.0
_GRACE_SECONDS = 2.0
_STOP_ORDER = ((API,), (WORKER,), (SANDBOX,))


class Interrupted(Exception):
    """A stop was requested while the parts were coming up."""


class PartFailed(LinkpoolError):
    """A part did not come up."""

    def __init__(self, part: str, why: str, log: Path) -> None:
        super().__init__(f"{part} {why}; see {log}")
        self.part = part
        self.log = log


class Lifecycle:
    """All parts of one run of `linkpool up`."""

    def __init__(
        self,
        plan: Plan,
        data: DataDirectory,
        stop: StopRequest,
        prepare: Callable[[Settings], None],
        say: Callable[[str], None],
    ) -> None:
        self._plan, self._data, self._stop = plan, data, stop
        self._prepare, self._say = prepare, say
        self._supervisord = Supervisord(data, plan.parts, plan.environ)
        self._watch = Watch(self._supervisord, data.log, say)
        self._prepared = False

    def bring_up(self) -> None:
        """Start all parts. Returns once the API answers and the sandbox, if there is one, listens.

        Raise PartFailed or Interrupted, with some parts left running.
        """
        self._supervisord.start()
        if self._plan.has(REDIS):
            self._await(REDIS, self._redis_answers)
        self._prepare(self._plan.settings)
        self._prepared = True
        self._await("supervisord", self._supervisord_answers)
        self._supervisord.start_part(API)
        self._until(self._api_answers, _HEAD_START_SECONDS)
        self._supervisord.start_part(WORKER)
        self._await(API, self._api_answers)
        if self._plan.has(SANDBOX):
            self._await(SANDBOX, self._sandbox_listens)

    def keep_up(self) -> None:
        """Keep everything running until a stop is requested."""
        deaf = 0
        while not self._stop.wait(self._watch.pause_seconds, self._watch.ended):
            try:
                self._watch.look()
                deaf = 0
            except Unreachable:
                deaf += 1
                if not self._supervisord.alive or deaf >= _DEAF_LOOKS:
                    self._say("supervisord ended unexpectedly; starting everything again")
                    self._revive()
                    deaf = 0

    def take_down(self, seal: Callable[[Settings], None]) -> None:
        """Stop all parts in order. No process is left when it returns.

        `seal` runs when only Redis is left, and only for the embedded one: a Redis that is
        not stopped here needs no seal.
        """
        try:
            for names in _STOP_ORDER:
                self._stop_parts(*names)
            if self._prepared and self._plan.has(REDIS):
                self._seal(seal)
            self._stop_parts(REDIS)
        except Unreachable:
            if self._prepared:
                self._say("supervisord does not answer; stopping what is left directly")
        finally:
            self._clear()

    # -- coming up -------------------------------------------------------------

    def _await(self, part: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        starts: set[int] = set()
        while not self._until(ready, _PATIENCE_SECONDS):
            log = self._data.log(part)
            if not self._supervisord.alive:
                raise PartFailed("supervisord", "did not start", self._data.log(SUPERVISORD_OUTPUT))
            if part == REDIS and self._redis_loads():
                deadline = time.monotonic() + _START_SECONDS
            if time.monotonic() > deadline:
                raise PartFailed(part, f"did not start within {_START_SECONDS:.0f} s", log)
            try:
                state = self._supervisord.states().get(part)
            except Unreachable:
                continue
            if state:
                starts |= {state.started_at} - {0}
                if state.state == "BACKOFF" and len(starts) >= _EARLY_DEATHS:
                    raise PartFailed(part, f"ended {len(starts)} times while starting", log)

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._stop.wait(_POLL_SECONDS):
                raise Interrupted
            if time.monotonic() > deadline:
                return False
        if self._stop.requested:
            raise Interrupted
        return True

    def _supervisord_answers(self) -> bool:
        try:
            self._supervisord.states()
        except Unreachable:
            return False
        return True

    def _redis_answers(self) -> bool:
        return answers(self._plan.redis_port or 0, self._plan.redis_password)

    def _redis_loads(self) -> bool:
        return is_loading(self._plan.redis_port or 0, self._plan.redis_password)

    def _api_answers(self) -> bool:
        address = urlsplit(self._plan.api_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=1)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _sandbox_listens(self) -> bool:
        try:
            address = (ports.LOOPBACK, self._plan.sandbox_port or 0)
            socket.create_connection(address, timeout=1).close()
        except OSError:
            return False
        return True

    # -- staying up ------------------------------------------------------------

    def _revive(self) -> None:
        """Start everything again, as often as it takes."""
        while not self._stop.requested:
            self._clear()
            try:
                self.bring_up()
            except Interrupted:
                return
            except Exception as error:  # noqa: BLE001 - the next try may succeed, whatever failed
                self._say(f"could not start everything again: {error}")
                self._stop.wait(_RETRY_SECONDS)
            else:
                self._say("everything runs again")
                return

    # -- going down ------------------------------------------------------------

    def _stop_parts(self, *names: str) -> None:
        parts = [part for part in self._plan.parts if part.name in names]
        if not parts:
            return
        self._watch.note(expected=True)
        for part in parts:
            self._supervisord.stop_part(part.name)
        deadline = time.monotonic() + max(part.stop_seconds for part in parts) + _GRACE_SECONDS
        while time.monotonic() < deadline:
            states = self._watch.note(expected=True)
            if not any(states[part.name].alive for part in parts):
                return
            time.sleep(_POLL_SECONDS)

    def _seal(self, seal: Callable[[Settings], None]) -> None:
        try:
            seal(self._plan.settings)
        except Exception as error:  # noqa: BLE001 - an unsealed stop costs fresh links, nothing else
            self._say(f"warning: the pools could not be sealed: {error}")

    def _clear(self) -> None:
        """End supervisord and all that is left of the parts."""
        try:
            self._supervisord.shut_down()
            deadline = time.monotonic() + 2 * _GRACE_SECONDS
            while self._supervisord.alive and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                self._watch.note(expected=True)  # also makes supervisord's loop turn at once
        except Unreachable:
            pass  # it has ended, or is killed below
        self._supervisord.close()
        for how, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            if self._gone(0):
                break
            self._watch.signal_all(how)
            if self._gone(seconds):
                break
        else:
            self._say("warning: some process of a part could not be ended")
        self._watch.forget()

    def _gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._data.no_part_lives():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True
