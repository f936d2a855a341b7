"""How a worker stays with a broker that comes and goes: what kombu has no settings for."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import redis, virtual

RECONNECT_SECONDS = 0.5


class _QoS(redis.QoS):
    """Counts what a worker took and has not acknowledged, for kombu's limit on that.

    kombu goes on counting a message whose acknowledgement the broker did not take. After as
    many of them as the worker may hold it reads nothing more, not even that the connection
    has ended, and is deaf for ever. Here such a message is no longer ours: the broker gives
    it to somebody again, which does no harm.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledges a message. Raises what the broker's client raises."""
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Gives a message back, or away."""
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
    """Comes back soon after its broker does, and hears when it goes.

    Celery waits 2 s after the first failed try, 4 s after the next and so on up to 32 s; every
    one of them is a pool that waits to be recovered.
    """

    def get_transport_cls(self) -> Any:
        """Redis's transport with our count of messages; others are as they are."""
        found = super().get_transport_cls()
        return _OURS.get(found, found)

    def ensure_connection(self, *args: Any, **more: Any) -> Any:
        """Tries again every RECONNECT_SECONDS."""
        every = {
            "interval_start": RECONNECT_SECONDS,
            "interval_step": 0,
            "interval_max": RECONNECT_SECONDS,
        }
        return super().ensure_connection(*args, **(every | more))


class BrokerAMQP(AMQP):
    """Where Celery takes its connections from."""

    Connection = BrokerConnection
