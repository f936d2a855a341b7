"""The Celery side of linkpool: what keeps pools full and the ledger true."""
