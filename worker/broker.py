"""Keep a worker connected to a broker that comes and goes, for which kombu has no setting."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import redis, virtual

RECONNECT_SECONDS = 0.5


class _QoS(redis.QoS):
    """Counts the messages that a worker took and has not acknowledged, for kombu's limit on them.

    kombu goes on counting a message whose acknowledgement failed. Once there are as many of them as
    the worker may hold, it reads nothing more, does not even notice that the connection has ended,
    and never works again. Here such a message no longer counts: the broker delivers it again, which
    does no harm.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message. Raise what the broker's client raises."""
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return a message to the queue, or drop it."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise


class _Channel(redis.Channel):
    QoS = _QoS


class _SentinelChannel(redis.SentinelChannel):
    QoS = _QoS


class _Transport(redis.Transport):
    Channel = _Channel


class _SentinelTransport(redis.SentinelTransport):
    Channel = _SentinelChannel


_OURS = {redis.Transport: _Transport, redis.SentinelTransport: _SentinelTransport}


class BrokerConnection(Connection):
    """Reconnects soon after its broker is back, and notices when it goes away.

    Celery waits 2 s after the first failed try, 4 s after the next and so on up to 32 s; all that
    time, pools would wait to be recovered.
    """

    def get_transport_cls(self) -> Any:
        """Return Redis's transport with our count of messages, and any other unchanged."""
        found = super().get_transport_cls()
        return _OURS.get(found, found)

    def ensure_connection(self, *args: Any, **more: Any) -> Any:
        """Connect, and try again every RECONNECT_SECONDS."""
        every = {
            "interval_start": RECONNECT_SECONDS,
            "interval_step": 0,
            "interval_max": RECONNECT_SECONDS,
        }
        return super().ensure_connection(*args, **(every | more))


class BrokerAMQP(AMQP):
    """Gives Celery connections of our class."""

    Connection = BrokerConnection
