"""Keep Redis and the ledger in agreement, whatever dies."""
