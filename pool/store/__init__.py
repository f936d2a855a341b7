"""Keep the pools in Redis. Nothing else uses redis-py; `Store` is the way in."""

import sys

# Where OpenTelemetry's metrics are installed, redis-py imports them to offer its own, which nobody
# here asks for: 3 MB and 40 ms for each process.
_METRICS = "opentelemetry.sdk.metrics"
if "redis" not in sys.modules and _METRICS not in sys.modules:
    sys.modules[_METRICS] = None  # type: ignore[assignment] # as if they were not installed
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_METRICS]

from pool.store.store import Store  # noqa: E402 - after the above

__all__ = ["Store"]
