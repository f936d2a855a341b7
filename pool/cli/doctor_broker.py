"""Report to `linkpool doctor` on Celery's broker."""

from __future__ import annotations

import asyncio

from pool.cli.findings import Finding, failed, ok, unreachable
from pool.config.addresses import broker_setting, broker_url
from pool.config.redis_address import is_redis
from pool.config.settings import Settings
from pool.errors import SettingsError, StoreUnavailable
from pool.nudges import try_amqp
from pool.store.broker_rights import check_broker

# What RabbitMQ says, by the names of its library's errors.
_REFUSED = {
    "AccessRefused": "RabbitMQ refuses this user or password",
    "NotAllowed": "RabbitMQ has no such virtual host, or this user may not use it",
}


def mend(error: SettingsError) -> str:
    """Return what to do about a Redis that refuses something for good."""
    if "may not run" in str(error):
        return "Run `linkpool doctor --acl`, which prints the rules of its users."
    return "Mend the setting."


async def broker(settings: Settings) -> Finding:
    """Return whether messages can be sent and received."""
    url = broker_url(settings)
    setting = broker_setting(settings)
    try:
        if is_redis(url):
            await check_broker(url, setting, works=True)
        else:
            await asyncio.to_thread(try_amqp, url)
    except SettingsError as error:
        return failed("broker", str(error), mend(error))
    except StoreUnavailable as error:
        return unreachable("broker", str(error), setting, answers=not error.connection_lost)
    except Exception as error:  # noqa: BLE001 - RabbitMQ's library raises what it likes
        name = type(error).__name__
        if name in _REFUSED:
            return failed("broker", _REFUSED[name], f"See {setting}.")
        return unreachable("broker", f"RabbitMQ does not answer ({name})", setting)
    return ok("broker", "takes messages and gives them back")
