"""Keep the pools in Redis. Nothing else uses redis-py; `Store` is the way in."""

from pool.store.store import Store

__all__ = ["Store"]
