"""Send hints to the workers, without waiting for the broker.

A hint makes something happen sooner; the sweep makes it happen anyway. Hints that cannot be
sent are dropped.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from pool.config.addresses import broker_setting, broker_url
from pool.config.amqp_address import parse_amqp
from pool.config.redis_address import is_redis, parse_redis
from pool.errors import StoreUnavailable
from pool.store import key_names
from pool.store.broker_rights import check_broker

if TYPE_CHECKING:
    from celery import Celery

    from pool.config.settings import Settings

log = structlog.get_logger()

# Task names, as workers register them.
TOP_UP = "linkpool.top_up"
RECORD = "linkpool.record"
SETTLE = "linkpool.settle"
RECOVER = "linkpool.recover"
NOTIFY = "linkpool.notify"
# Only beat sends these.
SWEEP = "linkpool.sweep"
LAPSE = "linkpool.lapse"
EXPIRE = "linkpool.expire"
FORESEE = "linkpool.foresee"
KEEP = "linkpool.keep"
RECONCILE = "linkpool.reconcile"
SURVEY = "linkpool.survey"

QUEUE = "linkpool"
CLOCKS_DIFFER_SECONDS = 300.0  # at most, between the hosts of beat and workers
EXPIRES_SECONDS = 30  # by then, sweeps have done what an older hint asks for
_SPACING_SECONDS = 0.5  # between two rounds of sending, and so between two equal hints
_WAITING_LIMIT = 1000
# Without arguments, these tasks do for all meetings what they otherwise do for one. Where a round
# would have more than _APART hints for single meetings, it has one for all instead. A hint takes
# longer to send than a claim to serve, and with thousands of busy meetings there would be as many.
_FOR_ALL = {RECORD}
_APART = 16
_NOTHING = repr({})

# kombu's Redis transport has no time-outs by default: a half-open connection would hang a
# worker for ever (celery #8030, #10205).
TRANSPORT_OPTIONS: dict[str, Any] = {
    "visibility_timeout": 300,
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "unacked_restore_interval": 10,
    "global_keyprefix": key_names.BROKER,
}
# A RabbitMQ that is gone without a farewell is noticed by its missing heartbeats.
HEARTBEAT_SECONDS = 20


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """Return Celery's URL and its broker settings for a broker at `url`. Raise SettingsError."""
    if not is_redis(url):
        celery_url, tls = parse_amqp(url)
        return celery_url, {
            "broker_transport_options": {"write_timeout": 5},
            "broker_use_ssl": tls,
            "broker_heartbeat": HEARTBEAT_SECONDS,
        }
    address = parse_redis(url, "LINKPOOL_BROKER_URL")
    celery_url, options = address.broker()
    return celery_url, {
        "broker_transport_options": TRANSPORT_OPTIONS | options,
        "broker_use_ssl": address.tls,
    }


async def check_before_sending(settings: Settings, *, works: bool = False) -> None:
    """Raise SettingsError if the broker refuses this process's address, or a command, for good.

    A process that `works` receives messages, besides sending them.
    """
    url = broker_url(settings)
    if is_redis(url):
        with suppress(StoreUnavailable):
            await check_broker(url, broker_setting(settings), works=works)


def try_amqp(url: str) -> None:
    """Connect to a RabbitMQ once. Raise what its library raises, or SettingsError."""
    from kombu.connection import Connection

    address, tls = parse_amqp(url)
    with Connection(address, ssl=tls, connect_timeout=2) as connection:  # type: ignore[no-untyped-call]
        connection.ensure_connection(max_retries=1, timeout=2)


def sweep_expires_seconds(sweep_seconds: float) -> float:
    """Return the seconds after which a sweep that beat asked for is no longer useful.

    The worker compares it with its own clock, which may be wrong by minutes.
    """
    return CLOCKS_DIFFER_SECONDS + 2 * sweep_seconds


class Nudge(NamedTuple):
    """One hint."""

    task: str
    arguments: dict[str, Any]
    headers: dict[str, str]  # of the message


class Nudges:
    """Sends hints from a thread of its own. Calls return at once and never raise.

    `headers` is called in the caller's context, for each hint that will be sent.
    """

    def __init__(self, broker_url: str, headers: Callable[[], dict[str, str]] = dict) -> None:
        self._broker_url, self._settings = broker(broker_url)
        if is_redis(broker_url):
            self._settings["broker_transport_options"]["socket_timeout"] = 2
        self._headers = headers
        self._pending: dict[tuple[str, str], Nudge] = {}  # to be sent in the next round
        self._apart: Counter[str] = Counter()  # the hints for single meetings among them, by task
        self._some_pending = threading.Condition()  # guards both
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the sending thread."""
        self._thread = threading.Thread(target=self._send_all, name="nudges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, for at most a second, and end the thread."""
        if self._thread is not None:
            self._ending.set()
            with self._some_pending:
                self._some_pending.notify()
            self._thread.join(timeout=1.0)

    def send(self, task: str, **arguments: Any) -> None:
        """Ask a worker to run a task soon, with the same arguments at most twice a second.

        A hint that comes too soon after an equal one is delayed and not dropped: its cause may have
        come after the task looked. Very many hints for one task become a single hint for all
        meetings.
        """
        with self._some_pending:
            if task in _FOR_ALL and (task, _NOTHING) in self._pending:
                return
            key = (task, repr(arguments))
            if key in self._pending:
                return
            if task in _FOR_ALL:
                self._apart[task] += 1
                if self._apart[task] > _APART:
                    arguments, key = {}, (task, _NOTHING)
                    for each in [each for each in self._pending if each[0] == task]:
                        del self._pending[each]
            if len(self._pending) >= _WAITING_LIMIT:
                log.warning("hint dropped: the broker does not keep up", task=task)
                return
            self._pending[key] = Nudge(task, arguments, self._headers())
            self._some_pending.notify()

    def _round(self) -> list[Nudge]:
        """Wait until a hint is pending or the thread is to end. Return the pending hints."""
        with self._some_pending:
            self._some_pending.wait_for(lambda: self._pending or self._ending.is_set())
            pending, self._pending = self._pending, {}
            self._apart.clear()
        return list(pending.values())

    def _send_all(self) -> None:
        # Imported here, in the thread: it takes a second, for which no claim has to wait.
        from celery import Celery

        app = Celery("linkpool-nudges", broker=self._broker_url, set_as_current=False)
        app.conf.update(
            self._settings,
            broker_connection_timeout=2,
            broker_pool_limit=1,
            task_ignore_result=True,
        )
        ending = False
        while not ending:
            ending = self._ending.is_set()
            for nudge in self._round():
                self._send(app, nudge)
            # Not the condition: claims would wake the thread for nothing.
            self._ending.wait(_SPACING_SECONDS)
        app.close()

    def _send(self, app: Celery, nudge: Nudge) -> None:
        try:
            app.send_task(
                nudge.task,
                kwargs=nudge.arguments,
                headers=nudge.headers,
                queue=QUEUE,
                expires=EXPIRES_SECONDS,
                retry=False,
                ignore_result=True,
            )
        except Exception as error:  # noqa: BLE001 - a lost hint is not worth a dead thread
            log.warning("hint not sent", task=nudge.task, reason=type(error).__name__)
