"""The pool in Redis: the only user of redis-py. One door: Store."""

from pool.store.store import Store

__all__ = ["Store"]
